"""What predict prints of raw outputs: their names, shapes and a summary of their values."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from onnxproof.cli._document import show_json
from onnxproof.errors import PictureError, RequestError
from onnxproof.runtime import PlainModel, picture_array, write_arrays
from onnxproof.runtime.folder import refuse_in_bundle
from onnxproof.runtime.plain import summarize, values_json
from onnxproof.runtime.remote import Place
from onnxproof.runtime.stored import wrote_arrays
from onnxproof.system.files import check_file, refuse_inputs
from onnxproof.system.own_file import refuse_foreign
from onnxproof.text import one_line

JSON_VALUES = 1000
"""JSON leaves out the values of outputs with more than this many. --out writes all values."""

UNSAID = (
    "the file does not say how it takes pictures, so they are in [0, 1] and not normalised. If the model was "
    "trained with others, its outputs mean little: give --scale 255, or --input NAME=FILE.npy"
)

Run = Callable[[Place | None], Mapping[str, Any]]
"""Returns the outputs for a picture, or for the other inputs alone if it gets None."""


def print_outputs(
    run: Run,
    images: Sequence[Place],
    *,
    read: Sequence[Path],
    out: Path | None,
    as_json: bool,
    jsonl: bool = False,
) -> int:
    """Run once for each image, or once without one, and print the outputs.

    ``read`` are the files that the command reads. Raises RequestError if ``out`` is one of them, or a file
    or a folder that is not replaced.
    """
    if out is not None and len(images) > 1:
        raise RequestError(f"--out writes the outputs of one run, got {len(images)} images: give one")
    if out is not None:
        refuse_inputs([out], read)
        _refuse_target(out)
    results: list[dict[str, Any]] = []
    failed = 0
    outputs: Mapping[str, Any] = {}
    for image in images or (None,):
        head: dict[str, Any] = {} if image is None else {"image": str(image)}
        try:
            outputs = run(image)
        except PictureError as error:
            if len(images) < 2:
                raise
            failed += 1
            result = {**head, "error": {"type": type(error).__name__, "message": str(error)}}
        else:
            result = {**head, "outputs": [_describe(name, value) for name, value in outputs.items()]}
        if jsonl:
            show_json(result, line=True)
        elif as_json:
            results.append(result)
        else:
            _print(result)
    if out is not None:
        _write(out, outputs)
    if as_json:
        show_json(results if images else results[0])
    if failed:
        click.echo(f"onnxproof: {failed} of {len(images)} pictures cannot be used, see the answer", err=True)
    return 2 if failed else 0


def runs_of(model: PlainModel, arrays: Mapping[str, Any], *, scale: float | None, hint: bool) -> Run:
    """How to run a file that does not say what its inputs mean: a picture goes to the input that it fits.

    If ``hint``, and ``scale`` is not given, the first picture of a float32 input is told to be a guess.
    """
    told = scale is not None or not hint

    def run(image: Place | None) -> Mapping[str, Any]:
        nonlocal told
        if image is None:
            return model.run(arrays)
        port = model.picture_input(arrays)
        array, note = picture_array(image, port, scale=scale or 1.0)
        click.echo(one_line(f"{image}: {note}"), err=True)
        if not told and port.dtype == "float32":
            click.echo(f"note: {UNSAID}", err=True)
            told = True
        return model.run({**arrays, port.name: array})

    return run


def _describe(name: str, value: Any) -> dict[str, Any]:
    described = {"name": name, **summarize(value)}
    size = value.size if isinstance(value, np.ndarray) else 0
    described["values"] = values_json(value, JSON_VALUES)
    if size > JSON_VALUES:
        described["values_left_out"] = size
    return described


def _print(result: Mapping[str, Any]) -> None:
    if "image" in result:
        click.echo(one_line(f"{result['image']}:"))
    if "error" in result:
        click.echo(one_line(f"  error: {result['error']['message']}"))
    for output in result.get("outputs", ()):
        parts = [f"{output['name']}  {output['dtype']}{output['shape']}"]
        parts += [f"{key} {output[key]:.6g}" for key in ("min", "max", "mean") if key in output]
        parts += [
            f"{key.replace('_', ' ')} {output[key]}" for key in ("argmax", "not_finite") if key in output
        ]
        click.echo(one_line("  ".join(parts)))


def _refuse_target(out: Path) -> None:
    """Raise RequestError if ``out`` cannot be written, or is a file with content that is no .npz of ours."""
    check_file(out, "--out")
    if not out.parent.is_dir():
        raise RequestError(
            f"{out} cannot be written ({out.parent} is no folder): name another file with --out"
        )
    refuse_foreign(out, wrote_arrays, ".npz file", kind="file")
    refuse_in_bundle(out)


def _write(out: Path, outputs: Mapping[str, Any]) -> None:
    arrays = {name: value for name, value in outputs.items() if isinstance(value, np.ndarray)}
    if outputs and not arrays:
        raise RequestError(f"no output is an array, so nothing is written to {out}: --json prints them")
    for name in outputs.keys() - arrays.keys():
        note = f"note: output {name} is a {type(outputs[name]).__name__}, not written"
        click.echo(one_line(note), err=True)
    write_arrays(out, arrays)
