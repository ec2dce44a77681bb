"""Run the cases of a kit in ONNX Runtime: python client.py KIT OUTPUTS

Needs NumPy and ONNX Runtime, and nothing of onnxproof.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # otherwise it writes into HOME and TMPDIR

import numpy as np
import onnxruntime as ort

PROVIDER = "CPUExecutionProvider"


def main(kit: Path, outputs: Path) -> None:
    index = json.loads((kit / "kit.json").read_text(encoding="utf-8"))
    outputs.mkdir(parents=True, exist_ok=True)
    session = ort.InferenceSession(kit / "model.onnx", providers=[PROVIDER])
    names = [output["name"] for output in index["outputs"]]
    cases = []
    for case in index["cases"]:
        feeds = {one["name"]: read(kit / one["file"], one["dtype"], one["shape"]) for one in case["inputs"]}
        told = []
        for place, (name, array) in enumerate(zip(names, session.run(names, feeds), strict=True)):
            file = f"{case['case']:02d}-{place}.bin"
            content = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
            (outputs / file).write_bytes(content)
            told.append(
                {
                    "name": name,
                    "dtype": array.dtype.name,
                    "shape": list(array.shape),
                    "file": file,
                    "sha256": hashlib.sha256(content).hexdigest(),
                }
            )
        cases.append({"case": case["case"], "outputs": told})
    runtime = {"name": "onnxruntime", "version": ort.__version__, "provider": session.get_providers()[0]}
    document = {
        "format": 1,
        "kit": index["kit"],
        "runtime": runtime,
        "model_sha256": hashlib.sha256((kit / "model.onnx").read_bytes()).hexdigest(),
        "cases": cases,
    }
    (outputs / "outputs.json").write_text(json.dumps(document, indent=1), encoding="utf-8")


def read(file: Path, dtype: str, shape: list[int]) -> np.ndarray:
    """The array in a file: its numbers row by row, little-endian."""
    return np.fromfile(file, np.dtype(dtype).newbyteorder("<")).reshape(shape).astype(dtype)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
