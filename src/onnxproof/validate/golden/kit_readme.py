"""The README of a kit: all that a host needs to know, whatever it is written in."""

from typing import Any

TEXT = """# {name}: a kit

Run the model on {count} cases with the runtime that you deploy, return its outputs, and let
`onnxproof judge KIT OUTPUTS` say whether it computes and decides there as it was proven to. Nothing of
onnxproof is needed to run the cases, and neither the runtime nor the model to judge them.

## What is here

- {model}
- `kit.json`: the index. `kit` names this kit. `outputs` are the model's outputs in their order (an axis that
  is a name varies). `cases` has each case's number, its name, and its inputs: `name`, `dtype` (as NumPy calls
  it), `shape`, `file`, and the `sha256` of the file.
- `cases.txt`: the same without JSON. The first line is `onnxproof-kit`, the format (1) and the kit's name.
  Each other line is an input of a case: the case's number, the input's name, its dtype, its sizes with commas
  between them (nothing for a scalar) and its file. One tab parts two fields, one line feed ends a line, and
  the text is UTF-8.
- `inputs/`: a file for each input. It holds the numbers and nothing else, row by row (the last axis runs
  fastest), little-endian; a bool is one byte, 0 or 1.
- `golden.npz`, `contract.json`: what PyTorch answered, and what the outputs mean. Only `onnxproof judge`
  reads them.

## What to return

A folder with `outputs.json` and a file for each output of each case, in the same form as the inputs:

```json
{{
  "format": 1,
  "kit": "{kit}",
  "runtime": {{"name": "my-runtime", "version": "1.0", "provider": "cpu"}},
  "cases": [
    {{
      "case": 0,
      "outputs": [{{"name": "{output}", "dtype": "{dtype}", "shape": [{shape}], "file": "00-0.bin"}}]
    }}
  ]
}}
```

- `kit` is copied from `kit.json`, or from the first line of `cases.txt`.
- `runtime` is in your words; the verdict repeats them. It may also have a `device`.
- `cases` has an entry for every case, in any order, with all outputs. `shape` is the shape that this output
  has in this case.
- `file` starts at the folder of `outputs.json`. The names are yours.
- `model_sha256` (of the file that was run; beside `kit`) and `sha256` (of an output's file; beside `file`)
  may be left out. If they are there, they are checked.

Feed each input as it is, return the dtypes that `kit.json` declares, and do nothing to the outputs: no
softmax, no threshold, no NMS.
"""

DATA = ", and `model.onnx.data`, its weights"


def readme(index: dict[str, Any]) -> str:
    """The text of a kit's README, from the document of ``kit.json``."""
    model, output = index["model"], index["outputs"][0]
    there = f"`model.onnx`, the model{DATA if 'data_sha256' in model else ''}"
    said = there if model["file"] else "The model is not here"
    sizes = (axis if isinstance(axis, int) else 1 for axis in output["shape"])
    return TEXT.format(
        name=index["name"],
        count=len(index["cases"]),
        model=f"{said}. Its SHA-256 is `{model['sha256']}`.",
        kit=index["kit"],
        output=output["name"],
        dtype=output["dtype"],
        shape=", ".join(map(str, sizes)),
    )
