"""ONNX Runtime crashes while it loads an ``EmbeddingBag`` that was exported without optimization."""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim

with tempfile.TemporaryDirectory() as folder:
    for optimize in (True, False):
        file = Path(folder) / f"{optimize}.onnx"
        program = torch.onnx.export(
            nn.EmbeddingBag(50, 16, mode="mean").eval(),
            (torch.ones(3, 6, dtype=torch.int64),),
            dynamo=True,
            optimize=optimize,
            dynamic_shapes=({0: Dim("bags"), 1: Dim("items")},),
            verbose=False,
        )
        assert program is not None
        program.save(file)
        load = f"import onnxruntime; onnxruntime.InferenceSession({str(file)!r})"
        code = subprocess.run([sys.executable, "-c", load], check=False).returncode
        print(f"optimize={optimize}: loading ends with {code}")
