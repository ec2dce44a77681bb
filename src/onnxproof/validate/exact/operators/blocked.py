"""The operators of ONNX Runtime's blocked layout (domain com.microsoft.nchwc), in float64.

At its highest level ONNX Runtime keeps pictures in blocks of 8 or 16 channels, as its convolutions read them:
an array that is declared as [n, c, h, w] lies in memory as [n, c / block, h, w, block]. The channels are
filled up with zeros to a multiple of the block. Weights are blocked over what they write and, unless the
input is not blocked or each channel has its own filter, over what they read, too: [m / block, c / block, h,
w, block of c, block of m].
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
from onnx import helper

from onnxproof.runtime.session import SessionSettings, open_bytes
from onnxproof.validate.exact.arrays import Array
from onnxproof.validate.exact.operators.convolution import WINDOW, convolve
from onnxproof.validate.exact.operators.named import activation as named_activation
from onnxproof.validate.exact.operators.pooling import average_pool, max_pool
from onnxproof.validate.exact.operators.sampling import resize
from onnxproof.validate.exact.registry import operator

NCHWC = "com.microsoft.nchwc"

_POOL = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")


@lru_cache(maxsize=1)
def block_size() -> int:
    """How many channels a block has on this machine: ONNX Runtime fills 4 channels up to one block."""
    given = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4, 1, 1])
    node = helper.make_node("ReorderInput", ["x"], ["y"], domain=NCHWC)
    graph = helper.make_graph([node], "probe", [given], [onnx.ValueInfoProto(name="y")])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(NCHWC, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    settings = SessionSettings(threads=1, optimization="none", in_turn=True)
    session = open_bytes(model.SerializeToString(), "a probe of the blocked layout", settings)
    (blocked,) = session.run(None, {"x": np.zeros((1, 4, 1, 1), np.float32)})
    return int(blocked.shape[1])


def plain(x: Array) -> Array:
    """A blocked array as [n, c, h, w] in the usual order."""
    n, c, h, w = x.shape
    apart = x.reshape(n, c // block_size(), h, w, block_size())
    return np.ascontiguousarray(np.moveaxis(apart, -1, 2)).reshape(x.shape)


def blocked(x: Array) -> Array:
    """The inverse of ``plain``, for channels that are a multiple of the block."""
    n, c, h, w = x.shape
    apart = x.reshape(n, c // block_size(), block_size(), h, w)
    return np.ascontiguousarray(np.moveaxis(apart, 2, -1)).reshape(x.shape)


def _filled(x: Array) -> Array:
    """Channels of 0 added up to a multiple of the block."""
    return np.pad(x, ((0, 0), (0, -x.shape[1] % block_size()), (0, 0), (0, 0)))


def _weights(w: Array, *, both: bool) -> Array:
    """Weights as [m, c, h, w]. ``both``: they are blocked over what they read, too."""
    m, c, h, k = w.shape
    size = block_size()
    if both:
        apart = w.reshape(m // size, c // size, h, k, size, size)
        return np.ascontiguousarray(apart.transpose(0, 5, 1, 4, 2, 3)).reshape(w.shape)
    apart = w.reshape(m // size, c, h, k, size)
    return np.ascontiguousarray(apart.transpose(0, 4, 1, 2, 3)).reshape(w.shape)


@operator("ReorderInput", domain=NCHWC)
def _reorder_input(x: Array, *, channels_last: int = 0) -> Array:
    return blocked(_filled(np.moveaxis(x, -1, 1) if channels_last else x))


@operator("ReorderOutput", domain=NCHWC)
def _reorder_output(x: Array, *, channels: int, channels_last: int = 0) -> Array:
    result = plain(x)[:, :channels]
    return np.ascontiguousarray(np.moveaxis(result, 1, -1) if channels_last else result)


@operator("Conv", domain=NCHWC, ignores=("kernel_shape",), accepts=WINDOW)
def _conv(
    x: Array,
    w: Array,
    b: Array | None = None,
    z: Array | None = None,
    *,
    activation: str = "",
    activation_params: Sequence[float] = (),
    **window: Any,
) -> Array:
    """A convolution of a blocked picture, or of one with less channels than a block, which is not blocked."""
    is_blocked = x.shape[1] >= block_size()
    own = w.shape[1] == 1 and window.get("group", 1) > 1
    weights = _weights(w, both=is_blocked and not own)
    result = convolve(plain(x) if is_blocked else x, weights, b, **window)
    added = result if z is None else result + plain(z)
    return blocked(named_activation(activation, activation_params)(added))


@operator("MaxPool", domain=NCHWC, ignores=("storage_order",), accepts=_POOL)
def _max_pool(x: Array, **window: Any) -> Array:
    return blocked(np.asarray(max_pool(plain(x), **window)))


@operator("AveragePool", domain=NCHWC, accepts=(*_POOL, "count_include_pad"))
def _average_pool(x: Array, **window: Any) -> Array:
    return blocked(average_pool(plain(x), **window))


@operator("GlobalMaxPool", domain=NCHWC)
def _global_max_pool(x: Array) -> Array:
    return blocked(plain(x).max((2, 3), keepdims=True))


@operator("GlobalAveragePool", domain=NCHWC)
def _global_average_pool(x: Array) -> Array:
    return blocked(plain(x).mean((2, 3), keepdims=True))


@operator("Upsample", domain=NCHWC)
def _upsample(
    x: Array,
    *,
    scales: Sequence[int],
    mode: str = "nearest",
    coordinate_transformation_mode: str = "asymmetric",
) -> Array:
    factors = np.array(scales, np.float64)
    return blocked(
        resize(
            plain(x),
            None,
            factors,
            mode=mode,
            nearest_mode="floor",
            coordinate_transformation_mode=coordinate_transformation_mode,
        )
    )
