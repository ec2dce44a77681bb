"""The user's code by its name, "package.module:name" or "file.py:name"."""

from pathlib import Path

import pytest

from onnxproof.errors import JobError
from onnxproof.wrappers.builder import load_builder


@pytest.mark.parametrize(
    ("reference", "file", "meant"),
    [
        pytest.param("nets:If", "nets.py", "nets.py:If", id="a-file-without-its-suffix"),
        pytest.param("own.nets:If", "own/nets.py", "own/nets.py:If", id="a-file-in-a-folder"),
    ],
)
def test_a_module_that_is_a_file_of_the_jobs_folder_is_named_as_one(
    tmp_path: Path, reference: str, file: str, meant: str
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    with pytest.raises(JobError) as alone:
        load_builder(reference, tmp_path)
    assert "write" not in str(alone.value)
    (tmp_path / file).write_text("def If():\n    return 1\n", encoding="utf-8")
    with pytest.raises(JobError) as beside:
        load_builder(reference, tmp_path)
    assert str(beside.value).endswith(f'{file} lies in the job\'s folder: write "{meant}"')
    assert load_builder(meant, tmp_path)() == 1
