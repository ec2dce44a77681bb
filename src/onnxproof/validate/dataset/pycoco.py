"""pycocotools, which is imported only where labels need it, and the masks that COCO's annotations hold."""

import importlib
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.extras import missing
from onnxproof.validate.dataset.labels import LabelledPicture


def require_coco() -> dict[str, Any]:
    """pycocotools's modules by name. Raises MissingPackageError if it is not installed."""
    try:
        return {name: importlib.import_module(f"pycocotools.{name}") for name in ("coco", "cocoeval", "mask")}
    except ImportError as error:
        raise missing("pycocotools", "validate.annotations of boxes and masks") from error


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
