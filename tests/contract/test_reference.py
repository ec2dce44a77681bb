"""docs/reference.md says what the docstrings and the commands' help say."""

import reference


def test_the_page_is_current() -> None:
    current = reference.PAGE.read_text(encoding="utf-8") == reference.page()
    assert current, "docs/reference.md is not what the docstrings say: run python benchmarks/reference.py"


def test_every_command_and_every_function_is_on_it() -> None:
    import onnxproof
    from onnxproof.cli import COMMANDS

    page = reference.page()
    for name in COMMANDS:
        assert f"### `onnxproof {name}`" in page
    for name in onnxproof.__all__:
        assert name == "runtime" or f"### `onnxproof.{name}`" in page
