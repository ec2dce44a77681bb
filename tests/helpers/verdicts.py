"""Verdicts made by hand, for reports."""

from dataclasses import replace
from pathlib import Path

from onnxproof.validate.cases import Case
from onnxproof.validate.compare.comparer import Finding
from onnxproof.validate.facts import Closest, Decisions, Facts, Located
from onnxproof.validate.measure import LabelMeasurement, Measurement
from onnxproof.validate.policy import FLOAT_FLOOR
from onnxproof.validate.report.entries import Entry
from onnxproof.validate.report.subject import Subject, lines_of
from onnxproof.validate.sight.facts import Cause, SeenBox, SeenPicture, Sight
from onnxproof.validate.verdict import Check, Verdict

HOSTILE = 'a|b <script>alert("x")</script> & 100%,\r\n::error:: \x00\x1b[31m \ufffe `*_'
"""What a name or a reason may hold that means something in each of the formats."""

JOB = """# a comment = no key
name = "small"

[model]
family = "yolox"
checkpoint = "model.pth"

[dims]
batch = "1..2"

[export]
opset = 20
[validate]
images = '''
name = "not a key"
'''
"predict.size" = 3
"""


def measured(name: str, *, scale: float = 1.0) -> Measurement:
    return Measurement(
        name=name,
        unit="px",
        count=100,
        rms_reference=1e-6,
        rms_candidate=1e-6 * scale,
        max_reference=4e-6,
        max_candidate=4e-6 * scale,
        scale_max=1.0,
        worst_case="2x96x64-noise",
        nonfinite=0,
        nonfinite_case="",
        by_case=(scale, None, 0.5 * scale, 1.25 * scale),
        exponents=(-24, -22, -21),
        errors_reference=(10, 80, 10),
        errors_candidate=(12, 70, 18),
    )


def cases() -> tuple[Case, ...]:
    return (
        Case("1x64x64-noise", {"batch": 1, "height": 64, "width": 64}, "noise", 0),
        Case("1x64x96-black", {"batch": 1, "height": 64, "width": 96}, "black", 1),
        Case("2x96x64-noise", {"batch": 2, "height": 96, "width": 64}, "noise", 2),
        Case("0.png", {"batch": 1, "height": 96, "width": 96}, "picture", 3, Path("0.png"), native=True),
    )


def made(*checks: Check, status: str = "fail", scale: float = 1.0) -> Verdict:
    """A verdict with these checks, on a detector with a tie and a defect."""
    finding = Finding(HOSTILE, "its margin lies within the error")
    decisions = Decisions(
        pictures=5,
        reference=9,
        matched=7,
        ties=(Located("0.png", 0, finding),),
        defects=(Located("2x96x64-noise", 1, Finding("missing: class 3", "no margin explains it")),),
        closest=Closest("score", 1e-4, 4.8, "0.png", 0, 9, 1),
    )
    facts = Facts(
        leg="ort-cpu",
        interface=(),
        cases=4,
        pictures_named=True,
        not_run=(),
        misshapen=(),
        fields=(measured("box_xy", scale=scale), measured("score", scale=scale)),
        labels=(LabelMeasurement("label", 100, 2, 1.6e-8, "0.png"),),
        decisions=decisions,
        oracle_missing={},
    )
    return Verdict(
        status=status,  # type: ignore[arg-type]
        checks=checks,
        facts=(facts,),
        cases=cases(),
        notes=("the file has opset 17", HOSTILE),
        model_sha256="0" * 64,
        environment={"python": "3.11.7", "cpus": 2, "seed": 0, "versions": {"torch": "2.9.0"}},
        policy=FLOAT_FLOOR.to_json(),
        pipeline=SIGHT,
    )


SIGHT = Sight(
    own="YOLO.predict",
    pictures=2,
    decisions=2,
    matched=1,
    causes=(Cause(("preprocessing",), 1, "1 box moved by 3 px", "another filter", "0.png"),),
    seen=(
        SeenPicture(
            "0.png",
            64,
            48,
            own=(SeenBox(1, 2, 30, 40, "cat", 0.9), SeenBox(5.5, 6, 20, 22, HOSTILE, 0.6, "moved")),
            found=(SeenBox(1, 2, 30, 40, "cat", 0.9), SeenBox(8.5, 6, 23, 22, HOSTILE, 0.6)),
        ),
        SeenPicture("1.png", 64, 48, (), (SeenBox(1, 1, 9, 9, "dog", 0.5, "extra"),)),
    ),
)

PASSED = Check("opset", "pass", "")
RATIO = Check("ratio_rms", "fail", "largest error 0.049 in 2x96x64-noise", 12345.6, 2.7, "ort-cpu", "score")
HOSTILE_CHECK = Check("decisions", "error", HOSTILE, 2.0, 0.0, "ort-cpu")
SKIPPED = Check("pipeline", "skipped", "no framework is known")


def failing() -> Verdict:
    return made(PASSED, RATIO, HOSTILE_CHECK, SKIPPED, scale=12345.6)


def passing() -> Verdict:
    return made(PASSED, Check("ratio_rms", "pass", "", 1.0, 2.7, "ort-cpu", "score"), status="pass")


SUBJECT = Subject(
    name="small",
    model="dist/small/model.onnx",
    job="configs/small job.toml",
    lines=lines_of(JOB),
    made=(("exporter", "torch.export"), ("SHA-256 of the checkpoint", "1" * 64)),
    command="onnxproof export 'configs/small job.toml'",
    stages=(("capture", 1.5), ("compare", 20.25)),
)
WITHOUT_JOB = Subject("model", "/elsewhere/a model.onnx")


def many() -> tuple[Entry, ...]:
    """A matrix of four jobs, one that failed, one that was not run, and one without a verdict."""
    cells = [
        Entry(
            replace(SUBJECT, name=f"small-opset_{opset}-variant_{variant}"),
            "up to date" if opset == 18 else "exported",
            failing() if opset == 20 and variant == "tiny" else passing(),
            axes=(("export.opset", str(opset)), ("model.variant", variant)),
        )
        for opset in (18, 20)
        for variant in ("nano", "tiny")
    ]
    return (
        *cells,
        Entry(WITHOUT_JOB, "failed", error=f"checkpoint gone: {HOSTILE}"),
        Entry(Subject("later", "later.toml"), "not run"),
        Entry(Subject("unproven", "dist/unproven/model.onnx"), "exported"),
    )
