"""A worker: what it leaves when it ends."""

import subprocess
import sys

ENDS = """
import atexit, gc

atexit.register(lambda: print(gc.get_freeze_count()))  # the first that is registered is called last

from onnxproof.many import worker

class Nothing:
    def open(self):
        return lambda pictures: b""

worker.begin()
worker.work(Nothing(), ())
print(gc.get_freeze_count() > 0)
"""


def test_what_was_set_aside_is_collected_at_the_end() -> None:
    """What is not, libraries report as leaks, in many lines on standard error."""
    ran = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.split() == ["True", "0"]
