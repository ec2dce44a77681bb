"""onnxproof judge."""

import sys
from pathlib import Path

import click

import onnxproof
from onnxproof.cli._document import show_json
from onnxproof.cli._lines import StageLines
from onnxproof.cli._options import json_option, quiet_option
from onnxproof.cli._reports import Reports, report_options, subject_of
from onnxproof.cli._short import show_short
from onnxproof.progress import Stages, silent
from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.system.endings import EXIT_CODES
from onnxproof.system.parsed import json_in
from onnxproof.validate.golden.kit import KIT_FILE


@click.command("judge")
@click.argument("kit", type=click.Path(path_type=Path))
@click.argument("outputs", type=click.Path(path_type=Path))
@json_option
@quiet_option
@report_options
def command(kit: Path, outputs: Path, as_json: bool, quiet: bool, reports: Reports) -> int:
    """Judge what a host answered to the cases of a KIT: neither PyTorch, the runtime nor the model is needed.

    OUTPUTS is the folder with the host's outputs.json; the kit's README.md says what is in it. The outputs
    must be as near to PyTorch's, and lead to the same decisions, as validate demands it.
    """
    reports.prepare(lambda: (kit, outputs))
    stages = Stages(silent if quiet else StageLines(sys.stderr))
    verdict = onnxproof.judge(kit, outputs, progress=stages)
    stages.end()
    index = json_in(kit / KIT_FILE)
    reports.write(verdict, lambda: subject_of(kit / MODEL_FILE, stages, name=index["name"]))
    if as_json:
        show_json(verdict.to_json())
    elif not quiet:
        show_short(verdict)
    return EXIT_CODES[verdict.status]
