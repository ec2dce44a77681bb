"""The HTML report: one file that needs no network, and that everyone can read."""

import io
import itertools
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import html5lib
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from verdicts import RATIO, SUBJECT, failing, made, many, passing

from onnxproof.validate.report.html import MOST_PIXELS, html, html_of_many
from onnxproof.validate.report.subject import Drawing

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LARGEST = 2_000_000


def drawing(size: tuple[int, int] = (64, 48), name: str = "0.png") -> Drawing:
    stream = io.BytesIO()
    Image.effect_noise(size, 90).convert("RGB").save(stream, "PNG")
    return Drawing(name, stream.getvalue())


FAILED = html(failing(), replace(SUBJECT, drawings=(drawing(), drawing(name="other.png"))))
PASSED = html(passing(), SUBJECT)
MANY = html_of_many(many())


@pytest.mark.parametrize("page", [FAILED, PASSED, MANY], ids=["fail", "pass", "many"])
def test_it_is_html_that_refers_to_nothing_outside(page: str) -> None:
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    tree = parser.parse(page)
    assert tree.find("body/main") is not None
    for element in tree.iter():
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = element.get(name) if isinstance(element.tag, str) else None
            assert value is None or value.startswith(("#", "data:image/")), value
    assert not re.search(r"url\(|@import|https?:", page)


@pytest.mark.parametrize("page", [FAILED, PASSED, MANY], ids=["fail", "pass", "many"])
def test_headings_go_down_in_steps_and_ids_are_unique(page: str) -> None:
    levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_many_jobs_are_one_page_with_a_matrix() -> None:
    body = MANY[MANY.index("<body>") :]
    assert "7 jobs: 3 pass, 1 fail, 1 exported, 1 failed, 1 not run; 2 up to date" in body
    assert '<th scope="col">export.opset \\ model.variant</th>' in body
    assert body.count('<section aria-labelledby="job-') == 7
    assert "<script>alert" not in MANY


def test_the_verdict_comes_first_in_words() -> None:
    body = FAILED[FAILED.index("<body>") :]
    assert body.index("Fail: 1 of 4 checks failed") < body.index("Link by link") < body.index("What to do")


def test_a_check_is_explained_once() -> None:
    page = html(made(RATIO, replace(RATIO, field="box_xy")), SUBJECT)
    assert page.count("<strong>What to do</strong>") == 1
    assert page.count("fail</span> ratio_rms") == 2


def test_what_a_reason_holds_is_text() -> None:
    assert "<script>alert" not in FAILED
    assert "&lt;script&gt;alert" in FAILED
    assert "\x00" not in FAILED


def test_ties_and_defects_stand_by_their_picture() -> None:
    first, other, undrawn = re.findall(
        r"<figure>(?:<img|\s*<svg class=\"both\").*?</figure>", FAILED, flags=re.DOTALL
    )
    assert "tie: a|b" in first
    assert "PyTorch was not asked about it" in other
    assert "detection too many: the file has dog 0.500 at [1, 1, 9, 9]" in undrawn


def test_both_pipelines_boxes_lie_over_the_picture() -> None:
    first, undrawn = re.findall(r'<svg class="both".*?</svg>', FAILED, flags=re.DOTALL)
    assert '<image href="data:image/png;base64,' in first
    assert re.findall(r'<g class="([^"]*)"', first) == ["own", "own apart"]  # ours are drawn in the picture
    assert re.findall(r'<g class="([^"]*)"', undrawn) == ["ours apart"]
    assert '<rect class="edge" x="5.5" y="6" width="14.5" height="16"/>' in first


@pytest.mark.slow
def test_large_pictures_are_made_smaller() -> None:
    pictures = tuple(drawing((3000, 2000), f"{number}.png") for number in range(4))
    page = html(passing(), replace(SUBJECT, drawings=pictures))
    assert len(page) < LARGEST
    assert "data:image/jpeg" in page
    assert MOST_PIXELS <= 1000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    with sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


def opened(browser: Browser, tmp_path: Path, text: str, **settings: Any) -> tuple[Page, list[str]]:
    """The report in a browser, what the browser complained of, and what it asked for beside the file."""
    file = tmp_path / "report.html"
    file.write_text(text, encoding="utf-8")
    page = browser.new_page(**settings)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.goto(file.as_uri())
    return page, complaints


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200], ids=["phone", "desk"])
@pytest.mark.parametrize("text", [FAILED, PASSED, MANY], ids=["fail", "pass", "many"])
def test_an_accessibility_checker_finds_nothing(
    browser: Browser, tmp_path: Path, text: str, scheme: Any, width: int
) -> None:
    size = {"width": width, "height": 800}
    page, complaints = opened(browser, tmp_path, text, color_scheme=scheme, viewport=size, bypass_csp=True)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert complaints == []
    page.close()


@pytest.mark.slow
def test_tables_sort_by_number_and_by_text(browser: Browser, tmp_path: Path) -> None:
    page, complaints = opened(browser, tmp_path, FAILED)
    table = page.locator("table.sortable").last
    heads = table.locator("thead th")
    heads.nth(1).locator("button").click()
    assert heads.nth(1).get_attribute("aria-sort") == "ascending"
    heads.nth(1).locator("button").click()
    assert heads.nth(1).get_attribute("aria-sort") == "descending"
    assert table.locator("tbody th").all_inner_texts() == ["compare", "capture"]
    figures = page.get_by_role("region", name="Table of all checks").locator("table")
    figures.locator("thead button").nth(3).click()
    values = [text for text in figures.locator("tbody td:nth-child(4)").all_inner_texts() if text]
    assert values == ["2", "1.23e+04"]
    assert complaints == []
    page.close()
