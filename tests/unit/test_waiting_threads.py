"""The command line lets PyTorch's threads sleep while they wait, unless the user says otherwise."""

import os
import subprocess
import sys

import pytest

CODE = """
import os
from onnxproof.cli import main
try:
    main()
except SystemExit:
    print(os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.parametrize(("given", "found"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_the_policy_is_set_where_the_user_has_set_none(given: dict[str, str], found: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-c", CODE, "--version"]
    ran = subprocess.run(
        command, env={**environment, **given}, capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.splitlines()[-1] == found
