"""A bundle's folder: where its files are, whether its manifest describes its model, and what must not be
written into it."""

import os
from collections.abc import Callable
from os import PathLike
from pathlib import Path

from onnxproof.errors import ModelFileError, RequestError
from onnxproof.runtime.archive import is_archive, is_there, read_file, sha256_of
from onnxproof.runtime.manifest import Manifest, read_manifest_text
from onnxproof.runtime.otherwise import MODEL_ADVICE
from onnxproof.system.disk import not_there, require_possible
from onnxproof.system.own_file import has_keys

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
PARITY_FILE = "parity.json"
GOLDEN_FILE = "golden.npz"

VERDICT_KEYS = ("format", "verdict", "model_sha256", "checks")
"""Keys that the document of every verdict has, whatever its format."""

SHOWN = 3
"""How many models a message names."""


def data_of(file: Path) -> Path:
    """Where the weights of an ONNX file are that export wrote, if they are not in the file itself."""
    return file.with_name(f"{file.name}.data")


def model_file(path: str | PathLike[str]) -> Path:
    """The ONNX file at a path, or in the bundle there: a folder, or one file (``archive``).

    Raises ModelFileError if there is none, and RequestError for what is no path.
    """
    if not isinstance(path, str | PathLike):
        raise RequestError(
            f"got a {type(path).__name__} for the path of a model: {MODEL_ADVICE}, by its path"
        )
    require_possible(path)
    given = Path(path)
    file = given / MODEL_FILE
    if is_archive(given):
        if is_there(file):
            return file
        raise ModelFileError(f"{given} holds no {MODEL_FILE}: {MODEL_ADVICE}")
    if not given.is_dir():
        if given.is_file():
            return given
        raise ModelFileError(f"{given} {not_there(given)}: {MODEL_ADVICE}")
    if file.is_file():
        return file
    if (given / MANIFEST_FILE).is_file():
        raise ModelFileError(
            f"the folder {given} holds no {MODEL_FILE}, only the {MANIFEST_FILE} of one: export the job "
            f"again, or {MODEL_ADVICE}"
        )
    raise ModelFileError(f"the folder {given} holds no {MODEL_FILE}: {_advice_on(given)}")


def _advice_on(folder: Path) -> str:
    """What to give in place of a folder that is no bundle: the bundles and ONNX files in it, if any."""
    bundles = (file.parent for file in folder.glob(f"*/{MODEL_FILE}"))
    inside = sorted((*bundles, *folder.glob("*.onnx")))
    if not inside:
        return MODEL_ADVICE
    more = f" and {len(inside) - SHOWN} more" if len(inside) > SHOWN else ""
    return f"give one that is in it: {', '.join(map(str, inside[:SHOWN]))}{more}"


def model_files(path: str | PathLike[str]) -> tuple[Path, ...]:
    """The files that may be read of a bundle's folder or of an ONNX file, whether or not they exist."""
    given = Path(path)
    if is_archive(given):
        return (given,)
    file = given / MODEL_FILE if given.is_dir() else given
    manifest = (given / MANIFEST_FILE,) if given.is_dir() else ()
    return (file, data_of(file), *manifest)


def read_manifest(bundle: Path) -> Manifest:
    """The ``manifest.json`` of a bundle. Raises ModelFileError if it is missing or broken."""
    file = bundle / MANIFEST_FILE
    try:
        if not is_there(file):
            raise FileNotFoundError(file)
        text = read_file(file).decode("utf-8-sig")  # some editors put a mark before the text
    except FileNotFoundError as error:
        raise ModelFileError(
            f"{bundle} is no bundle: it holds no {MANIFEST_FILE}; give a folder that export wrote"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{file} cannot be read ({error}): export the bundle again") from error
    return read_manifest_text(text, str(file))


def note_on_manifest(path: str | PathLike[str], carried: Manifest | None) -> str | None:
    """Why the ``manifest.json`` in a bundle's folder does not describe the model beside it.

    ``carried`` is the manifest in the model's own metadata. Returns None if both say the same, if there is
    no ``manifest.json``, or if ``path`` is no folder. The model's checksum is not computed, because that
    would read the whole file.
    """
    bundle = Path(path)
    file = bundle / MANIFEST_FILE
    if not is_there(file):
        return None
    if carried is None:
        return (
            f"{file} describes another file than {MODEL_FILE}, which carries no onnxproof metadata: what its "
            "outputs mean is not known; export the job again"
        )
    used = f"the metadata in {MODEL_FILE} is used"
    try:
        ours, theirs = read_manifest(bundle).shared_json(), carried.shared_json()
    except ModelFileError as error:
        return f"{error}. Until then {used}"
    keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
    if not keys:
        return None
    differ = ", ".join(keys)
    return (
        f"{file} describes another file than {MODEL_FILE} (they differ in {differ}): {used}; export the job "
        "again"
    )


def note_on_checksums(path: str | PathLike[str]) -> str | None:
    """Why ``require_checksums`` has nothing to hold a bundle's model or weights against.

    Returns None if it has, if ``path`` is an ONNX file alone, and if the ``manifest.json`` cannot be read,
    since ``note_on_manifest`` says that.
    """
    bundle = Path(path)
    if not (is_archive(bundle) or bundle.is_dir()):
        return None
    if not is_there(bundle / MANIFEST_FILE):
        return f"{bundle} holds no {MANIFEST_FILE}, so the weights were not checked"
    try:
        manifest = read_manifest(bundle)
    except ModelFileError:
        return None
    file = bundle / MODEL_FILE
    for found, expected in ((file, manifest.model_sha256), (data_of(file), manifest.data_sha256)):
        if expected is None and is_there(found):
            return f"{MANIFEST_FILE} has no SHA-256 of {found.name}, so the weights were not checked"
    return None


def require_checksums(
    path: str | PathLike[str],
    sum_of: Callable[[Path], str] = sha256_of,
    *,
    otherwise: str = "to run it all the same, --no-checksums (in Python, checksums=False)",
) -> None:
    """Raise ModelFileError if the model or the weights of a bundle are not those of its ``manifest.json``.

    An ONNX file alone has no checksum, and neither has a bundle whose ``manifest.json`` cannot be read:
    ``note_on_manifest`` says so. ``sum_of`` tells a file's SHA-256. ``otherwise`` says what else the user
    can do than copy the bundle again.
    """
    bundle = Path(path)
    if not is_there(bundle / MANIFEST_FILE):
        return
    try:
        manifest = read_manifest(bundle)
    except ModelFileError:
        return
    file = bundle / MODEL_FILE
    for found, expected in ((file, manifest.model_sha256), (data_of(file), manifest.data_sha256)):
        if expected is not None and is_there(found) and sum_of(found) != expected:
            raise ModelFileError(
                f"{found} is not the file that {MANIFEST_FILE} describes (another SHA-256): copy the whole "
                f"bundle again; {otherwise}"
            )


def is_verdict(file: Path) -> bool:
    """Whether a file is the document of a verdict: a parity.json, a comparison.json. Raises OSError."""
    return has_keys(file, VERDICT_KEYS)


def refuse_in_bundle(path: Path, flag: str = "--out") -> None:
    """Raise RequestError if a command's output is a bundle's folder or lies in one, by links too.

    Export replaces no bundle that holds other files than its own. ``flag`` names the output.
    """
    real = Path(os.path.realpath(path))
    for folder in (real, *real.parents):
        # Path.is_file raises for a name that no folder can have.
        if all(os.path.isfile(folder / name) for name in (MANIFEST_FILE, MODEL_FILE)):  # noqa: PTH113
            raise RequestError(
                f"{flag} {path} writes into the bundle {folder}, which export would then refuse to replace: "
                "name another place, outside it"
            )
