"""What ``onnxproof compare`` says of healthy pairs and of planted faults, without a checkpoint.

Exports the trained models of the demo and a seeded BERT in several ways that should make no difference,
holds each against the first, then damages the first in several ways and degrees and holds those against it.
Each pair is judged by A's graph in float64, and again without torch, by two runs of A. Prints a row for each
pair: how far the functions part, the largest ratios over its fields, the decisions, the verdicts.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

import onnxproof
from onnxproof import comparison
from onnxproof.errors import ModelFileError
from onnxproof.runtime import load_plain
from onnxproof.validate.policy import RATIO_MAX, RATIO_RMS
from onnxproof.validate.verdict import Verdict

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
DIGITS = ROOT / "examples" / "digits"

SMALL = ("dims.height=64..256 step 32", "dims.width=64..256 step 32", "dims.batch=1..4")
SCRIPT = "export.exporter=torchscript"
PLAIN, UNFOLDED, OLDER = "export.simplify=none", "export.fold_batch_norms=false", "export.opset=18"
BY_SCRIPT = {
    "not simplified": (PLAIN,),
    "not simplified, batch norms not folded": (PLAIN, UNFOLDED),
    "opset 18": (OLDER,),
}
BY_BOTH = {**BY_SCRIPT, "TorchScript": (SCRIPT,)}

Variants = Mapping[str, tuple[str, ...]]
MODELS: Mapping[str, tuple[tuple[str, ...], Variants, str | None]] = {
    "digits-yolox": (SMALL, BY_BOTH, "images"),
    "digits-yolox, none": ((*SMALL, SCRIPT, "wrapper.decode=none"), BY_SCRIPT, "images"),
    "digits-yolox, split": ((*SMALL, SCRIPT, "wrapper.decode=split"), BY_SCRIPT, "images"),
    "digits-yolox-uint8": ((*SMALL, SCRIPT), BY_SCRIPT, "images"),
    "digits-classifier": ((), BY_BOTH, "classifier/images"),
    "digits-multilabel": ((SCRIPT,), BY_SCRIPT, "multilabel/images"),
    "digits-segmenter": ((), BY_BOTH, "images"),
    "digits-reader": ((SCRIPT,), BY_SCRIPT, None),
    "digits-maskrcnn": ((), BY_SCRIPT, "images"),
    "module-bert": ((), BY_BOTH, None),
}
"""For each job, what it is exported with always, with in one case each, and where its pictures are."""

Fault = Callable[[onnx.ModelProto], None]


def weights(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    return [
        tensor
        for tensor in proto.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) >= 2
    ]


def to_float16(proto: onnx.ModelProto) -> None:
    for tensor in weights(proto):
        values = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def one_scaled(factor: float) -> Fault:
    def change(proto: onnx.ModelProto) -> None:
        tensor = weights(proto)[len(weights(proto)) // 2]
        values = numpy_helper.to_array(tensor) * np.float32(factor)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    return change


def before_input(operator: str, constant: np.ndarray, *, axis: bool = False) -> Fault:
    """A node between the first input and whatever reads it."""

    def change(proto: onnx.ModelProto) -> None:
        value = proto.graph.input[0]
        for reader in proto.graph.node:
            for place, name in enumerate(reader.input):
                if name == value.name:
                    reader.input[place] = "changed"
        channels = [size.dim_value for size in value.type.tensor_type.shape.dim].index(3)
        node = helper.make_node(operator, [value.name, "constant"], ["changed"])
        if axis:
            node.attribute.append(helper.make_attribute("axis", channels))
        proto.graph.initializer.append(numpy_helper.from_array(constant, "constant"))
        proto.graph.node.insert(0, node)

    return change


def frozen_batch(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


FAULTS: Mapping[str, Fault] = {
    "weights rounded to float16": to_float16,
    "one weight tensor × 1.001": one_scaled(1.001),
    "one weight tensor × 1.0001": one_scaled(1.0001),
    "one weight tensor × 1.00001": one_scaled(1.00001),
    "one weight tensor × 1.000001": one_scaled(1.000001),
    "frozen batch": frozen_batch,
}
PICTURE_FAULTS: Mapping[str, Fault] = {
    "BGR for RGB": before_input("Gather", np.array([2, 1, 0]), axis=True),
    "mean off by 0.0001 of the input's unit": before_input("Add", np.array(1e-4, np.float32)),
}


def optimized(file: Path) -> Path | None:
    """The file as ONNX Runtime writes it after its extended optimizations; None if it cannot load that."""
    target = file.with_name("optimized.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    try:
        load_plain(target)
    except ModelFileError:
        return None
    return target


def pairs(folder: Path, only: str) -> Iterator[tuple[str, str, str, Path, Path, str | None]]:
    """Model, kind, what B is, A, B and the pattern of pictures."""
    for name, (common, variants, pictures) in MODELS.items():
        if not name.startswith(only):
            continue
        pattern = None if pictures is None else str(DIGITS / pictures / "*.png")
        files = {}
        for variant, overrides in {"A": (), **variants}.items():
            label = variant.replace(",", "").replace(" ", "-")
            config = CONFIGS / f"{name.partition(',')[0]}.toml"
            job = onnxproof.load_job(config, (*common, *overrides, f"name={label}"))
            bundle = onnxproof.export(job, out=folder / name.replace(", ", "-"), validate=False)
            files[variant] = bundle.path / "model.onnx"
        a = files["A"]
        yield name, "healthy", "A itself", a, a, pattern
        for variant in variants:
            yield name, "healthy", variant, a, files[variant], pattern
        rewritten = optimized(a)
        if rewritten is not None:
            yield name, "healthy", "optimized by ONNX Runtime, extended", a, rewritten, pattern
        takes_floats = pictures is not None and "uint8" not in name
        faults = {**FAULTS, **PICTURE_FAULTS} if takes_floats else FAULTS
        for number, (fault, change) in enumerate(faults.items()):
            proto = onnx.load(a)
            if fault == "frozen batch" and not proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
                continue
            change(proto)
            file = a.with_name(f"fault-{number}.onnx")
            onnx.save(proto, file)
            yield name, "fault", fault, a, file, pattern


@dataclass(frozen=True, slots=True)
class Row:
    """What was said of a pair. ``parted`` is by how much the functions part, in units of A's float32 error;
    the ratios are the largest of the runtime link."""

    parted: float
    rms: float
    largest: float
    passed: bool
    passed_alone: bool

    @classmethod
    def of(cls, verdict: Verdict, alone: Verdict) -> Self:
        (facts,) = verdict.facts
        measured = [field for field in facts.fields if field.count]
        return cls(
            max((check.value or 0.0 for check in verdict.checks if check.name == "function"), default=np.nan),
            max((field.ratio_rms for field in measured), default=np.nan),
            max((field.ratio_max for field in measured), default=np.nan),
            verdict.passed,
            alone.passed,
        )


def span(values: Iterable[float]) -> str:
    told = sorted(values)
    return f"{told[0]:.3g}" if told[0] == told[-1] else f"{told[0]:.3g} to {told[-1]:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--effort", choices=("quick", "normal", "thorough"), default="quick")
    parser.add_argument("--only", help="a model's name, or the beginning of it", default="")
    arguments = parser.parse_args()
    seen: dict[tuple[str, str], list[Row]] = {}
    spent = {"by graphs": 0.0, "by two runs": 0.0}
    print("| model | B | function parts by | rms ratio | max ratio | links | verdict | by two runs |")
    print("| --- | --- | ---: | ---: | ---: | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        for model, kind, what, a, b, pattern in pairs(Path(name), arguments.only):
            started = time.process_time()
            verdict = onnxproof.compare(a, b, images=pattern, effort=arguments.effort, threads=1)
            between = time.process_time()
            alone = comparison.compare(a, b, images=pattern, effort=arguments.effort, threads=1)
            spent["by graphs"] += between - started
            spent["by two runs"] += time.process_time() - between
            row = Row.of(verdict, alone)
            seen.setdefault((kind, what), []).append(row)
            links = " / ".join(link.status for link in verdict.links)
            print(
                f"| {model} | {what} | {row.parted:.2g} | {row.rms:.3g} | {row.largest:.3g} | {links} "
                f"| {verdict.status} | {alone.status} |",
                flush=True,
            )
    print(
        f"\n| B | pairs | function parts by | rms ratio, limit {RATIO_RMS:g} "
        f"| max ratio, limit {RATIO_MAX:g} | pass | by two runs |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for (kind, what), rows in seen.items():
        columns = [[row.parted for row in rows], [row.rms for row in rows], [row.largest for row in rows]]
        print(
            f"| {kind}: {what} | {len(rows)} | {' | '.join(map(span, columns))} "
            f"| {sum(row.passed for row in rows)} | {sum(row.passed_alone for row in rows)} |"
        )
    told = ", ".join(f"{seconds:.1f} s {rule}" for rule, seconds in spent.items())
    print(f"\nprocessor time: {told}")


if __name__ == "__main__":
    main()
