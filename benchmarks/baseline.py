"""How far the figures of a right file move where nothing but the noise changes: what docs/baseline.md allows.

python benchmarks/baseline.py

Each job is exported by the exporters of PyTorch that capture it, and each file is judged under other seeds,
numbers of threads and levels of optimization. The table has, by check, the largest quotient of two figures of
one field.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import onnxproof
from onnxproof.validate.baseline import NOISE
from onnxproof.validate.verdict import Check, Verdict

CONFIGS = Path(__file__).parents[1] / "configs"

QUICK = ("validate.effort=quick", "dims.batch=1..2")

JOBS = (
    ("digits-classifier", "torchscript"),
    ("digits-classifier", "torch.export"),
    ("digits-reader", "torchscript"),  # torch.export does not capture it
)

VARIATIONS = (
    ("validate.seed=0", "validate.threads=1", 'validate.optimization=["all", "none", "basic"]'),
    ("validate.seed=0", "validate.threads=2"),
    ("validate.seed=100", "validate.threads=1"),
    ("validate.seed=200", "validate.threads=2"),
)


Found = dict[tuple[str, str, str], list[float]]


def main() -> None:
    found: Found = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for name, exporter in JOBS:
            asked = (*QUICK, f"export.exporter={exporter}")
            source = CONFIGS / f"{name}.toml"
            bundle = onnxproof.export(source, out=Path(folder, exporter), set=asked, validate=False)
            for variation in VARIATIONS:
                verdict = onnxproof.validate(bundle.path, set=(*asked, *variation), trust=True)
                for check, figure in figures(verdict):
                    found[name, check.name, check.field or ""].append(figure)
            print(f"\nso far, with {name} by {exporter}:", flush=True)
            show(found)


def show(found: Found) -> None:
    """Print how far the figures of one field lie apart, by check: the most among all fields."""
    print(f"{'check':<16}{'allowed':>8}{'moved':>8}  most, in", flush=True)
    for check, noise in NOISE.items():
        moved = {
            key: max(values) / min(values)
            for key, values in found.items()
            if key[1] == check and len(values) > 1
        }
        if moved:
            worst = max(moved, key=lambda key: moved[key])
            low, high = min(found[worst]), max(found[worst])
            print(
                f"{check:<16}{noise.factor:>8g}{moved[worst]:>8.2f}  {worst[0]} {worst[2]} "
                f"({low:.3g} to {high:.3g} in {len(found[worst])} runs)",
                flush=True,
            )


def figures(verdict: Verdict) -> Iterator[tuple[Check, float]]:
    """Each figure that is noise, at least what is allowed to be none."""
    for check in verdict.checks:
        noise = NOISE.get(check.name)
        if noise is None or check.value is None or check.status != "pass":
            continue
        value = check.value / check.limit if noise.of_limit and check.limit else check.value
        yield check, max(value, noise.least)


if __name__ == "__main__":
    main()
