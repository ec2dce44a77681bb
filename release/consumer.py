"""What a program that uses onnxproof may write. mypy --strict accepts it against the installed package.

A line with ``type: ignore`` is a mistake that mypy has to find: it warns of those that are not needed.
"""

from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import onnxproof
from onnxproof.errors import MissingPackageError, OnnxproofError, RequestError


def predicted(bundle: Path, picture: Path) -> list[onnxproof.Prediction]:
    """Pictures in, decisions out: all that the base install needs."""
    predictor = assert_type(onnxproof.load(bundle, threads=1), onnxproof.Predictor)
    predictor.contract.classes[0].name.upper()
    one = assert_type(predictor.predict(picture), onnxproof.Prediction)
    one.draw(picture).save("drawn.png")
    return [one, *assert_type(predictor.predict([picture, picture]), tuple[onnxproof.Prediction, ...])]


def kept(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """NMS alone."""
    return onnxproof.runtime.nms(boxes, scores, iou_threshold=0.5)


def proven(job: str) -> bool:
    """An export and its verdict."""
    try:
        bundle = assert_type(onnxproof.export(job, out="dist"), onnxproof.Bundle)
        verdict = assert_type(onnxproof.validate(bundle.path), onnxproof.Verdict)
    except MissingPackageError as error:
        raise SystemExit(str(error)) from error
    except RequestError as error:
        raise SystemExit(error.exit_code) from error
    except OnnxproofError:
        return False
    checks = assert_type(verdict.checks, tuple[onnxproof.Check, ...])
    return assert_type(verdict.passed, bool) and len(checks) > 0


def mistaken() -> None:
    """What mypy has to refuse."""
    onnxproof.load()  # type: ignore[call-arg]
    onnxproof.load("a", thread=1)  # type: ignore[call-arg]
    onnxproof.export(1)  # type: ignore[arg-type]
    onnxproof.exports("job.toml")  # type: ignore[attr-defined]
