"""Write the JSON Schemas of the package, from the types that the documents are made of.

python benchmarks/schemas.py

``schema_of_jobs.py`` makes the schema of job files. Those of ``manifest.json`` and ``parity.json`` are put
together here from the dataclasses whose fields they hold. A test compares the files with what this makes.
"""

import json
from pathlib import Path
from typing import get_args

from schema_of_jobs import job
from schema_types import (
    COUNT,
    NUMBER,
    SHA256,
    TEXT,
    TEXTS,
    Schema,
    alone,
    head,
    may_lack,
    nullable,
    of,
    of_fields,
    rows,
    table,
    with_defaults,
)

from onnxproof import contract, tensors
from onnxproof.runs.record import FORMAT as RECORD_FORMAT
from onnxproof.runs.task import FORMAT as MANY_FORMAT
from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.runtime.manifest import FORMAT as MANIFEST_FORMAT
from onnxproof.runtime.manifest import OPTIONAL, REQUIRED, Frozen, Precision
from onnxproof.validate import verdict
from onnxproof.validate.baseline import Change, Differs
from onnxproof.validate.budget.figures import BudgetFigures, BudgetTally
from onnxproof.validate.checks import Check, Link, Status
from onnxproof.validate.dataset.figures import Figure
from onnxproof.validate.facts import INPUTS, PICTURES, Closest, Failure
from onnxproof.validate.golden.kit import FORMAT as KIT_FORMAT
from onnxproof.validate.golden.kit import PLAIN
from onnxproof.validate.golden.returned import FORMAT as OUTPUTS_FORMAT
from onnxproof.validate.measure import LabelMeasurement, Measurement
from onnxproof.validate.runtimes.row import RuntimeRow
from onnxproof.validate.sight.facts import Cause, SeenBox
from onnxproof.validate.texts import Gaps

NEWER = ("disorder", "rounding_constant")
"""What the facts of a leg lack in documents of earlier versions."""

FOLDER = Path(__file__).parents[1] / "src" / "onnxproof" / "schemas"


def main() -> None:
    for name, document in documents().items():
        (FOLDER / f"{name}.schema.json").write_text(told(document), encoding="utf-8")


def documents() -> dict[str, Schema]:
    """The schemas by name."""
    return {
        "job": job(),
        "manifest": manifest(),
        "parity": parity(),
        "made-from": made_from(),
        "many": many(),
        "kit": kit(),
        "outputs": outputs(),
    }


def told(document: Schema) -> str:
    """A schema as its file has it."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def manifest() -> Schema:
    """The schema of ``manifest.json``."""
    size = {"type": "integer", "minimum": 1}
    dim = alone(may_lack(table(name=TEXT, min=size, max=size, multiple=size), ("multiple",)))
    axis = {"anyOf": [{"type": "integer", "minimum": 0}, TEXT]}
    spec = alone(
        may_lack(
            table(
                name=TEXT,
                dtype={"enum": list(tensors.DTYPES)},
                shape={"type": "array", "items": axis, "maxItems": tensors.MOST_AXES},
                range=nullable({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}),
                mask={"type": "boolean"},
            ),
            ("range", "mask"),
        )
    )
    preprocess = of_fields(contract.Preprocess, height={"$ref": "#/$defs/dim"}, width={"$ref": "#/$defs/dim"})
    field = of_fields(tensors.Field)
    text_or_null = nullable(TEXT)
    keys: dict[str, Schema] = {
        "format": {"const": MANIFEST_FORMAT},
        "name": TEXT,
        "task": TEXT,
        "family": TEXT,
        "family_package": TEXT,
        "inputs": rows({"$ref": "#/$defs/tensor"}),
        "outputs": rows({"$ref": "#/$defs/tensor"}),
        "fields": rows(alone(may_lack(table(**field), with_defaults(tensors.Field)))),
        "dims": rows({"$ref": "#/$defs/dim"}),
        "preprocess": nullable(alone(may_lack(table(**preprocess), with_defaults(contract.Preprocess)))),
        "classes": rows(alone(table(**of_fields(contract.ClassInfo)))),
        "postprocess": {
            "type": "object",
            "description": "How the task reads the outputs; its keys depend on the task.",
            "properties": {"decode": TEXT, "outputs": TEXTS},
        },
        "opset": {"type": "integer", "minimum": 1},
        "exporter": TEXT,
        "simplify": TEXT,
        "checkpoint_sha256": nullable(SHA256),
        "frozen": rows(alone(table(**of_fields(Frozen)))),
        "precision": alone(may_lack(table(**of_fields(Precision)), ("tries",))),
        "model_sha256": text_or_null,
        "data_sha256": text_or_null,
        "golden_sha256": text_or_null,
        "versions": {"type": "object", "additionalProperties": TEXT},
        "job": nullable({"type": "object", "description": "The job, with paths relative to the bundle."}),
    }
    assert set(keys) == {*REQUIRED, *OPTIONAL}
    made = alone(may_lack(table(**keys), OPTIONAL))
    text = "What a bundle says of itself: the contract of its file, and where the file came from."
    return {**head("manifest", "manifest.json", text), **made, "$defs": {"dim": dim, "tensor": spec}}


def parity() -> Schema:
    """The schema of ``parity.json``. Readers ignore keys that they do not know: a format may get new ones."""
    status = of(Status)
    check = of_fields(Check)
    link = of(Link)
    measured = {**of_fields(Measurement), "ratio_rms": NUMBER, "ratio_max": NUMBER}
    finding = {"case": TEXT, "picture": COUNT, "what": TEXT, "cause": TEXT}
    found = {"ties": rows(table(**finding)), "defects": rows(table(**finding))}
    decided = {
        **dict.fromkeys(("pictures", "reference", "matched", "ties", "defects"), COUNT),
        "closest": nullable(may_lack(table(**of_fields(Closest)), with_defaults(Closest))),
        "unit": {"enum": [PICTURES, INPUTS]},
    }
    leg: dict[str, Schema] = {
        "leg": TEXT,
        "reference": TEXT,
        "oracle": TEXT,
        "oracle_missing": {
            "anyOf": [{"type": "object", "additionalProperties": TEXT}, TEXT, {"type": "null"}]
        },
        "cases": COUNT,
        "pictures_named": {"type": "boolean"},
        "interface": TEXTS,
        "not_run": rows(of(Failure)),
        "misshapen": rows(of(Failure)),
        "labels": rows({"$ref": "#/$defs/labels"}),
        "constant_measurements": rows({"$ref": "#/$defs/measurement"}),
        "decisions": nullable(may_lack(table(**decided), ("closest", "unit"))),
        "all_rows": nullable(may_lack(table(**decided, findings=table(**found)), ("closest", "unit"))),
        "rows": COUNT,
        "held_back": COUNT,
        "disorder": nullable(rows(of(Failure))),
        "repeated": TEXTS,
    }
    measurement = {"$ref": "#/$defs/measured"}
    function = may_lack(
        table(
            **leg,
            measurements=rows(measurement),
            rounding={"type": "object", "additionalProperties": NUMBER},
            rounding_constant={"type": "object", "additionalProperties": NUMBER},
            beyond={"type": "object", "additionalProperties": TEXT},
        ),
        NEWER,
    )
    cause = table(**of_fields(Cause))
    boxes = rows(table(**of_fields(SeenBox)))
    pipeline = table(
        own=TEXT,
        causes=rows(cause),
        **dict.fromkeys(("pictures", "decisions", "matched", "ties"), COUNT),
        differences=COUNT,
        seen=rows(table(picture=TEXT, width=COUNT, height=COUNT, own=boxes, found=boxes)),
    )
    pipeline = may_lack(pipeline, ("seen",))
    figures = table(
        leg=TEXT,
        pictures=COUNT,
        annotations=COUNT,
        score_threshold=nullable(NUMBER),
        figures=rows(table(**of_fields(Figure), difference=NUMBER)),
        decisions=may_lack(table(**decided, findings=table(**found)), ("closest", "unit")),
        untied_pictures=COUNT,
        not_answered=nullable(TEXT),
    )
    pictures = table(
        leg=TEXT,
        pictures=COUNT,
        unread=COUNT,
        first_unread=rows(of(Failure)),
        more_not_run=COUNT,
        more_misshapen=COUNT,
        threads=COUNT,
        processors=TEXTS,
        decisions=nullable(may_lack(table(**decided, findings=table(**found)), ("closest", "unit"))),
        facts=function,
    )
    counted = {**of_fields(BudgetFigures), **of_fields(BudgetTally), "changed": COUNT}
    del counted["tally"]
    linked = table(link=link, status=status, check=nullable(table(**check)))
    runtime = table(**of_fields(RuntimeRow), status=status, links=rows(linked))
    case = may_lack(
        table(
            name=TEXT,
            sizes={"type": "object", "additionalProperties": COUNT},
            content=TEXT,
            seed={"type": "integer"},
            picture=nullable(TEXT),
            native={"type": "boolean"},
            ids={"type": "object", "additionalProperties": rows({"type": "integer"})},
            text=table(pad=nullable({"type": "integer"}), ends=rows({"type": "integer"})),
            gaps=rows({"enum": list(get_args(Gaps))}),
            full={"const": True},
        ),
        ("native", "ids", "text", "gaps", "full"),
    )
    located = rows(table(leg=TEXT, **finding))
    against = table(
        baseline_sha256=TEXT,
        baseline_verdict=TEXT,
        worse=COUNT,
        ties=table(before=COUNT, now=COUNT),
        lost_cases=TEXTS,
        environment=rows(of(Differs)),
        checks=rows(of(Change)),
    )
    made = table(
        format={"const": verdict.FORMAT},
        verdict={"enum": ["pass", "fail", "error"]},
        model_sha256=TEXT,
        policy=nullable({**table(name=TEXT), "additionalProperties": True}),
        links=rows(linked),
        checks=rows(may_lack(table(link=link, **check), ("link",))),
        decisions=table(**dict.fromkeys(("matched", "ties", "defects"), COUNT)),
        findings=table(ties=located, defects=located),
        measurements=rows({"$ref": "#/$defs/measured_of_leg"}),
        legs=rows(may_lack(table(**leg), NEWER)),
        function=nullable(function),
        pipeline=nullable(pipeline),
        dataset=nullable(rows(figures)),
        pictures=rows(pictures),
        budget=table(**counted),
        runtimes=rows(runtime),
        cases=rows(case),
        notes=TEXTS,
        environment={"type": "object"},
        rule=TEXT,
        rule_text=TEXT,
        a_sha256=TEXT,
        baseline=nullable({"$ref": "#"}),
        against=against,
    )
    # Documents of this format from before a key was added do without it.
    made = may_lack(made, ("links", "function", "pipeline"))
    made = may_lack(made, ("pictures", "budget", "runtimes"))
    made = may_lack(made, ("rule", "rule_text", "a_sha256", "baseline", "against"))
    later = with_defaults(Measurement)
    shared = {
        "measurement": may_lack(table(**of_fields(Measurement)), later),
        "measured": may_lack(table(**measured), later),
        "measured_of_leg": may_lack(table(leg=TEXT, **measured), later),
        "labels": may_lack(table(**of_fields(LabelMeasurement)), with_defaults(LabelMeasurement)),
    }
    text = 'A verdict, format 2. Numbers that JSON has no word for are "NaN", "Infinity" and "-Infinity".'
    return {**head("parity", "parity.json", text), **made, "$defs": shared}


def made_from() -> Schema:
    """The schema of what lies beside a bundle: what it was made from."""
    texts = {"type": "object", "additionalProperties": TEXT}
    job_ = {"type": "object", "description": "The job, with paths from the bundle."}
    set_ = {"type": "array", "items": TEXT}
    asked = table(job=job_, checkpoint=TEXT, set=set_, validate={"type": "boolean"}, baseline=rows(SHA256))
    sums = {"type": "object", "additionalProperties": SHA256}
    made = table(
        format={"const": RECORD_FORMAT},
        asked=may_lack(asked, ("job", "checkpoint", "set")),
        files={"type": "object", "additionalProperties": nullable(SHA256)},
        versions=texts,
        bundle=sums,
    )
    text = "What a bundle was made from, format 1: DIR/.onnxproof/NAME.json. Paths start at the bundle."
    return {**head("made-from", "made from", text), **made}


def many() -> Schema:
    """The schema of what ``--json`` prints of many jobs."""
    error = table(type=TEXT, message=TEXT, exit_code={"type": "integer"})
    one = table(
        name=TEXT,
        source=TEXT,
        matrix={"type": "object", "additionalProperties": TEXT},
        done={"enum": ["exported", "validated", "up to date", "failed", "not run"]},
        reason=TEXT,
        exit_code=nullable({"type": "integer"}),
        seconds={"type": "number", "minimum": 0},
        bundle=nullable(TEXT),
        lowered=TEXT,
        notes=TEXTS,
        error=nullable(error),
        manifest={"type": ["object", "null"], "description": "As the schema manifest says."},
        parity={"type": ["object", "null"], "description": "As the schema parity says."},
    )
    made = table(
        format={"const": MANY_FORMAT},
        exit_code={"type": "integer"},
        said=TEXT,
        jobs=rows(may_lack(one, ("lowered",))),
    )
    return {**head("many", "many jobs", "What --json prints of many jobs, format 1."), **made}


def kit() -> Schema:
    """The schema of ``kit.json``."""
    file = {"enum": [MODEL_FILE, None], "description": "null if the model is not in the kit."}
    axis = {"anyOf": [COUNT, TEXT]}
    one = table(name=TEXT, dtype={"enum": list(PLAIN)}, shape=rows(COUNT), file=TEXT, sha256=SHA256)
    made = table(
        format={"const": KIT_FORMAT},
        kit=SHA256,
        name=TEXT,
        model=may_lack(table(file=file, sha256=SHA256, data_sha256=SHA256), ("data_sha256",)),
        outputs=rows(table(name=TEXT, dtype={"enum": list(PLAIN)}, shape=rows(axis))),
        cases=rows(table(case=COUNT, name=TEXT, inputs=rows(one))),
    )
    text = "The index of a kit, format 1: inputs for a host in any language. Files start at its folder."
    return {**head("kit", "kit.json", text), **made}


def outputs() -> Schema:
    """The schema of ``outputs.json``."""
    runtime = table(name=TEXT, version=TEXT, provider=TEXT, device=TEXT)
    one = table(name=TEXT, dtype={"enum": list(PLAIN)}, shape=rows(COUNT), file=TEXT, sha256=SHA256)
    case = table(case=COUNT, outputs=rows(alone(may_lack(one, ("sha256",)))))
    made = table(
        format={"const": OUTPUTS_FORMAT},
        kit=SHA256,
        runtime=alone(may_lack(runtime, ("device",))),
        model_sha256=SHA256,
        cases={**rows(alone(case)), "minItems": 1},
    )
    text = "What a host answered to the cases of a kit, format 1. Files start at the folder of outputs.json."
    return {**head("outputs", "outputs.json", text), **alone(may_lack(made, ("model_sha256",)))}


if __name__ == "__main__":
    main()
