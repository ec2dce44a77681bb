"""What looking for all hazards costs, as ``onnxproof inspect`` does: processor time and memory.

Each file is read and looked at in a process of its own, whose imports do not count.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
import torchvision
from _demo import demo_bundle
from onnx import helper, numpy_helper

MB = 10**6
LOOK = Path(__file__).with_name("_look.py")
LAYERS, WIDTH = 50, 1600
"""Of the file with external data: each layer's weights have 10 MB."""


def resnet50(folder: Path) -> Path:
    file = folder / "resnet50.onnx"
    network = torchvision.models.resnet50(weights=None).eval()
    torch.onnx.export(network, (torch.rand(1, 3, 224, 224),), file, dynamo=False, opset_version=17)
    return file


def external(folder: Path) -> Path:
    """Products with 50 matrices, which lie beside the file."""
    random = np.random.default_rng(0)
    names = [f"x{number}" for number in range(LAYERS + 1)]
    nodes, weights = [], []
    for number in range(LAYERS):
        values = random.normal(0, WIDTH**-0.5, (WIDTH, WIDTH)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{number}"))
        nodes.append(helper.make_node("MatMul", [names[number], f"w{number}"], [names[number + 1]]))
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ("n", WIDTH))
        for name in (names[0], names[-1])
    ]
    graph = helper.make_graph(nodes, "products", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    file = folder / "external.onnx"
    onnx.save(model, file, save_as_external_data=True, location="external.onnx.data")
    return file


def main() -> None:
    torch.manual_seed(0)
    print("| file | MB | s of processor time | MB of memory | failed |")
    print("| --- | ---: | ---: | ---: | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {
            "the demo": demo_bundle(name) / "model.onnx",
            "ResNet-50": resnet50(folder),
            "external data": external(folder),
        }
        for told, file in files.items():
            size = sum(each.stat().st_size for each in file.parent.glob(f"{file.name}*")) / MB
            command = [sys.executable, str(LOOK), str(file)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            cost = json.loads(done.stdout)
            print(
                f"| {told} | {size:.0f} | {cost['seconds']:.2f} | {cost['memory'] / MB:.0f} "
                f"| {', '.join(cost['failed']) or 'none'} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
