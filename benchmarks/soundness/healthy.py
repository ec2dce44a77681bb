"""How each subject is exported without any fault: exporters, simplified or not, folded or not, opsets."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

LEVELS: tuple[Literal["none", "basic", "extended", "all"], ...] = ("none", "basic", "extended", "all")
THREADS = (1, 2)

NEWEST = 25
"""The newest opset that the exporter, the checker and ONNX Runtime all take."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to export: its name, and the job's overrides."""

    name: str
    overrides: tuple[str, ...]


def variants(*, traced: bool) -> Iterator[Variant]:
    """Exporters and simplifiers at opset 20, unfolded batch norms, then the other opsets.

    ``traced`` leaves out torch.export, for a model that it cannot capture.
    """
    exporters = ("torchscript",) if traced else ("torch.export", "torchscript")
    for exporter in exporters:
        for simplify in ("onnxsim", "none"):
            yield _variant(exporter, 20, simplify)
        yield _variant(exporter, 20, "none", fold=False)
    yield _variant("torchscript", 17, "onnxsim")
    yield _variant("torchscript", 18, "none")
    if not traced:
        yield _variant("torch.export", 18, "onnxsim")
        yield _variant("torch.export", NEWEST, "none")


def _variant(exporter: str, opset: int, simplify: str, *, fold: bool = True) -> Variant:
    name = f"{exporter}, opset {opset}, {simplify}{'' if fold else ', not folded'}"
    overrides = (
        f"export.exporter={exporter}",
        f"export.opset={opset}",
        f"export.simplify={simplify}",
        f"export.fold_batch_norms={str(fold).lower()}",
    )
    return Variant(name, overrides)
