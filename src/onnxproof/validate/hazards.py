"""What the file itself shows, before any number: operators that a target does not document, metadata of
another model."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import onnx

from onnxproof.runtime.manifest import METADATA_KEY
from onnxproof.runtime.predictor import SETTINGS
from onnxproof.validate.judge import Check, Status

BARRACUDA = frozenset(
    """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Clip
    Concat Constant Conv ConvTranspose Cos Cosh DepthToSpace Div Dropout Elu Equal Exp Expand
    Flatten Floor Gather Gemm GlobalAveragePool GlobalMaxPool Greater Identity ImageScaler
    InstanceNormalization LRN LSTM LeakyRelu Less Log LogSoftmax MatMul Max MaxPool Mean Min Mul
    Multinomial Neg Not OneHot Or PRelu Pad Pow RandomNormal RandomNormalLike RandomUniform
    RandomUniformLike Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape
    Resize Selu Shape Sigmoid Sin Sinh Slice Softmax SpaceToDepth Sqrt Squeeze Sub Sum Tan Tanh TopK
    Transpose Unsqueeze Upsample Xor
    """.split()
)
"""Source: "Supported ONNX operators" in the documentation of Unity's barracuda-release repository."""

OPERATORS: Mapping[str, frozenset[str]] = {"barracuda": BARRACUDA}
"""The operators that each target's documentation lists; ONNX Runtime has all of the standard set."""


def operators_check(proto: onnx.ModelProto, target: str) -> Check:
    """Whether every operator of the graph is in the target's documentation.

    A "fail" names the operators, how often they occur, and what to do.
    """
    known = OPERATORS.get(target)
    if known is None:
        return Check("operators", "pass", f"{target} runs the standard operator set", 0, 0)
    unknown = Counter(node.op_type for node in proto.graph.node if node.op_type not in known or node.domain)
    if not unknown:
        return Check("operators", "pass", f"all are in the documentation of {target}", 0, 0)
    listed = ", ".join(f"{name} ({count} times)" for name, count in sorted(unknown.items()))
    return Check(
        "operators",
        "fail",
        f'outside the documentation of {target}: {listed}; try wrapper.decode = "none", a lower '
        "export.opset, fixed dims, or another target",
        len(unknown),
        0,
    )


def opset_check(proto: onnx.ModelProto, wanted: int) -> Check:
    """Whether the file's opset is the one that was asked for."""
    written = next((int(entry.version) for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
    status: Status = "pass" if written == wanted else "fail"
    reason = "" if status == "pass" else f"the file has opset {written}, the job asks for {wanted}"
    return Check("opset", status, reason, written, wanted)


def metadata_check(proto: onnx.ModelProto, postprocess: Mapping[str, Any]) -> Check:
    """Whether the file tells the runtime to decide as the model is judged here: the same ``postprocess``,
    but for what a user may replace. "skipped" where the file has no metadata of onnxproof."""
    text = next((entry.value for entry in proto.metadata_props if entry.key == METADATA_KEY), None)
    if text is None:
        return Check("metadata", "skipped", "the file carries no metadata of onnxproof")
    try:
        told = json.loads(text)["postprocess"]
        keys = sorted((told.keys() | postprocess.keys()) - SETTINGS.keys())
    except (ValueError, KeyError, TypeError, AttributeError):
        return Check("metadata", "fail", "the file's metadata is no manifest: export the model again", 1, 0)
    wanted = json.loads(json.dumps(dict(postprocess)))
    wrong = [key for key in keys if told.get(key) != wanted.get(key)]
    if not wrong:
        return Check("metadata", "pass", "", 0, 0)
    reason = f"the file's metadata has another {', '.join(wrong)} than the model: export it again"
    return Check("metadata", "fail", reason, len(wrong), 0)
