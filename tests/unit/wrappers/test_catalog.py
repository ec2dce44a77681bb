"""Which families there are, told without importing one."""

import sys
from pathlib import Path

import pytest
from packages import install

from onnxproof.wrappers.catalog import FamilyEntry, describe, offered_families

OURS = {
    "module",
    "smp",
    "timm_classifier",
    "torchvision_classifier",
    "torchvision_detector",
    "torchvision_segmenter",
    "transformers",
    "ultralytics",
    "yolox",
}
BOOM = '"""A family that must not be run to be listed."""\nraise SystemExit("was imported")\n'


def listed() -> dict[str, FamilyEntry]:
    return {entry.name: describe(entry) for entry in offered_families()}


def test_ours_are_there_with_a_summary_and_nothing_against_them() -> None:
    entries = listed()
    assert set(entries) >= OURS
    for name in OURS:
        assert entries[name].summary, name
        assert (entries[name].problem, entries[name].distribution) == ("", None)


@pytest.mark.parametrize(
    ("file", "point"),
    [
        pytest.param("acme_a.py", "acme_a:FAMILY", id="a-module"),
        pytest.param("acme_b/__init__.py", "acme_b:FAMILY", id="a-package"),
        pytest.param("acme_c/deep/toy.py", "acme_c.deep.toy:FAMILY", id="inside-namespace-packages"),
        pytest.param("acme_d/toy.py", "acme_d.toy : Holder.family", id="an-attribute-of-a-class"),
    ],
)
def test_another_packages_family_is_listed_and_not_imported(
    file: str, point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path, "acme-toys", {file: BOOM}, f"toy = {point}")
    before = set(sys.modules)
    entry = listed()["toy"]
    assert entry.summary == "A family that must not be run to be listed."
    assert (entry.distribution, entry.problem) == ("acme-toys 1.0", "")
    assert not {name for name in set(sys.modules) - before if name.startswith("acme")}


def test_a_packages_own_code_is_not_run_to_find_a_module_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"acme_e/__init__.py": BOOM, "acme_e/toy.py": '"""Inside."""\n'}
    install(monkeypatch, tmp_path, "acme-toys", files, "toy = acme_e.toy:FAMILY")
    assert listed()["toy"].summary == "Inside."


@pytest.mark.parametrize(
    ("files", "points", "says"),
    [
        pytest.param({}, "toy = acme_gone.toy:FAMILY", "there is no module acme_gone", id="no-package"),
        pytest.param(
            {"acme_f/__init__.py": ""},
            "toy = acme_f.toy:FAMILY",
            "there is no module acme_f.toy",
            id="no-module",
        ),
        pytest.param({"acme_g.py": "def ("}, "toy = acme_g:FAMILY", "SyntaxError", id="no-python"),
        pytest.param(
            {"acme_h.py": ""}, "toy = acme_h", 'expected "package.module:FAMILY"', id="no-attribute"
        ),
        pytest.param({}, "toy = a b : c", 'expected "package.module:FAMILY"', id="no-reference"),
    ],
)
def test_a_broken_family_is_listed_with_what_is_wrong_and_hides_no_other(
    files: dict[str, str], points: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path, "acme-toys", files, points)
    entries = listed()
    assert says in entries["toy"].problem
    assert {name for name, entry in entries.items() if not entry.problem} >= OURS


@pytest.mark.parametrize(
    ("points", "metadata"),
    [
        pytest.param("[onnxproof.families]\nno equals sign\n", None, id="entry-points-that-are-malformed"),
        pytest.param("[other]\nno equals sign\n", "", id="metadata-that-is-empty"),
    ],
)
def test_a_damaged_installation_hides_no_other(
    points: str, metadata: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path, "damaged", {}, points, metadata=metadata)
    install(monkeypatch, tmp_path, "acme-toys", {"acme_i.py": BOOM}, "toy = acme_i:FAMILY")
    (tmp_path / "nothing-1.0.dist-info").mkdir()
    (tmp_path / "bytes-1.0.dist-info").mkdir()
    (tmp_path / "bytes-1.0.dist-info" / "entry_points.txt").write_bytes(b"\xff\xfe")
    assert set(listed()) == {*OURS, "toy"}


@pytest.mark.parametrize("name", ["yolox", "toy"], ids=["as-one-of-ours", "as-anothers"])
def test_a_second_family_of_one_name_is_refused_and_both_are_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path, "acme-toys", {"acme_j.py": BOOM}, f"{name} = acme_j:FAMILY")
    if name not in OURS:
        install(monkeypatch, tmp_path, "other-toys", {"acme_k.py": BOOM}, f"{name} = acme_k:FAMILY")
    problems = {entry.problem for entry in offered_families() if entry.name == name}
    first = "onnxproof (onnxproof.wrappers.families.yolox:FAMILY)" if name in OURS else "other-toys 1.0"
    assert len(problems) == 1
    (problem,) = problems
    assert first in problem
    assert "acme-toys 1.0 (acme_j:FAMILY)" in problem
    assert "uninstall all but one" in problem


def test_a_package_that_is_installed_twice_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, name in (("first", "acme-toys"), ("second", "Acme_Toys")):
        install(monkeypatch, tmp_path / folder, name, {"acme_l.py": BOOM}, "toy = acme_l:FAMILY")
    assert listed()["toy"].problem == ""
