"""Measure one reported fault, ``python -m soundness.reported NAME``: prints its row as JSON."""

import json
import logging
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from soundness.reported import FAULTS
from soundness.reported.measure import measure


def main(name: str) -> None:
    """Print the row of one fault as the last line."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    (fault,) = (fault for fault in FAULTS if fault.name == name)
    with TemporaryDirectory() as folder:
        print(json.dumps(asdict(measure(fault, Path(folder)))))


if __name__ == "__main__":
    main(sys.argv[1])
