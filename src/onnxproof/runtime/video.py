"""The frames of a video, one after the other, through PyAV. It is imported only when a video is read."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.errors import PictureError
from onnxproof.system.extras import missing
from onnxproof.system.signatures import checks_arguments

SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".ogv")
"""The files that are taken for videos."""

FORMATS = "mov,mp4,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg"
"""The containers that FFmpeg may find in them. Playlists are none of these: they make it open other files."""

QUARTER_TURN = 90
"""Degrees."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of a video: ``index`` from 0, and ``time`` in seconds, None if the video does not tell."""

    file: Path
    index: int
    time: float | None
    _decoded: Any = field(repr=False)

    def __str__(self) -> str:
        return f"{self.file}, frame {self.index}"

    def read(self) -> NDArray[np.uint8]:
        """The pixels, uint8 [H, W, 3] in RGB, upright. Raises PictureError if they could not be decoded."""
        if isinstance(self._decoded, PictureError):
            raise self._decoded
        pixels: NDArray[np.uint8] = self._decoded.to_ndarray(format="rgb24")
        turns = round(self._decoded.rotation / QUARTER_TURN)  # counterclockwise, as rot90 turns
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def is_video(place: object) -> bool:
    """Whether a path or a URL ends as a video's does."""
    return str(place).lower().endswith(SUFFIXES)


@checks_arguments
def frames_of(file: str | PathLike[str]) -> Iterator[Frame]:
    """The frames of a video, in the order in which they are shown, decoded as they are asked for.

    ``Predictor.predict`` and ``Predictor.stream`` take them as pictures. Where a part of the video cannot be
    decoded, or the video cannot be read at all, a frame stands whose ``read`` raises PictureError.

    Raises MissingPackageError without PyAV, which the extra "video" brings.
    """
    path = Path(file)
    try:
        av: Any = importlib.import_module("av")
    except ModuleNotFoundError as error:
        raise missing("av", str(path)) from error
    index = -1
    for index, (time, decoded) in enumerate(_decoded(path, av)):
        failed = isinstance(decoded, Exception) and not isinstance(decoded, PictureError)
        yield Frame(path, index, time, _unreadable(path, index, decoded) if failed else decoded)
    if index < 0:
        yield Frame(path, 0, None, PictureError(f"video {path} holds no frame: is it whole?"))


def _decoded(path: Path, av: Any) -> Iterator[tuple[float | None, Any]]:
    """The time of each frame, and the frame or the error in its place."""
    if not path.is_file():
        yield None, PictureError(f"video {path} does not exist, or is no file")
        return
    # An absolute path, so that FFmpeg takes no part of the name for a protocol.
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        with av.open(str(path.absolute()), options=options) as container:
            if not container.streams.video:
                yield None, PictureError(f"video {path} holds no pictures, only sound")
                return
            # Threads that each decode a frame would end at a damaged one, and not say so.
            container.streams.video[0].thread_type = "SLICE"
            for packet in container.demux(video=0):
                try:
                    for frame in packet.decode():
                        yield frame.time, frame
                except av.FFmpegError as error:
                    at = None if packet.pts is None else float(packet.pts * packet.time_base)
                    yield at, error
    except (OSError, ValueError, av.FFmpegError) as error:
        yield None, error


def _unreadable(path: Path, index: int, error: Exception) -> PictureError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    said = PictureError(f"video {path}, frame {index}, cannot be read ({reason}): is the file whole?")
    said.__cause__ = error
    return said
