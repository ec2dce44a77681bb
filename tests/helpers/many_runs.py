"""Run the command line many times in one process: arguments come as a JSON list of lists on standard input,
what each came to leaves as a JSON line. A crash ends the process, and so the lines."""

import contextlib
import io
import json
import sys
import time
import traceback
import warnings

from onnxproof.cli import main


def run(arguments: list[str]) -> dict[str, object]:
    sys.argv = ["onnxproof", *arguments]
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    started, code = time.monotonic(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stopped:
            code = stopped.code
        except BaseException:
            traceback.print_exc()
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
    seconds = time.monotonic() - started
    return {"arguments": arguments, "code": code, "out": texts[0], "err": texts[1], "seconds": seconds}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for arguments in json.load(sys.stdin):
        print(json.dumps(run(arguments)), flush=True)  # noqa: T201
