"""A verdict as one HTML file that needs no network: for people, in a mail, on a phone or on paper."""

import base64
import functools
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import jinja2

from onnxproof.runtime.picture_file import open_picture
from onnxproof.text import one_line
from onnxproof.validate.explained import EXPLAINED
from onnxproof.validate.facts import Facts, Located
from onnxproof.validate.hazards import FROZEN_AXES, HAZARDS
from onnxproof.validate.report.charts import STEPS, HeatMap, Histogram, heat_maps, histograms
from onnxproof.validate.report.entries import Entry, cell_text, matrices, row_of, told
from onnxproof.validate.report.markdown import made
from onnxproof.validate.report.notes import folded
from onnxproof.validate.report.runtimes import HEADINGS, runtime_cells, runtime_notes, runtime_unit
from onnxproof.validate.report.subject import Subject
from onnxproof.validate.report.words import SAID, counts, headline, message_of, not_passed, title_of
from onnxproof.validate.sight.differences import KINDS
from onnxproof.validate.sight.facts import SeenPicture
from onnxproof.validate.verdict import Check, Verdict, link_texts

TEMPLATE = "report.html.j2"
TEMPLATE_OF_MANY = "many.html.j2"

SHOWN = 100
"""How many ties or defects of a leg are listed, as many as parity.json has."""

MOST_PIXELS = 800
MOST_BYTES = 200_000
"""A drawing with longer sides, or of more bytes, is made smaller, so that the report fits into a mail."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What is shown of one leg."""

    facts: Facts
    heat_maps: tuple[HeatMap, ...]
    histograms: tuple[Histogram, ...]
    defects: tuple[Located, ...]
    ties: tuple[Located, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture: a drawing as a data URI, both pipelines' boxes, and the ties and defects on it.

    ``uri`` is empty if nothing was drawn, and ``seen`` is None if no boxes are known. ``alt`` stands for the
    picture. ``compared`` says whether PyTorch decided on it, too.
    """

    name: str
    uri: str
    alt: str
    findings: tuple[str, ...]
    compared: bool
    seen: SeenPicture | None


def html(verdict: Verdict, subject: Subject) -> str:
    """An HTML document with its styles, its script and its pictures inside. Uses jinja2."""
    return _template().render(
        verdict=verdict,
        subject=subject,
        headline=headline(verdict),
        counts=counts(verdict),
        links=link_texts(verdict),
        not_passed=list(not_passed(verdict)),
        runtime_headings=HEADINGS,
        runtimes=runtime_cells(verdict),
        runtime_unit=runtime_unit(verdict),
        runtime_notes=runtime_notes(verdict),
        legs=tuple(_figures(facts, verdict) for facts in verdict.facts),
        hazards=tuple(check for check in verdict.checks if check.name in _HAZARDS),
        made=made(verdict, subject),
        notes=folded(verdict.notes),
        pictures=tuple(_pictures(verdict, subject)),
        explained=EXPLAINED,
        steps=STEPS,
        said=SAID,
    )


_HAZARDS = {hazard.name for hazard in (*HAZARDS, FROZEN_AXES)}


def html_of_many(entries: Sequence[Entry]) -> str:
    """An HTML document on many jobs: a table, the matrices, and each job's links, failures and errors.

    It has no pictures and no charts, which the report on one job has. Uses jinja2.
    """
    return _template(TEMPLATE_OF_MANY).render(
        entries=entries,
        told=told(entries),
        matrices=matrices(entries),
        made=made,
        explained=EXPLAINED,
        command=entries[0].subject.command if entries else "",
    )


def _shade(entry: Entry) -> str:
    """The class of a job's badge."""
    if entry.verdict is not None:
        return entry.verdict.status
    return "pass" if entry.good else "skipped" if entry.state == "not run" else "error"


@functools.cache
def _template(name: str = TEMPLATE) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("onnxproof.validate.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"line": _line, "title": _title, "message": _message, "figure": _figure}
    environment.tests["failing"] = _is_failing
    environment.filters |= {"headline": headline, "links": link_texts, "folded": folded, "row": row_of}
    environment.filters |= {"not_passed": not_passed, "cell": cell_text, "shade": _shade}
    return environment.get_template(name)


_NO_CHARACTER = re.compile("[\ufdd0-\ufdef\ufffe\uffff\U0001fffe\U0001ffff]")
"""Code points that no text may hold, of those that occur: Unicode's noncharacters, and HTML refuses them."""


def _line(text: str) -> str:
    return _NO_CHARACTER.sub("\ufffd", one_line(text))


def _title(check: Check) -> str:
    return _line(title_of(check))


def _message(check: Check) -> str:
    return _line(message_of(check))


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _is_failing(check: Check) -> bool:
    return check.status in ("fail", "error")


def _figures(facts: Facts, verdict: Verdict) -> Figures:
    decided = facts.decisions
    return Figures(
        facts,
        heat_maps(facts, verdict.cases, (verdict.policy or {}).get("ratio_rms")),
        histograms(facts),
        () if decided is None else decided.defects[:SHOWN],
        () if decided is None else decided.ties[:SHOWN],
    )


def _pictures(verdict: Verdict, subject: Subject) -> Iterator[Shown]:
    """The drawings, then the pictures of which only the boxes are known."""
    seen = {PurePath(one.picture).stem: one for one in _seen(verdict)}
    for drawing in subject.drawings:
        kind, content = _shrunk(drawing.png)
        uri = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
        yield _shown(drawing.name, uri, verdict, seen.pop(PurePath(drawing.name).stem, None))
    for one in seen.values():
        yield _shown(one.picture, "", verdict, one)


def _seen(verdict: Verdict) -> tuple[SeenPicture, ...]:
    return () if verdict.pipeline is None else verdict.pipeline.seen


def _shown(name: str, uri: str, verdict: Verdict, seen: SeenPicture | None) -> Shown:
    stem = PurePath(name).stem
    compared = seen is not None or any(
        case.native and PurePath(case.name).stem == stem for case in verdict.cases
    )
    findings = (*_apart(seen, verdict), *_findings_on(stem, verdict))
    told = f"ties and defects on it: {len(findings)}" if compared else "PyTorch was not asked about it"
    return Shown(name, uri, f"The file's decisions drawn on {name}; {told}.", findings, compared, seen)


def _apart(seen: SeenPicture | None, verdict: Verdict) -> Iterator[str]:
    """The boxes on which the two pipelines differ, in words."""
    if seen is None or verdict.pipeline is None:
        return
    for whose, boxes in ((verdict.pipeline.own, seen.own), ("the file", seen.found)):
        for box in boxes:
            if box.kind:
                place = f"[{box.x0:g}, {box.y0:g}, {box.x1:g}, {box.y1:g}]"
                yield f"{KINDS[box.kind][0]}: {whose} has {box.label} {box.score:.3f} at {place}"


def _findings_on(stem: str, verdict: Verdict) -> Iterator[str]:
    """The defects and ties on the picture whose name has this stem."""
    natives = {case.name for case in verdict.cases if case.native and PurePath(case.name).stem == stem}
    for facts in verdict.facts:
        decided = facts.decisions
        if decided is None:
            continue
        for kind, located in (("defect", decided.defects), ("tie", decided.ties)):
            for one in located:
                if one.case in natives:
                    yield f"{kind}: {one.finding.what}: {one.finding.cause}"


def _shrunk(png: bytes) -> tuple[str, bytes]:
    """The picture's kind and bytes, not larger than a report can carry."""
    with open_picture(io.BytesIO(png), ("PNG",)) as picture:
        if max(picture.size) <= MOST_PIXELS and len(png) <= MOST_BYTES:
            return "png", png
        small = picture.convert("RGB")
    small.thumbnail((MOST_PIXELS, MOST_PIXELS))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=85)
    return "jpeg", stream.getvalue()
