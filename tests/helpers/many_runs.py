"""Run the command line many times in one process: each line of standard input is a JSON object with the
``arguments`` of a command and, if it is to run elsewhere, its ``folder``; what the command came to leaves as
a JSON line. A crash ends the process, and so the lines."""

import json
import os
import sys
import tempfile
import time
import traceback

from onnxproof.cli import main

STREAMS = (1, 2)
"""The file descriptors of standard output and error."""


def run(arguments: list[str], folder: str = ".") -> dict[str, object]:
    """The exit code (None after a traceback), what was written, the seconds, and whether PyTorch is there."""
    os.chdir(folder)
    sys.argv = ["onnxproof", *arguments]
    kept = [os.dup(stream) for stream in STREAMS]
    files = [tempfile.TemporaryFile() for _ in STREAMS]  # noqa: SIM115 - closed below
    for file, stream in zip(files, STREAMS, strict=True):
        os.dup2(file.fileno(), stream)
    started, code = time.monotonic(), None
    try:
        main()
    except SystemExit as stopped:
        code = stopped.code
    except Exception:  # noqa: BLE001 - the test reads the traceback
        traceback.print_exc()
    seconds = time.monotonic() - started
    texts = []
    sys.stdout.flush()
    sys.stderr.flush()
    for file, stream, before in zip(files, STREAMS, kept, strict=True):
        os.dup2(before, stream)
        os.close(before)
        file.seek(0)
        texts.append(file.read().decode())
        file.close()
    return {
        "arguments": arguments,
        "code": code,
        "out": texts[0],
        "err": texts[1],
        "seconds": seconds,
        "torch": "torch" in sys.modules,
    }


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)  # noqa: T201
