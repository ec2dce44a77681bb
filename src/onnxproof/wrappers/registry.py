"""Finds and imports a family by its name, ours or another package's."""

from dataclasses import replace
from typing import Any

from onnxproof.errors import RequestError
from onnxproof.job import Job
from onnxproof.system.extras import brings, missing
from onnxproof.system.imports import imported
from onnxproof.system.usercode import user_code
from onnxproof.wrappers.catalog import FamilyEntry, entry_of, require_library
from onnxproof.wrappers.family import Checkpoint, Family, WrappedModel
from onnxproof.wrappers.recognise import Recognised


def get_family(name: str) -> Family:
    """Import and return the family of that name.

    Raises JobError if there is none; MissingPackageError if its library is not installed; RequestError if two
    packages offer one of that name, or if the object is no family; UserCodeError if importing it raises. If
    the code of another package's family raises in ``build``, that is a UserCodeError too.
    """
    entry = entry_of(name)
    if entry.distribution is not None:
        return _Foreign(entry)
    require_library(name)
    try:
        family: Family = _load(entry.reference)
    except ModuleNotFoundError as error:
        if not brings(error.name):
            raise
        raise missing(str(error.name), f"the family {name}") from error
    return family


def recognise_with(family: Family, checkpoint: Checkpoint) -> Recognised | None:
    """What a family says of a checkpoint. Returns None if it does not know it, or has no ``recognise``."""
    recognise = getattr(family, "recognise", None)
    found: Recognised | None = None if recognise is None else recognise(checkpoint)
    return found


class _Foreign:
    """Another package's family. Whatever its code raises becomes a UserCodeError."""

    def __init__(self, entry: FamilyEntry) -> None:
        self.name = entry.name
        self._package = entry.distribution
        self._called = f'the family "{entry.name}" of {entry.origin}'
        with user_code(f"importing {self._called}"):
            self._family: Any = _load(entry.reference)
        if getattr(self._family, "name", None) != entry.name or not callable(
            getattr(self._family, "build", None)
        ):
            raise RequestError(
                f"{self._called} is a {type(self._family).__name__}; expected an object with the name "
                f'"{entry.name}" and a method build (docs/families.md)'
            )

    def build(self, job: Job, checkpoint: Checkpoint | None) -> WrappedModel:
        with user_code(self._called):
            model = self._family.build(job, checkpoint)
        if not isinstance(model, WrappedModel) or model.family != self.name:
            got = f"a {type(model).__name__}"
            if isinstance(model, WrappedModel):
                got = f'a WrappedModel of the family "{model.family}"'
            raise RequestError(
                f'{self._called} built {got}; expected a WrappedModel of the family "{self.name}"'
            )
        return replace(model, package=self._package)

    def recognise(self, checkpoint: Checkpoint) -> Recognised | None:
        with user_code(self._called):
            found = recognise_with(self._family, checkpoint)
        if found is not None and (not isinstance(found, Recognised) or found.family != self.name):
            raise RequestError(
                f"{self._called} recognised a checkpoint as {found!r}; expected a Recognised of its own name"
            )
        return found


def _load(reference: str) -> Any:
    """Import the object that "module:attribute" names."""
    module, _, attribute = (part.strip() for part in reference.partition(":"))
    found: Any = imported(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found
