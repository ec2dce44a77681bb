"""Make a file's largest tensor larger by a thousandth, as a careless tool might.

python examples/faults/larger.py BEFORE.onnx AFTER.onnx
"""

import sys

import numpy as np
import onnx
from onnx import numpy_helper


def main(before: str, after: str) -> None:
    model = onnx.load(before)
    weight = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    values = numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array(values * np.float32(1.001), weight.name))
    onnx.save(model, after)


if __name__ == "__main__":
    main(*sys.argv[1:])
