"""The face of the package: what its names are, and that they stay what they are."""

import importlib
import inspect
import types
from typing import Any

import api
import pytest

import onnxproof
import onnxproof.runtime

OFFERED = [
    *(("onnxproof", name) for name in onnxproof.__all__),
    *(("onnxproof.runtime", name) for name in onnxproof.runtime.__all__),
]


def offered(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize(("module", "name"), OFFERED)
def test_every_offered_name_resolves(module: str, name: str) -> None:
    assert offered(module, name) is not None


TELL_MORE_APART = {"nms", "read_picture"}
"""Functions that tell apart more than types, and say so themselves."""


@pytest.mark.parametrize(("module", "name"), OFFERED)
def test_every_offered_function_holds_its_arguments_to_its_signature(module: str, name: str) -> None:
    found = offered(module, name)
    if callable(found) and not isinstance(found, type) and name not in TELL_MORE_APART:
        assert getattr(found, "checks_arguments", False)


@pytest.mark.parametrize("module", ["onnxproof", "onnxproof.runtime"])
def test_offered_names_are_named_once_and_listed(module: str) -> None:
    names = offered(module, "__all__")
    assert len(set(names)) == len(names)
    assert set(names) <= set(dir(importlib.import_module(module)))


def test_names_of_folders_stay_functions() -> None:
    """Importing a folder's module binds the folder to its parent's name: export and validate are both."""
    for folder, module, home in (("export", "capture", "pipeline"), ("validate", "judge", "validation")):
        imported = importlib.import_module(f"onnxproof.{folder}.{module}")
        assert isinstance(imported, types.ModuleType)
        assert getattr(onnxproof, folder) is getattr(importlib.import_module(f"onnxproof.{home}"), folder)
        assert inspect.isfunction(getattr(onnxproof, folder))


def test_from_imports_find_both_the_function_and_the_folder() -> None:
    from onnxproof import export, validate
    from onnxproof.export.capture import capture
    from onnxproof.validate.judge import judge

    assert all(inspect.isfunction(function) for function in (export, validate, capture, judge))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module onnxproof has no attribute 'exports'"):
        _ = offered("onnxproof", "exports")
    assert not hasattr(onnxproof, "_private")


def test_an_unknown_name_cannot_be_imported() -> None:
    with pytest.raises(ImportError, match="exports"):
        exec("from onnxproof import exports")


def test_an_offered_name_cannot_be_replaced_by_accident() -> None:
    with pytest.raises(AttributeError, match=r"onnxproof\.export cannot be set"):
        setattr(onnxproof, "export", print)  # noqa: B010


@pytest.mark.parametrize(("module", "name"), OFFERED)
def test_everything_offered_is_documented(module: str, name: str) -> None:
    value = offered(module, name)
    documentation = inspect.getdoc(value) or ""
    # A dataclass without a docstring is given its own signature.
    assert documentation, name
    assert not documentation.startswith(f"{name}("), name
    if inspect.isclass(value):
        for method, function in vars(value).items():
            if not method.startswith("_") and callable(getattr(value, method)):
                assert inspect.getdoc(getattr(value, method)), f"{name}.{method} ({function})"


@pytest.mark.parametrize("name", ["export", "validate", "load", "load_job"])
def test_functions_say_what_they_raise(name: str) -> None:
    assert "Raises" in (inspect.getdoc(offered("onnxproof", name)) or "") or "raises" in (
        inspect.getdoc(offered("onnxproof", name)) or ""
    )


def test_the_api_is_the_listed_one() -> None:
    """What callers rely on. A line that goes or changes is a breaking change, for CHANGELOG.md."""
    listed, found = api.LISTED.read_text(encoding="utf-8").splitlines(), api.lines()
    lost, new = sorted(set(listed) - set(found)), sorted(set(found) - set(listed))
    assert not lost, f"the API lost: {lost}. If that is meant: CHANGELOG.md, and python tests/helpers/api.py"
    assert not new, f"the API has more: {new}. If that is meant: python tests/helpers/api.py"
    assert listed == found


def test_the_list_shows_parameters_defaults_bases_and_options() -> None:
    assert set(api.lines()) >= {
        "onnxproof.load_job(path, set=())",
        "onnxproof.runtime.nms(boxes_xyxy, scores, iou_threshold, classes=None)",
        "class onnxproof.errors.MissingPackageError(RequestError, ImportError)",
        "onnxproof.Verdict.passed",
        "onnxproof export --set",
    }
