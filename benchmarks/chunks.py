"""What a worker on many pictures costs, and the process that gathers: by picture and by chunk.

The bundle is the demo's classifier. The processor time is that of one process; keeping a result in its file
is told in seconds, which the disk takes.
"""

import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from many import exported, made

from onnxproof.many.chunks import SIZE, chunks_of
from onnxproof.many.journal import Journal
from onnxproof.source import sha256_of
from onnxproof.steps.surveying import Compare
from onnxproof.validate.survey.gathered import Gathered
from onnxproof.validate.survey.measured import decoded

CHUNKS = 7
TIMES = 30
"""How often each result is kept in its file."""


def costs(bundle: Path, place: Path) -> None:
    """Print what a worker's start, its pictures and its chunks cost. All is done in this process.

    Its start is measured in a process of its own, which imports what a worker imports.
    """
    pictures = made(place / "pictures", CHUNKS * SIZE)
    task = Compare(str(bundle), None, (), None, (), False, str(place), sha256_of(bundle / "model.onnx"))
    opening = (
        "import sys, time; from pathlib import Path; from onnxproof.source import sha256_of;"
        "from onnxproof.steps.surveying import Compare; bundle = sys.argv[1];"
        'Compare(bundle, None, (), None, (), False, ".", sha256_of(Path(bundle, "model.onnx"))).open();'
        "print(time.process_time())"
    )
    done = subprocess.run([sys.executable, "-c", opening, str(bundle)], stdout=subprocess.PIPE, check=True)
    print(f"starting a worker: {float(done.stdout):.1f} s CPU")
    work = task.open()
    work(pictures[:SIZE])
    journal = Journal(place / "journal", {"command": "costs"})
    chunks = list(chunks_of(pictures, journal.key))
    began = time.process_time()
    results = [work(chunk.pictures) for chunk in chunks]
    spent = time.process_time() - began
    print(f"a picture, three legs: {1e3 * spent / len(pictures):.0f} ms CPU")
    sizes = [len(result) for result in results]
    print(f"the result of a chunk of {SIZE}: {min(sizes) / 1e3:.1f} to {max(sizes) / 1e3:.1f} kB")
    began, used = time.perf_counter(), time.process_time()
    for chunk, result in TIMES * list(zip(chunks, results, strict=True)):
        journal.write(chunk.name, result)
    kept = TIMES * len(chunks)
    seconds, spent = time.perf_counter() - began, time.process_time() - used
    print(f"keeping it in its file: {1e3 * seconds / kept:.1f} ms, of which {1e3 * spent / kept:.1f} ms CPU")
    began, gathered = time.process_time(), Gathered(journal.taken)
    for chunk in chunks:
        gathered.add(chunk.name, decoded(journal.taken(chunk.name)))
    print(f"reading and adding it: {1e3 * (time.process_time() - began) / len(chunks):.1f} ms CPU")
    print(f"what is kept after {len(pictures)} pictures: {len(pickle.dumps(gathered.tallies)) / 1e3:.0f} kB")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        costs(exported(Path(name)), Path(name))
