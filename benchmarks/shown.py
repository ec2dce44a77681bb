"""Run what README.md, docs/ and examples/ show at full size, and tell each figure that is another one now.

python benchmarks/shown.py [PAGE...] [--write]

The tests run the same blocks on few and small sizes, where numbers do not count
(tests/contract/test_pages_run.py). Here each line that a page shows is looked for as it stands. A line that
is printed with other numbers is told with what was printed; ``--write`` puts that into the page, unless ``…``
stands for a part of the line. What a block marked ``not run`` shows, and tables that a benchmark writes, are
not looked at. Exits with 1 if a page shows what is not printed.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from commands import Ran  # noqa: E402
from once import Once  # noqa: E402
from page_runs import WHOLE, PageError, PageRun, run_page  # noqa: E402
from pages import ANYTHING, PAGES, Block, missing  # noqa: E402

Differences = list[tuple[Block, str, list[str]]]
"""A block, a line that it shows, and the printed lines that are the same but for their numbers."""


class ExactRun(PageRun):
    """Keeps what a page shows with other numbers than are printed, and goes on."""

    differences: Differences

    def compare(self, block: Block, told: str, ran: Ran) -> None:
        super().compare(block, told, ran)
        printed = ran.printed.splitlines()
        for line in told.splitlines():
            if not shows(line, printed):
                like = [one for one in printed if not missing(line, one)]
                self.differences.append((block, line, like))


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


def run(page: Path, once: Once) -> Differences:
    differences: Differences = []
    run_by = type("Run", (ExactRun,), {"differences": differences})
    run_page(page, once, WHOLE, run_by)
    return differences


def rewrite(page: Path, differences: Differences) -> int:
    """Put what was printed in place of what the page shows. Returns how many lines were changed."""
    lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
    changed = 0
    for block, line, like in differences:
        if len(like) != 1 or ANYTHING in line or "..." in line:
            continue
        at = next(i for i in range(block.line - 1, len(lines)) if lines[i].rstrip("\n") == line)
        lines[at] = f"{like[0].rstrip()}\n"
        changed += 1
    page.write_text("".join(lines), encoding="utf-8")
    return changed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", type=Path, help="README.md and those of docs/ by default")
    parser.add_argument("--write", action="store_true", help="put what is printed into the pages")
    parser.add_argument(
        "--cache", type=Path, help="a folder that keeps exports and finished pages for later runs"
    )
    arguments = parser.parse_args()
    pages = [page.resolve() for page in arguments.pages] or list(PAGES)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        once = Once(arguments.cache or Path(folder))
        for page in pages:
            begun = time.monotonic()
            try:
                differences = run(page, once)
            except PageError as error:
                wrong += 1
                print(f"{page.relative_to(ROOT)}: {error}", flush=True)
                continue
            for block, line, like in differences:
                print(
                    f"{block.place}\n  shows   {line}\n  printed {' | '.join(like) or 'over several lines'}"
                )
            seconds = time.monotonic() - begun
            print(f"{page.relative_to(ROOT)}: {len(differences)} lines differ ({seconds:.0f} s)", flush=True)
            if arguments.write and differences:
                print(f"  {rewrite(page, differences)} rewritten")
            wrong += len(differences)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
