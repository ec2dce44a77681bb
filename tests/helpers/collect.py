"""Collect tests without running any: ``python collect.py FILE...`` prints, as JSON, each test's id with the
arguments of its mark ``long``, or None where CI runs the test."""

import contextlib
import json
import sys

import pytest


class Collector:
    """Keeps what pytest collected."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[str, ...] | None] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            mark = item.get_closest_marker("long")
            self.found[item.nodeid] = None if mark is None else mark.args


def main() -> int:
    collector = Collector()
    options = ["--collect-only", "-q", "-n", "0", "-p", "no:cacheprovider"]
    with contextlib.redirect_stdout(sys.stderr):
        code = pytest.main([*options, *sys.argv[1:]], plugins=[collector])
    sys.stdout.write(json.dumps(collector.found))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
