"""``[precision]`` of a job: how a second, smaller file is made, and how many decisions that may cost."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from onnxproof.errors import RequestError

Limit = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Table(BaseModel):
    """A table of a job file: frozen, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


class BudgetTable(Table):
    """``[precision.budget]``: what the smaller file may cost, by the pictures that it is judged on.

    ``changed`` is the share of decisions that may differ, shown at ``confidence``. ``map_drop`` is how far
    mAP, or the task's own figure, may drop on labelled pictures. ``box_px`` is how far a coordinate of a kept
    box may move, in pixels of the file's input; ``score`` is the same for a score.
    """

    changed: Annotated[float, Field(gt=0, lt=1)] = 0.001
    map_drop: Limit = 0.005
    box_px: Limit = 1.0
    score: Limit = 0.05
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95

    @field_validator("map_drop", "box_px", "score", mode="before")
    @classmethod
    def _as_float(cls, value: Any) -> Any:
        return float(value) if type(value) is int else value


class PrecisionTable(Table):
    """``[precision]``: which smaller file is made beside the one in float32.

    ``mode`` "float32" makes none. ``images`` is a pattern of the pictures that calibrate int8; none of them
    may be judged. ``calibration`` says how their ranges are cut. ``search`` says whether nodes are kept in
    float32 until the file meets its budget, and ``keep`` names nodes, or modules for fp16 and bf16, that
    stay in float32 from the start.
    """

    mode: Literal["float32", "fp16", "bf16", "int8"] = "float32"
    images: str | None = None
    calibration: Literal["minmax", "entropy", "percentile"] = "minmax"
    search: bool = True
    keep: tuple[str, ...] = ()
    budget: BudgetTable = BudgetTable()

    def beside(self, target: Path) -> Path | None:
        """The folder of the bundle of lower precision, beside that of the one in float32; None without."""
        return None if self.mode == "float32" else target.with_name(f"{target.name}-{self.mode}")

    @field_validator("keep", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _int8_is_calibrated(self) -> Self:
        if self.mode == "int8" and self.images is None:
            raise RequestError(
                'precision.mode = "int8" without precision.images: name the pictures that calibrate it, and '
                "others in validate.images, which judge it"
            )
        return self
