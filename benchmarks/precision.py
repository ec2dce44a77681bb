"""How fast and how large files of lower precision are, and how many decisions they keep.

The demo's detector is trained. YOLOX-tiny at 416, a ResNet-50, a MobileNet and a ViT are trained here, on
handwritten digits (``lowered/networks.py``). Each row is a model and who made the file of lower precision
(``lowered/contestants.py``): ours without a search and with it, ONNX Runtime's defaults, ours in fp16, and
NNCF with accuracy control by an interpreter that has it. One budget judges all. Times are paired and in turn
with the float32 file.

What is measured is kept in DIR, and the same command goes on where it was stopped: DIR/rows.jsonl has what
was judged, DIR/times.jsonl what was timed, which a quiet machine may do later.

    python benchmarks/precision.py DIR [--reduced] [--nncf PYTHON] [--only NAME...] [--no-times] [--plot PNG]
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lowered.contestants import Make, contestants
from lowered.figures import judged, timed
from lowered.report import LOOKS, curve, plot, table
from lowered.subject import MODELS, Subject, subject_of

REDUCED = 8, 40
"""How many pictures calibrate and judge in a reduced run."""

Key = tuple[str, str]
"""A model's short name and a contestant."""


class Kept:
    """Objects in a file, one a line, by model and contestant."""

    def __init__(self, file: Path) -> None:
        self._file = file
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        told = [json.loads(line) for line in lines]
        self.rows: dict[Key, dict[str, Any]] = {(one["short"], one["contestant"]): one for one in told}

    def add(self, short: str, contestant: str, found: Mapping[str, Any]) -> None:
        """Keep what was found."""
        row = {"short": short, "model": MODELS[short].name, "contestant": contestant, **found}
        self.rows[short, contestant] = row
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(f"{json.dumps(row)}\n")
        print(row, flush=True)


def tried(subject: Subject, contestant: str, make: Make, file: Path) -> dict[str, Any]:
    """A contestant's row. One that does not manage a model has a row that says so."""
    try:
        if not file.exists():
            make(subject, file)
        return judged(subject, contestant, file)
    except Exception as error:  # noqa: BLE001
        return {"failed": (str(error).strip() or repr(error)).splitlines()[0][:120]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure files of lower precision.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--reduced", action="store_true", help="few pictures, the demo only")
    parser.add_argument("--nncf", metavar="PYTHON", help="an interpreter that has NNCF")
    parser.add_argument("--only", nargs="*", default=[], choices=MODELS, help="some models")
    parser.add_argument("--no-times", action="store_true", help="leave the times to a later run")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="where to draw the curves")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    makers = contestants(options.nncf)
    rows, times = Kept(folder / "rows.jsonl"), Kept(folder / "times.jsonl")
    for short in options.only or (["demo"] if options.reduced else MODELS):
        subject = subject_of(short, folder, REDUCED if options.reduced else None, options.threads)
        for name, make in makers.items():
            file = folder / f"{short}-{name.replace(' ', '-').replace(',', '')}.onnx"
            if (short, name) not in rows.rows:
                rows.add(short, name, tried(subject, name, make, file))
            late = options.no_times or (short, name) in times.rows or "failed" in rows.rows[short, name]
            if not late:
                times.add(short, name, timed(subject, file, options.threads))
    ordered = [(short, name) for short in MODELS for name in LOOKS if (short, name) in rows.rows]
    found = [{**times.rows.get(key, {}), **rows.rows[key]} for key in ordered]
    print("\n".join(table(found)))
    curves = {short: folder / f"{short}-curve.json" for short in MODELS}
    for short, file in curves.items():
        tried_by = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if len(tried_by.get("tried", ())) > 1:
            print("\n".join(("", f"What the search tried for {MODELS[short].name}:", "", *curve(tried_by))))
    if options.plot is not None:
        plot(found, curves, options.plot)


if __name__ == "__main__":
    main()
