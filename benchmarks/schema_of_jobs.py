"""The JSON Schema of job files: pydantic's of ``onnxproof.job.Job``, with a text for each key."""

from collections.abc import Mapping
from typing import Any

from schema_types import TEXT, Schema, head

from onnxproof import contract, tensors
from onnxproof.job import Job
from onnxproof.job.document import EXCLUDE, FIXED

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
    "precision.mode": "Which file of lower precision is made beside the one in float32.",
    "precision.images": "A pattern of the pictures that calibrate int8, relative to this file.",
    "precision.calibration": "How the ranges of the calibration are cut.",
    "precision.search": "Whether nodes are kept in float32 until the file meets its budget.",
    "precision.keep": "Nodes that stay in float32; for fp16 and bf16, modules.",
    "precision.budget": "What the file may cost, by the pictures that judge it.",
    "precision.budget.changed": "The largest share of decisions that may change.",
    "precision.budget.map_drop": "How far mAP, or the task's own figure, may drop.",
    "precision.budget.box_px": "How far a coordinate of a kept box may move, px of the file's input.",
    "precision.budget.score": "How far the score of a kept decision may move.",
    "precision.budget.confidence": "How sure the share of changed decisions is to be.",
    "predict.way_back": "How boxes return to the picture.",
}
"""What an editor shows at each key."""


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

    def describe(properties: Schema, before: str) -> None:
        for key, value in properties.items():
            table = made["$defs"].get(value.get("$ref", "").rpartition("/")[2])
            if table is None or before or key == "matrix":
                value["description"] = left.pop(f"{before}{key}")
            if table is not None and key != "matrix":
                describe(table["properties"], f"{before}{key}.")

    describe(made["properties"], "")
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
