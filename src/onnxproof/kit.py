"""``onnxproof.kit``: the golden cases of a bundle as plain files, to be run by a host that is not Python."""

from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path

from onnxproof.document import Entry, read_json
from onnxproof.errors import ModelFileError, RequestError
from onnxproof.progress import Progress, silent
from onnxproof.runtime.archive import in_archive, is_archive, is_there, read_file
from onnxproof.runtime.folder import GOLDEN_FILE, MODEL_FILE, data_of, read_manifest, refuse_in_bundle
from onnxproof.runtime.manifest import Manifest
from onnxproof.runtime.metadata import metadata_in
from onnxproof.source import bundle_at, sha256_of
from onnxproof.system.files import replacing, write_bytes, write_text
from onnxproof.system.foreign import read_foreign
from onnxproof.system.own_folder import Kind, is_signed, listed, names_in, signed, staged_folder
from onnxproof.system.signatures import checks_arguments
from onnxproof.validate.bundled import checksum_check
from onnxproof.validate.golden.checks import inputs_check
from onnxproof.validate.golden.file import about
from onnxproof.validate.golden.found import Recorded, golden_in, require_golden, sha256_of_text
from onnxproof.validate.golden.kit import (
    CASES_FILE,
    CONTRACT_FILE,
    INPUTS_FOLDER,
    KIT_FILE,
    Model,
    cases_text,
    encoded,
    index_of,
    require_plain,
    text_of,
)
from onnxproof.validate.golden.kit_readme import readme

README_FILE = "README.md"

KIT_FILES = (
    *(KIT_FILE, CASES_FILE, CONTRACT_FILE, GOLDEN_FILE, README_FILE),
    *(MODEL_FILE, data_of(Path(MODEL_FILE)).name, INPUTS_FOLDER),
)
"""The names of what lies in a kit."""

SUMMED = (CASES_FILE, CONTRACT_FILE, GOLDEN_FILE, MODEL_FILE, data_of(Path(MODEL_FILE)).name)
"""The files beside the inputs whose SHA-256 follows from the index."""

CHUNK = 2**24
"""Bytes that are copied at once."""


@checks_arguments
def kit(
    bundle: str | PathLike[str],
    *,
    out: str | PathLike[str],
    model: bool = True,
    progress: Progress = silent,
) -> Path:
    """Write the golden cases of a bundle as plain files, for a host in any language. Returns the folder.

    ``bundle`` is a folder, or the one file that ``package`` wrote. The host runs the model on the inputs and
    returns its outputs in the same form; ``onnxproof.judge`` then says whether it computes and decides as it
    was proven to. ``out`` is the folder; a kit that is there is replaced, and anything else is left alone.
    ``model`` says whether the model is copied into it.

    Raises ModelFileError if there is no bundle, if it has no golden cases, or if it is not as it was
    exported, and RequestError if the folder cannot be written, or if a name or dtype does not go into plain
    files.
    """
    folder = bundle_at(bundle, archives=True)
    manifest = read_manifest(folder)
    require_golden(folder, manifest, metadata_in(folder / MODEL_FILE))
    target = Path(out)
    refuse_in_bundle(target)
    read = [path for path in (folder / MODEL_FILE, data_of(folder / MODEL_FILE)) if is_there(path)]
    inputs = (folder,) if is_archive(folder) else (*read, folder / GOLDEN_FILE)
    with staged_folder(target, KIT, inputs) as staged:
        progress("read the bundle", 0, 0)
        recorded = _recorded(folder, manifest)
        progress("write the kit", 0, 0)
        _write(staged, recorded, folder, manifest, read if model else [])
    return target


def _recorded(folder: Path, manifest: Manifest) -> Recorded:
    """The golden cases. Raises ModelFileError if the bundle is not as it was exported."""
    file = folder / MODEL_FILE
    found = checksum_check(manifest, file).reason or golden_in(folder, manifest, metadata_in(file))
    reason = found if isinstance(found, str) else inputs_check(found.golden).reason
    if isinstance(found, Recorded) and found.golden.about.model_sha256 != manifest.model_sha256:
        reason = f"{GOLDEN_FILE} was recorded for another {MODEL_FILE}"
    if isinstance(found, str) or reason:
        raise ModelFileError(
            f"{folder} is not as it was exported ({reason}): onnxproof selftest {folder} says more; copy the "
            "bundle again, or export it again"
        )
    require_plain(found.contract)
    return found


def _write(staged: Path, recorded: Recorded, folder: Path, manifest: Manifest, copied: list[Path]) -> None:
    golden = recorded.golden
    model = Model(golden.about.model_sha256, manifest.data_sha256, bool(copied))
    index = index_of(golden, recorded.contract, sha256_of(folder / GOLDEN_FILE), model)
    (staged / INPUTS_FOLDER).mkdir()
    for entry, one in zip(index["cases"], golden.cases, strict=True):
        for told, array in zip(entry["inputs"], one.inputs.values(), strict=True):
            write_bytes(staged / told["file"], encoded(array))
    for file in (*copied, folder / GOLDEN_FILE):
        _copy(file, staged / file.name)
    write_text(staged / CONTRACT_FILE, recorded.metadata)
    write_text(staged / CASES_FILE, cases_text(index))
    write_text(staged / README_FILE, signed(readme(index), "kit"))
    write_text(staged / KIT_FILE, text_of(index))


def _copy(file: Path, place: Path) -> None:
    if in_archive(file):
        write_bytes(place, read_file(file))
        return
    with file.open("rb") as source, replacing(place) as stream:
        while chunk := source.read(CHUNK):
            stream.write(chunk)


def why_kept(folder: Path) -> str | None:
    """Why a folder must not be replaced, in words. Returns None if it is empty, or a kit and nothing else."""
    names = names_in(folder)
    if not names:
        return None
    written = _written(folder)
    if GOLDEN_FILE not in names or written is None:
        return f"is no kit that onnxproof wrote (it holds {listed(names)})"
    foreign = [name for name in names if not _is_own(folder / name)]
    inputs = folder / INPUTS_FOLDER
    held = [name for name in SUMMED if name in names]
    if inputs.is_dir() and not inputs.is_symlink():
        held += [f"{INPUTS_FOLDER}/{name}" for name in names_in(inputs)]
    foreign += [name for name in held if name not in foreign and not _is_as(folder / name, written.get(name))]
    return f"holds what onnxproof did not write ({listed(foreign)})" if foreign else None


KIT = Kind("kit", "kits", why_kept)
"""What ``kit`` writes."""


def _is_own(entry: Path) -> bool:
    if entry.is_symlink():
        return entry.name in KIT_FILES
    if entry.name == INPUTS_FOLDER:
        return entry.is_dir()
    if entry.name == README_FILE:
        return entry.is_file() and is_signed(entry)
    return entry.name in KIT_FILES and entry.is_file()


def _is_as(entry: Path, sha256: str | None) -> bool:
    """Whether an entry of a kit is the file that was written, or a link, which is not followed."""
    return entry.is_symlink() or (sha256 is not None and entry.is_file() and sha256_of(entry) == sha256)


def _written(folder: Path) -> Mapping[str, str] | None:
    """The SHA-256 of the files of a kit, as follows from its index; None if there is no such index."""
    try:
        index = read_json(read_foreign(folder / KIT_FILE).decode("utf-8"))
        return None if "outputs" not in index.free_table() else dict(_told(folder, index))
    except (OSError, UnicodeDecodeError, RequestError, KeyError, TypeError):
        return None


def _told(folder: Path, index: Entry) -> Iterator[tuple[str, str]]:
    keys = index.free_table()
    yield GOLDEN_FILE, keys["kit"].text()
    golden = folder / GOLDEN_FILE
    if golden.is_file() and sha256_of(golden) == keys["kit"].text():
        yield CONTRACT_FILE, about(read_foreign(golden), str(golden)).metadata_sha256
    model = keys["model"].free_table()
    if model["file"].value is not None:
        yield MODEL_FILE, model["sha256"].text()
        if "data_sha256" in model:
            yield data_of(Path(MODEL_FILE)).name, model["data_sha256"].text()
    for case in keys["cases"].entries():
        for one in case.free_table()["inputs"].entries():
            told = one.free_table()
            yield told["file"].text(), told["sha256"].text()
    yield CASES_FILE, sha256_of_text(cases_text(index.value))
