"""Run what README.md, docs/ and examples/ show at full size, and tell each figure that is another one now.

python benchmarks/shown.py [PAGE...] [--write]

The tests run the same blocks on few and small sizes, where numbers do not count
(tests/contract/test_pages_run.py). Here each line that a page shows is looked for as it stands. A line that
is printed with other numbers is told with what was printed; ``--write`` puts that into the page, unless ``…``
stands for a part of the line. What a block marked ``not run`` shows, and tables that a benchmark writes, are
not looked at. Exits with 1 if a page shows what is not printed.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from commands import Ran  # noqa: E402
from once import Once  # noqa: E402
from page_runs import WHOLE, PageError, PageRun, run_page  # noqa: E402
from pages import ANYTHING, PAGES, Block, missing  # noqa: E402


class Difference(NamedTuple):
    """A line that a block shows, and the printed lines that are the same but for their numbers."""

    block_line: int
    shown: str
    printed: tuple[str, ...]


class Outcome(NamedTuple):
    """What came of a page: how many blocks were run, and what they print otherwise; or what went wrong."""

    blocks: int = 0
    differences: tuple[Difference, ...] = ()
    error: str = ""


class ExactRun(PageRun):
    """Keeps what a page shows with other numbers than are printed, and goes on."""

    differences: list[Difference]

    def compare(self, block: Block, told: str, ran: Ran) -> None:
        super().compare(block, told, ran)
        printed = ran.printed.splitlines()
        for line in told.splitlines():
            if not shows(line, printed):
                like = tuple(one.rstrip() for one in printed if not missing(line, one))
                self.differences.append(Difference(block.line, line, like))


def shows(line: str, printed: list[str]) -> bool:
    """Whether a printed line holds ``line``, in which ``…`` and ``...`` stand for anything."""
    parts = " ".join(line.replace("...", ANYTHING).split()).split(ANYTHING)
    return any(_in_order(parts, " ".join(one.split())) for one in [*printed, " ".join(printed)])


def _in_order(parts: list[str], text: str) -> bool:
    at = 0
    for part in parts:
        at = text.find(part.strip(), at)
        if at < 0:
            return False
        at += len(part.strip())
    return True


def run(page: Path, kept: Path) -> Outcome:
    """Run a page. Exports that several pages show are made once, in the folder ``kept``."""
    differences: list[Difference] = []
    run_by = type("Run", (ExactRun,), {"differences": differences})
    try:
        blocks = run_page(page, Once(kept), WHOLE, run_by)
    except PageError as error:
        return Outcome(error=str(error))
    return Outcome(blocks, tuple(differences))


def rewrite(page: Path, differences: tuple[Difference, ...]) -> int:
    """Put what was printed in place of what the page shows. Returns how many lines were changed."""
    lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
    changed = 0
    for block_line, shown, printed in differences:
        if len(printed) != 1 or ANYTHING in shown or "..." in shown:
            continue
        at = next(i for i in range(block_line - 1, len(lines)) if lines[i].rstrip("\n") == shown)
        lines[at] = f"{printed[0]}\n"
        changed += 1
    page.write_text("".join(lines), encoding="utf-8")
    return changed


def tell(page: Path, outcome: Outcome, seconds: float) -> None:
    name = page.relative_to(ROOT)
    if outcome.error:
        print(f"{name}: {outcome.error}", flush=True)
        return
    for block_line, shown, printed in outcome.differences:
        told = "\n          ".join(printed) or "over several lines"
        print(f"{name}:{block_line}\n  shows   {shown}\n  printed {told}")
    counted = f"{outcome.blocks} blocks run, {len(outcome.differences)} lines differ"
    print(f"{name}: {counted}, {seconds:.0f} s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", type=Path, help="README.md and those of docs/ by default")
    parser.add_argument("--write", action="store_true", help="put what is printed into the pages")
    arguments = parser.parse_args()
    wrong = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        # A process for each page, as its reader has one: libraries keep folders and numbers of threads.
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool,
    ):
        for page in [page.resolve() for page in arguments.pages] or list(PAGES):
            begun = time.monotonic()
            outcome = pool.submit(run, page, Path(folder) / "kept").result()
            tell(page, outcome, time.monotonic() - begun)
            wrong += len(outcome.differences) + bool(outcome.error)
            if arguments.write and outcome.differences:
                print(f"  {rewrite(page, outcome.differences)} rewritten", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
