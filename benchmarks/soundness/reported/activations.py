"""Reported faults of activations: another formula, a slope or a factor that is not read."""

from soundness.fault import set_attribute
from soundness.reported.fault import Net, Reported, Run, instead, surgery
from torch import nn
from torch.nn import functional

ROWS = {"x": "float32[batch, 8] in -1..1"}
BATCH = {"batch": "1..4"}


def layer(run: Run) -> Net:
    """A forward with a linear layer at hand whose outputs are spread from -4 to 4."""
    linear = nn.Linear(8, 16)
    linear.weight.data.mul_(5)
    return Net(run, l=linear)


FAULTS = (
    Reported(
        "gelu_tanh_as_erf",
        "apache/tvm#18750",
        "GELU with approximate='tanh'",
        "the importer does not read the attribute and takes the formula with erf",
        "emulated",
        lambda: layer(lambda s, x: functional.gelu(s.l(x), approximate="tanh")),
        ROWS,
        BATCH,
        instead(lambda s, x: functional.gelu(s.l(x))),
    ),
    Reported(
        "gelu_erf_as_tanh",
        "microsoft/onnxruntime#2270",
        "GELU with erf",
        "replaced by its approximation with tanh for speed",
        "emulated",
        lambda: layer(lambda s, x: functional.gelu(s.l(x))),
        ROWS,
        BATCH,
        instead(lambda s, x: functional.gelu(s.l(x), approximate="tanh")),
    ),
    Reported(
        "gelu_erf_as_tanh_near_zero",
        "microsoft/onnxruntime#2270",
        "GELU with erf, of numbers near 0",
        "replaced by its approximation with tanh; the difference hides in float32's error",
        "emulated",
        lambda: Net(lambda _, x: functional.gelu(x)),
        {"x": "float32[batch, 8] in -0.03..0.03"},
        BATCH,
        instead(lambda _, x: functional.gelu(x, approximate="tanh")),
    ),
    Reported(
        "hard_sigmoid_default_slope",
        "PaddlePaddle/Paddle2ONNX#930",
        "the hard sigmoid's slope is 1/6",
        "the slope is not written, so that ONNX's default, 0.2, holds",
        "surgery",
        lambda: layer(lambda s, x: functional.hardsigmoid(s.l(x))),
        ROWS,
        BATCH,
        surgery(lambda editor: set_attribute(editor.node("HardSigmoid"), "alpha", 0.2)),
    ),
    Reported(
        "hard_swish_default_slope",
        "Tencent/ncnn#2826",
        "the slope in the hard swish is 1/6",
        "the layer's default slope is 0.2",
        "emulated",
        lambda: layer(lambda s, x: functional.hardswish(s.l(x))),
        ROWS,
        BATCH,
        instead(lambda s, x: s.l(x) * (0.2 * s.l(x) + 0.5).clamp(0, 1)),
    ),
    Reported(
        "relu_slope_lost",
        "onnx/keras-onnx#584",
        "a ReLU with the slope 0.1 on the negative side",
        "the converter does not read the slope and writes a plain ReLU",
        "emulated",
        lambda: layer(lambda s, x: functional.leaky_relu(s.l(x), 0.1)),
        ROWS,
        BATCH,
        instead(lambda s, x: functional.relu(s.l(x))),
    ),
    Reported(
        "leaky_relu_default_slope",
        "NeuralNetworkVerification/Marabou#739",
        "a leaky ReLU that writes no slope has 0.01",
        "the importer takes 0.1",
        "surgery",
        lambda: layer(lambda s, x: functional.leaky_relu(s.l(x), 0.01)),
        ROWS,
        BATCH,
        surgery(lambda editor: set_attribute(editor.node("LeakyRelu"), "alpha", 0.1)),
    ),
)
