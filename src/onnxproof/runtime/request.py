"""Pictures that come as JSON: the request that Azure AutoML's image models take, and its answer.

The request is ``{"input_data": {"columns": ["image"], "index": [...], "data": [...]}}``: a data frame of
one column. Each datum is a picture's file in base64, with or without line breaks and a ``data:`` URI's
head. Here it may also be a path, relative to the working directory, or, if allowed, an http(s) URL. A datum
may be in a list of its own, as in a frame written row by row. "index" is optional. The answer is a list with
one object for each datum, in the request's order.
Schema: Microsoft, "Data schemas to train computer vision models with automated machine learning",
learn.microsoft.com/azure/machine-learning/reference-automl-images-schema, online scoring.
"""

import base64
import binascii
import codecs
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxproof.errors import OnnxproofError, PictureError, RequestError
from onnxproof.runtime.prediction import Prediction
from onnxproof.runtime.predictor import NO_INPUTS, Array, Predictor
from onnxproof.system.signatures import checks_arguments
from onnxproof.text import printable

COLUMN = "image"
EXAMPLE = '{"input_data": {"columns": ["image"], "data": ["<base64 of a picture>"]}}'

DEEPEST = 100
"""The deepest nesting that is read. A request has four levels."""
MOST_DIGITS = 1000
"""The most digits of a whole number that is read."""
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)

LONGEST_PATH = 4096
"""Characters (Linux's PATH_MAX). Longer text is not taken for a path."""
SHOWN = 100
"""Characters of a datum that a message quotes: half from each end, because a path ends in the file's name."""

FETCH_TIMEOUT_S = 10.0
"""Seconds to connect to a URL and to receive everything."""
FETCH_LIMIT = 64 * 2**20
"""Bytes that a URL may deliver. A JPEG at Pillow's limit of 89 megapixels takes about half."""
_CHUNK = 64 * 2**10
"""Bytes that are read between two checks of the time."""


@dataclass(frozen=True, slots=True)
class PictureRequest:
    """The data of a request, as parsed from JSON, and the index of each."""

    data: tuple[Any, ...]
    index: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(self.data) != len(self.index):
            raise RequestError(
                f"input_data.index has {len(self.index)} entries and input_data.data {len(self.data)}: "
                "give one index for each datum, or no index"
            )


@dataclass(frozen=True, slots=True)
class Answer:
    """The result for one datum: the picture (its path or bytes) and its prediction, or an error."""

    index: Any
    picture: Path | bytes | None = None
    prediction: Prediction | None = None
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """The task's object for the picture, or ``{"error": ...}``."""
        return {"error": self.error} if self.prediction is None else self.prediction.to_json()


@checks_arguments
def parse_request(text: str | bytes) -> PictureRequest:
    """The request in a JSON document. Raises RequestError if the document has another form.

    Errors of a single datum are not found here: ``answer`` returns them in the datum's place.
    """
    try:
        document = _loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the request is no JSON ({error}); expected {EXAMPLE}") from error
    frame = _table(document, "the request", ("input_data",), ("input_data",))["input_data"]
    _table(frame, "input_data", ("columns", "index", "data"), ("columns", "data"))
    if frame["columns"] != [COLUMN]:
        raise RequestError(
            f'input_data.columns is {_shorten(json.dumps(frame["columns"]))}; expected ["{COLUMN}"]: '
            "send the pictures as the only column"
        )
    for key in ("data", "index"):
        if not isinstance(frame.get(key, []), list):
            raise RequestError(f"input_data.{key} is {_kind(frame[key])}; expected a list")
    data = frame["data"]
    if not data:
        raise RequestError("input_data.data is empty: send at least one picture")
    return PictureRequest(tuple(data), tuple(frame.get("index", range(len(data)))))


def _loads(text: str | bytes) -> Any:
    """As ``json.loads``, but one value that cannot be read does not prevent reading the others.

    Bytes that are no text become U+FFFD, a number with too many digits becomes infinite, and what is nested
    deeper than ``DEEPEST`` becomes an empty list. Each is refused later, in the place of its datum.
    """
    if isinstance(text, bytes):
        text = text.removeprefix(codecs.BOM_UTF8).decode(json.detect_encoding(text), errors="replace")
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError:
        return json.loads(_flatten(text), parse_int=_whole)


def _whole(digits: str) -> float:
    return int(digits) if len(digits) <= MOST_DIGITS else math.inf


def _flatten(text: str) -> str:
    """JSON without what is nested deeper than ``DEEPEST``."""
    kept: list[str] = []
    depth = start = 0
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth == DEEPEST + 1:
                kept.append(text[start : token.start()])
        elif token[0] in "]}":
            depth -= 1
            if depth == DEEPEST:
                kept.append("[]")
                start = token.end()
    return "".join(kept) + (text[start:] if depth <= DEEPEST else "")


def _table(value: Any, name: str, allowed: tuple[str, ...], required: tuple[str, ...]) -> dict[str, Any]:
    """``value`` if it is a JSON object with these keys. Others are refused: they would have no effect."""
    if not isinstance(value, dict):
        raise RequestError(f"{name} is {_kind(value)}; expected an object as in {EXAMPLE}")
    missing = [key for key in required if key not in value]
    unknown = sorted(value.keys() - set(allowed))
    if missing or unknown:
        wrong = f'lacks "{missing[0]}"' if missing else f'has an unknown key "{unknown[0]}"'
        raise RequestError(f"{name} {wrong}; expected {EXAMPLE}, and nothing else but an index")
    return value


@checks_arguments
def answer(
    predictor: Predictor,
    request: PictureRequest,
    *,
    inputs: Mapping[str, Array] = NO_INPUTS,
    allow_urls: bool = False,
) -> Iterator[Answer]:
    """Yield the answers to a request, in its order.

    ``inputs`` are arrays for the model's other inputs, the same for every picture. Any failure of a datum
    becomes an error in its place. With ``allow_urls``, the writer of the request chooses what this machine
    connects to. Raises RequestError if the model takes no picture, or takes other ``inputs``.
    """
    predictor.require_beside_picture(inputs)
    for index, datum in zip(request.index, request.data, strict=True):
        yield _answer_one(predictor, index, datum, inputs, allow_urls=allow_urls)


def _answer_one(
    predictor: Predictor, index: Any, datum: Any, inputs: Mapping[str, Array], *, allow_urls: bool
) -> Answer:
    try:
        picture = find_picture(datum, allow_urls=allow_urls)
        return Answer(index, picture, predictor.predict(picture, inputs))
    except OnnxproofError as error:
        return Answer(index, error=printable(str(error)))
    except Exception as error:  # noqa: BLE001 - the other data get their answers
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return Answer(index, error=f"the datum cannot be used ({printable(_shorten(reason))})")


def files_named(request: PictureRequest) -> tuple[Path, ...]:
    """The files on this machine that are named in a request's data."""
    data = (datum[0] if isinstance(datum, list) and len(datum) == 1 else datum for datum in request.data)
    return tuple(Path(datum) for datum in data if isinstance(datum, str) and _names_file(datum))


def find_picture(datum: Any, *, allow_urls: bool = False) -> Path | bytes:
    """The file that a datum names, or the bytes that it holds or that its URL delivers.

    Text that names an existing file is taken as its path, any other text as base64. Raises PictureError if
    it is neither, or if it is a URL that is not allowed or cannot be fetched.
    """
    if isinstance(datum, list) and len(datum) == 1:
        (datum,) = datum  # a row of the frame
    if not isinstance(datum, str):
        raise PictureError(f"the datum is {_kind(datum)}; expected base64 text, a path or a URL")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)(?=://)|data(?=:)", datum.lstrip())
    if scheme is None:
        return _path_or_base64(datum)
    if scheme[0] == "data":
        return _from_data_uri(datum)
    if scheme[0].lower() not in ("http", "https"):
        raise PictureError(
            f"the URL {_shorten(datum)} is of the scheme {scheme[0]}; expected http or https, "
            "or send the picture itself in base64"
        )
    if not allow_urls:
        raise PictureError(
            f"the URL {_shorten(datum)} is not fetched unasked: send the picture in base64, "
            "or allow URLs with --allow-urls (in Python, allow_urls=True)"
        )
    return fetch(datum.strip())


def _path_or_base64(text: str) -> Path | bytes:
    if _names_file(text):
        return Path(text)
    try:
        return _decode(text)
    except PictureError as error:
        raise PictureError(
            f'"{_shorten(text)}" is no file that exists, and no base64 ({error}): '
            "send base64 of a picture's file, or a path from the working directory"
        ) from error


def _names_file(text: str) -> bool:
    if not 0 < len(text) <= LONGEST_PATH:
        return False
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # a name that is too long for its folder, or holds a null character
        return False


def _from_data_uri(uri: str) -> bytes:
    head, comma, text = uri.partition(",")
    if not comma or not head.strip().lower().endswith(";base64"):
        raise PictureError(
            f'the data URI "{_shorten(uri)}" is not in base64; expected data:image/png;base64,<text>'
        )
    try:
        return _decode(text)
    except PictureError as error:
        raise PictureError(
            f'the data URI "{_shorten(uri)}" holds no base64 ({error}): encode the file again'
        ) from error


def _decode(text: str) -> bytes:
    """Decode base64 (RFC 4648, section 4) with white space anywhere. Raises PictureError with the reason."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError for characters beyond ASCII
        raise PictureError(str(error)) from error


def fetch(url: str, *, timeout_s: float = FETCH_TIMEOUT_S, limit: int = FETCH_LIMIT) -> bytes:
    """What an http(s) URL delivers within ``timeout_s`` seconds and ``limit`` bytes.

    Redirections are followed only to other http(s) URLs. Raises PictureError if it delivers no answer, or
    too late, or too much.
    """
    # They bring sockets and certificates, a twentieth of a cold start, and few requests hold a URL.
    import urllib.request  # noqa: PLC0415
    from http.client import HTTPException  # noqa: PLC0415

    # Not urllib's default opener, which would follow a redirection to FTP.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    deadline = time.monotonic() + timeout_s
    content = bytearray()
    try:
        with opener.open(url, timeout=timeout_s) as response:
            while chunk := response.read1(_CHUNK):
                content += chunk
                if len(content) > limit:
                    raise PictureError(
                        f"the URL {_shorten(url)} delivers more than {limit:,} bytes: send a smaller picture"
                    )
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not done in {timeout_s:g} s")
    except (OSError, HTTPException, ValueError) as error:
        raise PictureError(
            f"the URL {_shorten(url)} cannot be fetched ({error}): does it open elsewhere?"
        ) from error
    return bytes(content)


def _kind(value: Any) -> str:
    """What a JSON value is, in words."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    names = {dict: "an object", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN // 2]}…{line[-SHOWN // 2 :]}"
