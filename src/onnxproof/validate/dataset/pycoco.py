"""The libraries for COCO's labels, imported only where labels need them, and the masks of annotations.

mAP of boxes and masks is faster-coco-eval's, several times as fast as pycocotools on large sets and equal to
it but for a rounding of float64. pycocotools encodes masks, and measures where the overlap is not its own.
"""

import importlib
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.system.extras import missing
from onnxproof.validate.dataset.labels import LabelledPicture

FAST = ("bbox", "segm")
"""What faster-coco-eval measures."""


def require_coco() -> dict[str, Any]:
    """pycocotools's modules by name. Raises MissingPackageError if it or faster-coco-eval is missing."""
    try:
        importlib.import_module("faster_coco_eval")
        return {name: importlib.import_module(f"pycocotools.{name}") for name in ("coco", "cocoeval", "mask")}
    except ImportError as error:
        name = "faster_coco_eval" if "faster" in str(error.name) else "pycocotools"
        raise missing(name, "validate.annotations of boxes and masks") from error


def evaluator_of(kind: str) -> tuple[Any, Any]:
    """The class of data sets, and that of evaluations, for a kind of results such as "bbox"."""
    if kind in FAST:
        fast = importlib.import_module("faster_coco_eval")
        return fast.COCO, fast.COCOeval_faster
    slow = require_coco()
    return slow["coco"].COCO, slow["cocoeval"].COCOeval


def mask_of(segmentation: Any, picture: LabelledPicture) -> NDArray[np.bool_]:
    """The pixels [H, W] of COCO's polygons or run-length code."""
    mask = require_coco()["mask"]
    height, width = picture.height, picture.width
    if isinstance(segmentation, list):
        code = mask.merge(mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        code = mask.frPyObjects(segmentation, height, width)
    else:
        code = segmentation
    with warnings.catch_warnings():
        # NumPy 2 deprecates how pycocotools hands it an array.
        warnings.simplefilter("ignore", DeprecationWarning)
        pixels: NDArray[np.bool_] = mask.decode(code).astype(bool)
    return pixels
