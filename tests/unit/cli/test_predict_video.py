"""predict on videos: the frames are named, drawn and answered in order, and what cannot be read is said."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import av
import numpy as np
import pytest
from commands import run_here
from numpy.typing import NDArray
from PIL import Image

import onnxproof
from onnxproof.errors import MissingPackageError
from onnxproof.runtime import Prediction, frames_of
from onnxproof.system import extras

TINY = Path(__file__).parents[3] / "release" / "tiny"

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255))
"""Of the frames, RGB."""
RATE = 10
"""Frames a second."""


def write_clip(file: Path, codec: str = "mpeg4", form: str = "yuv420p") -> Path:
    """A video of one frame of each colour, 64 by 48 pixels."""
    with av.open(str(file), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, form
        for colour in COLOURS:
            pixels = np.broadcast_to(np.array(colour, np.uint8), (48, 64, 3)).copy()
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return file


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4")


def test_frames_come_in_order_with_their_time_and_their_pixels(clip: Path) -> None:
    frames = list(frames_of(clip))
    assert [frame.index for frame in frames] == list(range(len(COLOURS)))
    assert [frame.time for frame in frames] == pytest.approx([index / RATE for index in range(len(COLOURS))])
    for frame, colour in zip(frames, COLOURS, strict=True):
        pixels = frame.read()
        assert pixels.dtype == np.uint8
        assert pixels.shape == (48, 64, 3)
        np.testing.assert_allclose(pixels.mean(axis=(0, 1)), colour, atol=12)  # the codec loses some


def test_a_frame_that_is_turned_is_read_upright(clip: Path) -> None:
    (frame, *_) = frames_of(clip)
    upright = np.zeros((2, 3, 3), np.uint8)

    class Turned:
        """As a phone that was held on its side records: to be turned counterclockwise by 90 degrees."""

        rotation = 90

        def to_ndarray(self, format: str) -> NDArray[np.uint8]:
            return np.rot90(upright, -1)

    upright[0, 0] = 255
    object.__setattr__(frame, "_decoded", Turned())
    np.testing.assert_array_equal(frame.read(), upright)


def test_a_stream_takes_frames_as_it_takes_their_pixels(clip: Path) -> None:
    predictor = onnxproof.load(TINY, threads=1)
    streamed = list(predictor.stream(frames_of(clip), batch=2))
    alone = [predictor.predict(frame.read()) for frame in frames_of(clip)]
    assert len(streamed) == len(alone) == len(COLOURS)
    for one, other in zip(streamed, alone, strict=True):
        assert isinstance(one, Prediction)
        assert (one.width, one.height) == (64, 48)
        np.testing.assert_allclose(one.to_json()["probs"], other.to_json()["probs"], rtol=1e-5)


def test_each_frame_has_a_line_and_a_drawing_among_pictures(clip: Path, tmp_path: Path) -> None:
    picture = tmp_path / "white.png"
    Image.new("RGB", (40, 40), "white").save(picture)
    drawn = tmp_path / "drawn"
    ran = run_here(["predict", str(TINY), str(picture), str(clip), "--jsonl", "--draw", str(drawn)])
    assert ran.code == 0, ran.printed
    first, *frames = map(json.loads, ran.printed.splitlines())
    assert first["image"] == str(picture)
    assert "frame" not in first
    assert [frame["image"] for frame in frames] == [str(clip)] * len(COLOURS)
    assert [frame["frame"] for frame in frames] == list(range(len(COLOURS)))
    assert [frame["time"] for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert all("probs" in frame for frame in frames)
    expected = ["white.png", *(f"clip/{index:06}.png" for index in range(len(COLOURS)))]
    assert sorted(file.relative_to(drawn).as_posix() for file in drawn.rglob("*.png")) == sorted(expected)
    text = run_here(["predict", str(TINY), str(clip)]).printed
    assert f"{clip}, frame 3, 0.300 s: " in text


def test_a_frame_that_is_damaged_is_an_error_in_its_place(tmp_path: Path) -> None:
    file = write_clip(tmp_path / "clip.avi", "zlib", "bgr24")
    with av.open(str(file)) as container:
        places = [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(file.read_bytes())
    at, size = places[2]
    content[at : at + size] = b"\x01" * size
    file.write_bytes(content)
    ran = run_here(["predict", str(TINY), str(file), "--jsonl"])
    assert ran.code == 2
    *lines, told = ran.printed.splitlines()
    assert told == f"onnxproof: 1 of {len(lines)} pictures cannot be used, see the answer"
    found = list(map(json.loads, lines))
    assert ["error" in frame for frame in found] == [index == 2 for index in range(len(COLOURS))]
    assert [frame["time"] for frame in found] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert "frame 2, cannot be read" in found[2]["error"]["message"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "frame 0, cannot be read", id="empty"),
        pytest.param(b"no video", "frame 0, cannot be read", id="text"),
        pytest.param(
            b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
            "frame 0, cannot be read",
            id="a-playlist-that-names-other-files",
        ),
    ],
)
def test_what_is_no_video_is_an_error_in_its_place(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    ran = run_here(["predict", str(TINY), str(tmp_path / "clip.mp4"), "--jsonl"])
    assert ran.code == 2
    line, told = ran.printed.splitlines()
    assert says in json.loads(line)["error"]["message"]
    assert told == "onnxproof: 1 of 1 pictures cannot be used, see the answer"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("--raw",), "is for decisions", id="raw"),
        pytest.param(("--workers", "1"), "do not go with the video", id="workers"),
        pytest.param(("s3://bucket/clip.mp4",), "copy it to this machine first", id="elsewhere"),
    ],
)
def test_where_a_video_does_not_go_it_is_refused(clip: Path, arguments: tuple[str, ...], says: str) -> None:
    with mock.patch("onnxproof.many.listing.list_remote", lambda url, suffixes: [url]):
        ran = run_here(["predict", str(TINY), str(clip), *arguments])
    assert (ran.code, ran.printed.count("\n")) == (2, 1)
    assert says in ran.printed


def test_without_a_reader_the_extra_is_named_before_anything_runs(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingPackageError, match=r"needs the package av: .*onnxproof\[video\]"):
        next(frames_of(clip))
    monkeypatch.setattr(extras, "is_there", lambda module: module != "av")
    ran = run_here(["predict", str(TINY.parent / "no-bundle"), str(clip)])
    assert (ran.code, ran.printed) == (2, f"onnxproof: {clip} needs the package av: {extras.hint('video')}\n")


@pytest.fixture
def running() -> Iterator["subprocess.Popen[str]"]:
    """A prediction on very many pictures, in a process of its own."""
    picture = str(TINY.parents[1] / "examples" / "digits" / "images" / "scene-01.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "onnxproof", "predict", str(TINY), *[picture] * 5000, "--jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    yield process
    process.kill()
    process.communicate()


def test_ctrl_c_ends_a_stream_at_once_and_cleanly(running: "subprocess.Popen[str]") -> None:
    assert running.stdout is not None
    assert "image" in json.loads(running.stdout.readline())
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert err.splitlines()[-1] == "onnxproof: stopped"
    assert out.count("\n") < 4999
    assert all(json.loads(line) for line in out.splitlines()), "no half line"
