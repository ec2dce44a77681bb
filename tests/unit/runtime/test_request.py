"""Pictures that come as JSON: the request's form, each datum's picture, and an answer for each."""

import base64
import binascii
import io
import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onnxproof.errors import PictureError, RequestError
from onnxproof.runtime import Predictor, load
from onnxproof.runtime.request import answer, fetch, find_picture, parse_request
from onnxproof.text import json_text


def png(color: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), color).save(file, "PNG")
    return file.getvalue()


WHITE, BLACK = png("white"), png("black")
TEXT = base64.b64encode(WHITE).decode()


def document(*data: Any, **frame: Any) -> str:
    return json.dumps({"input_data": {"columns": ["image"], "data": list(data), **frame}})


class TestParse:
    def test_the_form_that_azure_documents(self) -> None:
        request = parse_request(document("a", "b"))
        assert (request.data, request.index) == (("a", "b"), (0, 1))

    @pytest.mark.parametrize("index", [[0, 1], [7, 3], ["x", "y"]], ids=["counted", "any", "named"])
    def test_an_index_is_kept(self, index: list[Any]) -> None:
        assert parse_request(document("a", "b", index=index)).index == tuple(index)

    def test_bytes_with_a_byte_order_mark(self) -> None:
        assert parse_request(document("a").encode("utf-8-sig")).data == ("a",)

    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            pytest.param("", ("no JSON", "input_data"), id="nothing"),
            pytest.param("{", ("no JSON", "input_data"), id="cut-short"),
            pytest.param(b"\xff\xfe\xfa", ("no JSON",), id="bytes-of-no-encoding"),
            pytest.param("[" * 100_000, ("no JSON",), id="nested-without-end"),
            pytest.param("[]", ("the request is a list of 0", "expected an object"), id="a-list"),
            pytest.param("null", ("the request is null",), id="null"),
            pytest.param('{"data": []}', ('lacks "input_data"',), id="no-frame"),
            pytest.param('{"input_data": ["a"]}', ("input_data is a list of 1",), id="the-data-alone"),
            pytest.param('{"input_data": {"data": ["a"]}}', ('lacks "columns"',), id="no-columns"),
            pytest.param('{"input_data": {"columns": ["image"]}}', ('lacks "data"',), id="no-data"),
            pytest.param(
                document("a", columns=["image", "text"]),
                ('columns is ["image", "text"]', 'expected ["image"]'),
                id="two-columns",
            ),
            pytest.param(document("a", columns="image"), ('expected ["image"]',), id="a-column-in-no-list"),
            pytest.param(document(columns=["image"]), ("data is empty",), id="no-pictures"),
            pytest.param(document(data="a"), ("data is a string", "expected a list"), id="data-in-no-list"),
            pytest.param(document("a", index=0), ("index is a number", "a list"), id="an-index-in-no-list"),
            pytest.param(
                document("a", "b", index=[0]),
                ("index has 1 entries", "data 2", "or no index"),
                id="an-index-of-another-length",
            ),
            pytest.param(
                document("a", params={"threshold": 0.1}),
                ('unknown key "params"',),
                id="settings-that-nothing-heeds",
            ),
        ],
    )
    def test_another_form_is_refused(self, text: str | bytes, parts: tuple[str, ...]) -> None:
        with pytest.raises(RequestError) as caught:
            parse_request(text)
        for part in parts:
            assert part in str(caught.value)


class TestFindPicture:
    @pytest.mark.parametrize(
        "datum",
        [
            pytest.param(TEXT, id="one-line"),
            pytest.param(base64.encodebytes(WHITE).decode(), id="with-line-breaks-as-azures-example"),
            pytest.param(f"  {TEXT}\r\n", id="with-space-around"),
            pytest.param(f"data:image/png;base64,{TEXT}", id="data-uri"),
            pytest.param(f"data:;BASE64,{TEXT}", id="data-uri-without-a-type"),
            pytest.param([TEXT], id="a-row-of-the-frame"),
        ],
    )
    def test_base64(self, datum: Any) -> None:
        assert find_picture(datum) == WHITE

    def test_a_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "white.png").write_bytes(WHITE)
        assert find_picture(str(tmp_path / "white.png")) == tmp_path / "white.png"
        monkeypatch.chdir(tmp_path)
        assert find_picture("white.png") == Path("white.png")

    def test_a_file_whose_name_is_base64_is_a_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "scan").write_bytes(WHITE)
        monkeypatch.chdir(tmp_path)
        assert find_picture("scan") == Path("scan")

    @pytest.mark.parametrize(
        ("datum", "parts"),
        [
            pytest.param("no/where.png", ("no/where.png", "no file that exists", "no base64"), id="no-file"),
            pytest.param(TEXT[:-3], ("no base64", "send base64"), id="cut-short"),
            pytest.param("§§§§", ("no base64",), id="beyond-ascii"),
            pytest.param("a\0b", ("no file", "no base64"), id="a-null-character"),
            pytest.param("-_" * 5000, ("no base64", "…"), id="the-urls-alphabet-and-very-long"),
            pytest.param("data:image/png,abc", ("not in base64", ";base64,"), id="data-uri-in-plain-text"),
            pytest.param("data:image/png;base64", ("not in base64",), id="data-uri-without-data"),
            pytest.param("data:image/png;base64,%%%", ("holds no base64",), id="data-uri-of-garbage"),
            pytest.param(None, ("the datum is null",), id="null"),
            pytest.param(7, ("the datum is a number",), id="a-number"),
            pytest.param(True, ("the datum is a boolean",), id="a-boolean"),
            pytest.param({"image_base64": TEXT}, ("the datum is an object",), id="an-object"),
            pytest.param([TEXT, TEXT], ("the datum is a list of 2",), id="a-row-of-two"),
            pytest.param([], ("the datum is a list of 0",), id="an-empty-row"),
            pytest.param("azureml://datastores/a.png", ("scheme azureml", "http or https"), id="azureml"),
            pytest.param("file:///etc/hostname", ("scheme file",), id="file-url"),
            pytest.param("https://example.org/a.png", ("not fetched unasked", "--allow-urls"), id="url"),
            pytest.param("HTTP://example.org/a.png", ("not fetched unasked",), id="url-in-capitals"),
        ],
    )
    def test_another_datum_is_refused(self, datum: Any, parts: tuple[str, ...]) -> None:
        with pytest.raises(PictureError) as caught:
            find_picture(datum)
        for part in parts:
            assert part in str(caught.value)
        assert len(str(caught.value)) < 400


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved.png":
            self._answer(302, location="/white.png")
        elif self.path == "/ftp.png":
            self._answer(302, location="ftp://127.0.0.1/white.png")
        elif self.path == "/slow.png":
            self._answer(200, length=1000)
            for _ in range(20):
                time.sleep(0.05)
                self.wfile.write(b"x")
        elif self.path == "/white.png":
            self._answer(200, length=len(WHITE))
            self.wfile.write(WHITE)
        else:
            self._answer(404)

    def _answer(self, code: int, *, length: int = 0, location: str = "") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(length))
        if location:
            self.send_header("Location", location)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is what the test of slowness wants."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with _Server(("127.0.0.1", 0), _Site) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class TestFetch:
    @pytest.mark.parametrize("name", ["white.png", "moved.png"], ids=["there", "moved"])
    def test_a_url_that_is_allowed(self, site: str, name: str) -> None:
        assert find_picture(f"{site}/{name}", allow_urls=True) == WHITE

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            pytest.param("gone.png", "404", id="not-found"),
            pytest.param("ftp.png", "ftp", id="moved-to-another-scheme"),
        ],
    )
    def test_a_url_that_delivers_nothing(self, site: str, name: str, reason: str) -> None:
        with pytest.raises(PictureError, match=f"cannot be fetched .*{reason}.*does it open elsewhere"):
            fetch(f"{site}/{name}")

    @pytest.mark.parametrize("url", ["http://", "http://[", "http://a b/c", "http://127.0.0.1:1/a.png"])
    def test_a_url_that_leads_nowhere(self, url: str) -> None:
        with pytest.raises(PictureError, match="cannot be fetched"):
            fetch(url, timeout_s=1)

    def test_more_than_the_limit(self, site: str) -> None:
        with pytest.raises(PictureError, match=r"more than 10 bytes: send a smaller picture"):
            fetch(f"{site}/white.png", limit=10)

    def test_up_to_the_limit(self, site: str) -> None:
        assert fetch(f"{site}/white.png", limit=len(WHITE)) == WHITE

    def test_a_url_that_drips(self, site: str) -> None:
        with pytest.raises(PictureError, match=r"not done in 0\.2 s"):
            fetch(f"{site}/slow.png", timeout_s=0.2)


class TestAnswer:
    def test_comes_in_order_with_errors_in_their_place(self, bright: Path, tmp_path: Path) -> None:
        (tmp_path / "black.png").write_bytes(BLACK)
        request = parse_request(
            document(TEXT, "no base64!", str(tmp_path / "black.png"), "https://example.org/a.png", [TEXT])
        )
        answers = [result.to_json() for result in answer(load(bright, threads=1), request)]
        assert [list(entry) for entry in answers] == [["boxes"], ["error"], ["boxes"], ["error"], ["boxes"]]
        assert [len(answers[place]["boxes"]) for place in (0, 2, 4)] == [1, 0, 1]
        assert answers[0]["boxes"][0]["box"] == {
            "topX": 0.25,
            "topY": 0.125,
            "bottomX": 0.75,
            "bottomY": 0.625,
        }
        assert "no base64" in answers[1]["error"]
        assert "--allow-urls" in answers[3]["error"]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            pytest.param(b"", "no bytes at all", id="no-bytes"),
            pytest.param(b"hello", "no picture of a known format", id="text"),
            pytest.param(WHITE[:60], "cannot be read", id="half-a-picture"),
        ],
    )
    def test_base64_of_no_picture(self, bright: Path, content: bytes, reason: str) -> None:
        datum = f"data:;base64,{base64.b64encode(content).decode()}"
        (result,) = answer(load(bright, threads=1), parse_request(document(datum)))
        assert result.prediction is None
        assert reason in result.to_json()["error"]
        assert " object at 0x" not in result.error

    def test_a_picture_that_does_not_fit_is_an_error_in_its_place(self, bright: Path, tmp_path: Path) -> None:
        Image.new("RGB", (2000, 10)).save(tmp_path / "line.png")
        request = parse_request(document(str(tmp_path / "line.png"), TEXT, index=["line", "white"]))
        line, white = answer(load(bright, threads=1), request)
        assert (line.index, white.index) == ("line", "white")
        assert "letterbox" in line.error
        assert white.prediction is not None

    def test_each_is_computed_when_asked_for(self, bright: Path) -> None:
        answers = answer(load(bright, threads=1), parse_request(document(TEXT, TEXT)))
        assert next(answers).prediction is not None


def bomb() -> bytes:
    """A PNG of 60,000 by 60,000 pixels, in a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", binascii.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=30)
ANY_DATUM = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | ANY_TEXT
    | st.binary(max_size=60).map(lambda content: base64.b64encode(content).decode())
    | st.binary(max_size=40).map(lambda content: base64.b64encode(WHITE[:50] + content).decode())
    | ANY_TEXT.map(lambda text: f"data:image/png;base64,{text}")
    | ANY_TEXT.map(lambda text: f"https://{text}"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(ANY_TEXT, inner, max_size=2),
    max_leaves=4,
)


class TestAnyDatum:
    """Whatever one datum is, the others are answered and the document is JSON in UTF-8."""

    @pytest.fixture
    def predictor(self, bright: Path) -> Predictor:
        return load(bright, threads=1)

    def test_drawn(self, predictor: Predictor) -> None:
        @given(st.lists(ANY_DATUM, min_size=1, max_size=3))
        def check(data: list[Any]) -> None:
            self.require_answers(predictor, document(TEXT, *data, TEXT).encode(), len(data))

        check()

    @pytest.mark.parametrize(
        "datum",
        [
            pytest.param(b"[" * 100_000 + b"]" * 100_000, id="deep-lists"),
            pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="deep-objects"),
            pytest.param(b"9" * 100_000, id="many-digits"),
            pytest.param(b"NaN", id="not-a-number"),
            pytest.param(b"1e999", id="infinite"),
            pytest.param(b'"\xff\xfe\xfd"', id="bytes-of-no-encoding"),
            pytest.param(b'"\xed\xa0\x80"', id="a-surrogate-in-bytes"),
            pytest.param(b'"\\ud800"', id="a-lone-surrogate"),
            pytest.param(b'"\\u0000"', id="a-null-character"),
            pytest.param(b'"' + b"A" * 4_000_000 + b'"', id="much-base64"),
            pytest.param(b'"' + base64.b64encode(bomb()) + b'"', id="a-bomb"),
        ],
    )
    def test_written(self, predictor: Predictor, datum: bytes) -> None:
        self.require_answers(predictor, document(TEXT, "@", TEXT).encode().replace(b'"@"', datum), 1)

    def test_what_nobody_foresaw(self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr(predictor, "predict", fail)
        (answered,) = answer(predictor, parse_request(document(TEXT)))
        assert answered.to_json() == {"error": "the datum cannot be used (MemoryError)"}

    def require_answers(self, predictor: Predictor, content: bytes, between: int) -> None:
        answered = [entry.to_json() for entry in answer(predictor, parse_request(content))]
        assert json.loads(json_text(answered).encode()) == answered
        assert len(answered) == between + 2
        assert "error" not in answered[0]
        assert answered[0] == answered[-1]
        assert all(entry["error"] for entry in answered[1:-1])
