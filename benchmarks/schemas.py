"""Write the JSON Schemas of the package, from the types that the documents are made of.

python benchmarks/schemas.py

The schema of job files is pydantic's of ``onnxproof.job.Job``. Those of ``manifest.json`` and ``parity.json``
are put together from the dataclasses whose fields they hold. A test compares the files with what this makes.
"""

import json
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from onnxproof import contract, tensors
from onnxproof.job import Job
from onnxproof.job_document import EXCLUDE, FIXED
from onnxproof.runs.record import FORMAT as RECORD_FORMAT
from onnxproof.runs.task import FORMAT as MANY_FORMAT
from onnxproof.runtime.manifest import FORMAT as MANIFEST_FORMAT
from onnxproof.runtime.manifest import OPTIONAL, REQUIRED, Frozen
from onnxproof.validate import verdict
from onnxproof.validate.baseline import Change, Differs
from onnxproof.validate.dataset.figures import Figure
from onnxproof.validate.facts import Closest, Failure
from onnxproof.validate.facts_json import NUMBERS
from onnxproof.validate.measure import LabelMeasurement, Measurement
from onnxproof.validate.sight.facts import Cause, SeenBox

FOLDER = Path(__file__).parents[1] / "src" / "onnxproof" / "schemas"
DRAFT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXTS: Schema = {"type": "array", "items": TEXT}
NUMBER: Schema = {"anyOf": [{"type": "number"}, {"enum": [*NUMBERS]}]}
SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}

JOB_KEYS = {
    "extends": "Another job file. What this one does not say is taken from there. Relative to this file.",
    "matrix": "Keys of the job and lists of values: a job for each combination.",
    "name": "The name of the bundle's folder.",
    "model.family": "Which family builds the model: onnxproof families lists them.",
    "model.task": "What is decided from the outputs: onnxproof tasks lists them. Else the family's first.",
    "model.variant": "The network, by the family's own name for it.",
    "model.checkpoint": "A checkpoint, or a folder that holds one. Relative to this file.",
    "model.weights": 'Which of several sets of weights: "auto", "ema", "raw", or the key or prefix of one.',
    "model.builder": '"package.module:callable" or "file.py:callable", which makes the network. It is run.',
    "model.kwargs": "Arguments of the builder, or of the library that builds the network.",
    "model.classes": "The classes' names in the model's order, for the family module.",
    "wrapper.scale_input": "The input is in 0..255 and divided by 255 in the graph.",
    "wrapper.channels_last": "The input is [batch, height, width, 3].",
    "wrapper.input_dtype": 'The dtype of the pictures; "uint8" goes with scale_input.',
    "wrapper.decode": 'How far the graph decodes. Each family has its own values; "auto" is its first.',
    "wrapper.resize": "Who fits a picture to the network: the host, or the graph.",
    "wrapper.normalize": "A normalisation by its name, of an input in 0..1.",
    "wrapper.mean": "The mean of each channel of an input in 0..1.",
    "wrapper.std": "The standard deviation of each channel of an input in 0..1.",
    "dims": 'The sizes of each named axis: "1..8", "64..640 step 32", or one size.',
    "inputs": 'The inputs of a module: "float32[batch, 3, height, width] in 0..1", or lists or tables.',
    "arguments": "Plain values that the module's forward gets besides its tensors.",
    "export.exporter": "Which of PyTorch's exporters captures the model.",
    "export.opset": "The version of ONNX's operators that the file is written in.",
    "export.simplify": "Which simplifier runs over the graph.",
    "export.dtype": "What the model's floats are held in.",
    "export.fold_batch_norms": "Whether batch norms are folded into the layers before them.",
    "export.target": "What the file is meant for.",
    "export.capture_timeout": "Seconds that each way to capture the model may take.",
    "export.custom_ops": '"package.module:TABLE" or "file.py:TABLE": translations of operators.',
    "validate.images": "A pattern of pictures to decide on, relative to this file.",
    "validate.annotations": "A JSON file in COCO's layout that labels pictures.",
    "validate.score_threshold": "The least score of a decision.",
    "validate.iou_threshold": "The IoU from which NMS drops a box.",
    "validate.class_agnostic": "Whether NMS looks at boxes of all classes at once.",
    "validate.max_detections": "How many of a picture's detections are kept.",
    "validate.nms": '"none" if each candidate stands for itself.',
    "validate.top_k": "How many of a picture's best classes are decided on.",
    "validate.providers": "ONNX Runtime's execution providers.",
    "validate.optimization": "ONNX Runtime's levels of graph optimization; each is judged.",
    "validate.effort": "How many cases are tried.",
    "validate.threads": "Threads of PyTorch and of ONNX Runtime.",
    "validate.seed": "The seed of whatever is random in the cases.",
    "predict.input": "The input of a module that takes pictures.",
    "predict.resize": "How a picture is fitted to the input.",
    "predict.size": "The side that pictures are resized to, px.",
    "predict.filter": "Whose resampling, and which.",
    "predict.channels": "The order of the channels in the input.",
    "predict.longest": 'The limit of the long side with resize = "short-side", px.',
    "predict.enlarge": "Whether a letterbox enlarges small pictures.",
    "predict.rounding": "How a letterbox's sides are rounded.",
    "predict.step": "Sides are rounded to multiples of this, px.",
    "predict.step_rounding": "How they are rounded.",
    "predict.place": "Where in the padding the picture lies.",
    "predict.half": "What becomes of the half pixel when an odd number is divided between two sides.",
    "predict.padding": "The colour of padding, RGB in 0..255, or one number for all three.",
    "predict.pad_to": "Whether padding fills up to the least declared size or to size.",
    "predict.way_back": "How boxes return to the picture.",
}
"""What an editor shows at each key."""


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
    }


def told(document: Schema) -> str:
    """A schema as its file has it."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def head(name: str, title: str, text: str) -> Schema:
    return {"$schema": DRAFT, "$id": f"urn:onnxproof:schema:{name}", "title": title, "description": text}


def job() -> Schema:
    """The schema of a job file, from the classes that read it."""
    made = _plain(Job.model_json_schema(by_alias=True))
    properties = made["properties"]
    del properties["folder"]
    size = {"type": "integer", "minimum": 1}
    dim = {"anyOf": [size, {"type": "string", "pattern": f"^\\s*{tensors.DIM_PATTERN.pattern}\\s*$"}]}
    spec = {"type": "string", "pattern": f"^\\s*{tensors.SPEC_PATTERN.pattern}\\s*$"}
    given = {"$ref": "#/$defs/Input"}
    made["$defs"] = {key: value for key, value in made["$defs"].items() if key not in ("Dim", "TensorSpec")}
    made["$defs"]["Input"] = {
        "anyOf": [
            spec,
            {"type": "array", "items": given},
            {"type": "object", "additionalProperties": given},
        ]
    }
    properties["dims"] = {"type": "object", "additionalProperties": dim}
    properties["inputs"] = {"type": "object", "additionalProperties": given}
    properties["arguments"] = {"type": "object"}
    color = {"type": "integer", "minimum": 0, "maximum": contract.LARGEST_COLOR}
    padding = made["$defs"]["PredictTable"]["properties"]["padding"]
    made["$defs"]["PredictTable"]["properties"]["padding"] = {"anyOf": [color, padding]}
    made["properties"] = {"extends": TEXT | {"minLength": 1}, **properties}
    made["$defs"]["Matrix"] = _matrix(made)
    made["properties"]["matrix"] = {"$ref": "#/$defs/Matrix"}
    _describe(made, JOB_KEYS)
    for key in ("title", "description", "required"):
        made.pop(key, None)
    # What a file does not say may be said by the one that it extends, or by its matrix.
    model = made["$defs"]["ModelTable"].pop("required")
    whole: Schema = {"required": ["name", "model"], "properties": {"model": {"required": model}}}
    whole["additionalProperties"] = True
    made["anyOf"] = [{"required": ["extends"]}, {"required": ["name", "matrix"]}, whole]
    return {**head("job", "Job", "A job file of onnxproof: which checkpoint to export, and how."), **made}


def _matrix(made: Schema) -> Schema:
    """The schema of ``[matrix]``: each key of the job with a list of its values, in tables or with dots."""
    keys: dict[str, Schema] = {}
    for name, value in made["properties"].items():
        if name in FIXED:
            continue
        table = made["$defs"].get(value.get("$ref", "").rpartition("/")[2])
        of = {} if table is None else table["properties"]
        inner = {
            key: _varied({k: v for k, v in entry.items() if k != "default"}) for key, entry in of.items()
        }
        tables = {"type": "object", "properties": inner, "additionalProperties": table is None}
        keys[name] = {"anyOf": [tables, _list({"type": "object"})]}
    return {
        "type": "object",
        "minProperties": 1,
        "properties": {**keys, EXCLUDE: {"type": "array", "items": {"type": "object", "minProperties": 1}}},
        "patternProperties": {f"^({'|'.join(keys)})\\.": _list({})},
        "additionalProperties": False,
    }


def _varied(entry: Schema) -> Schema:
    """A list of a key's values. The key may have keys of its own, such as the arguments of a builder."""
    values = _list(entry)
    return {"anyOf": [values, {"type": "object"}]} if entry.get("type") == "object" else values


def _list(item: Schema) -> Schema:
    return {"type": "array", "minItems": 1, **({"items": item} if item else {})}


def _describe(made: Schema, texts: Mapping[str, str]) -> None:
    """Put a text at each key. Raises KeyError for a key that the job does not have, or that has no text."""
    left = dict(texts)
    for key, value in made["properties"].items():
        table = made["$defs"].get(value.get("$ref", "").rpartition("/")[2])
        if table is None or key == "matrix":
            value["description"] = left.pop(key)
        else:
            for inner, entry in table["properties"].items():
                entry["description"] = left.pop(f"{key}.{inner}")
    if left:
        raise KeyError(f"the job has no keys {', '.join(left)}")


def _plain(value: Any) -> Any:
    """pydantic's schema without what TOML has no word for (null), and without titles made from names."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "anyOf" in value:
        kept = [_plain(one) for one in value["anyOf"] if one != {"type": "null"}]
        rest = {key: _plain(item) for key, item in value.items() if key not in ("anyOf", "title")}
        rest = {key: item for key, item in rest.items() if key != "default" or item is not None}
        return {**(kept[0] if len(kept) == 1 else {"anyOf": kept}), **rest}
    made = {key: _plain(item) for key, item in value.items() if key != "title" or isinstance(item, dict)}
    if isinstance(made.get("description"), str):
        made["description"] = made["description"].replace("``", "`").replace("\n", " ")
    return made


def of(kind: Any) -> Schema:
    """The schema of a type as JSON holds its values."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return {}
    if origin is Literal:
        return {"enum": list(parts)}
    if origin in (Union, types.UnionType):
        kinds = [{"type": "null"} if part is type(None) else of(part) for part in parts]
        return {"anyOf": [flat for one in kinds for flat in one.get("anyOf", [one])]}
    if origin is tuple and parts[-1] is not Ellipsis:
        return {
            "type": "array",
            "prefixItems": [of(part) for part in parts],
            "minItems": len(parts),
            "maxItems": len(parts),
        }
    if origin is tuple:
        return {"type": "array", "items": of(parts[0])}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": of(parts[1])}
    if is_dataclass(kind):
        return table(**of_fields(kind))
    simple = {str: TEXT, bool: {"type": "boolean"}, int: {"type": "integer"}, float: NUMBER}
    return dict(simple[kind])


def of_fields(kind: Any, **replaced: Schema) -> dict[str, Schema]:
    """The schemas of a dataclass's fields by name."""
    hints = get_type_hints(kind)
    return {field.name: replaced.get(field.name) or of(hints[field.name]) for field in fields(kind)}


def table(**keys: Schema) -> Schema:
    """An object with these keys, all required."""
    return {"type": "object", "properties": keys, "required": list(keys)}


def may_lack(made: Schema, keys: Iterable[str]) -> Schema:
    """The object, of whose keys some need not be there."""
    left = [key for key in made["required"] if key not in set(keys)]
    rest = {key: value for key, value in made.items() if key != "required"}
    return {**rest, "required": left} if left else rest


def alone(made: Schema) -> Schema:
    """The object without any other keys."""
    return {**made, "additionalProperties": False}


def with_defaults(kind: Any) -> tuple[str, ...]:
    """The fields of a dataclass that older documents may lack."""
    return tuple(one.name for one in fields(kind) if one.default is not MISSING)


def nullable(one: Schema) -> Schema:
    return {"anyOf": [one, {"type": "null"}]}


def rows(one: Schema) -> Schema:
    return {"type": "array", "items": one}


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
        "model_sha256": text_or_null,
        "data_sha256": text_or_null,
        "versions": {"type": "object", "additionalProperties": TEXT},
        "job": nullable({"type": "object", "description": "The job, with paths relative to the bundle."}),
    }
    assert set(keys) == {*REQUIRED, *OPTIONAL}
    made = alone(may_lack(table(**keys), OPTIONAL))
    text = "What a bundle says of itself: the contract of its file, and where the file came from."
    return {**head("manifest", "manifest.json", text), **made, "$defs": {"dim": dim, "tensor": spec}}


def parity() -> Schema:
    """The schema of ``parity.json``. Readers ignore keys that they do not know: a format may get new ones."""
    status = of(verdict.Status)
    check = of_fields(verdict.Check)
    link = of(verdict.Link)
    measured = {**of_fields(Measurement), "ratio_rms": NUMBER, "ratio_max": NUMBER}
    finding = {"case": TEXT, "picture": COUNT, "what": TEXT, "cause": TEXT}
    found = {"ties": rows(table(**finding)), "defects": rows(table(**finding))}
    decided = {
        **dict.fromkeys(("pictures", "reference", "matched", "ties", "defects"), COUNT),
        "closest": nullable(of(Closest)),
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
        "decisions": nullable(may_lack(table(**decided), ("closest",))),
        "all_rows": nullable(may_lack(table(**decided, findings=table(**found)), ("closest",))),
        "rows": COUNT,
        "held_back": COUNT,
        "repeated": TEXTS,
    }
    measurement = {"$ref": "#/$defs/measured"}
    function = table(
        **leg,
        measurements=rows(measurement),
        rounding={"type": "object", "additionalProperties": NUMBER},
        beyond={"type": "object", "additionalProperties": TEXT},
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
        decisions=may_lack(table(**decided, findings=table(**found)), ("closest",)),
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
        decisions=nullable(table(**decided, findings=table(**found))),
        facts=function,
    )
    case = may_lack(
        table(
            name=TEXT,
            sizes={"type": "object", "additionalProperties": COUNT},
            content=TEXT,
            seed={"type": "integer"},
            picture=nullable(TEXT),
            native={"type": "boolean"},
        ),
        ("native",),
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
        links=rows(table(link=link, status=status, check=nullable(table(**check)))),
        checks=rows(may_lack(table(link=link, **check), ("link",))),
        decisions=table(**dict.fromkeys(("matched", "ties", "defects"), COUNT)),
        findings=table(ties=located, defects=located),
        measurements=rows({"$ref": "#/$defs/measured_of_leg"}),
        legs=rows(table(**leg)),
        function=nullable(function),
        pipeline=nullable(pipeline),
        dataset=nullable(rows(figures)),
        pictures=rows(pictures),
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
    made = may_lack(made, ("pictures", "rule", "rule_text", "a_sha256", "baseline", "against"))
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
        notes=TEXTS,
        error=nullable(error),
        manifest={"type": ["object", "null"], "description": "As the schema manifest says."},
        parity={"type": ["object", "null"], "description": "As the schema parity says."},
    )
    made = table(format={"const": MANY_FORMAT}, exit_code={"type": "integer"}, said=TEXT, jobs=rows(one))
    return {**head("many", "many jobs", "What --json prints of many jobs, format 1."), **made}


if __name__ == "__main__":
    main()
