"""Look for all hazards in a file; print the cost as JSON. The memory is what is taken beyond the imports."""

import json
import sys
import time
from pathlib import Path

from onnxproof.validate.hazards import OnnxGraph, Subject, look_for_hazards

RESET = Path("/proc/self/clear_refs")
"""Linux takes a 5 there as the request to forget the peak."""


def told(key: str) -> int:
    """Bytes that Linux tells of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def main(file: Path) -> None:
    RESET.write_text("5")
    before, used = told("VmRSS"), time.process_time()
    found = look_for_hazards(Subject(OnnxGraph.read(file), file))
    spent = time.process_time() - used
    failed = [one.hazard.name for one in found if one.check.status not in ("pass", "skipped")]
    print(json.dumps({"seconds": spent, "memory": told("VmHWM") - before, "failed": failed}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
