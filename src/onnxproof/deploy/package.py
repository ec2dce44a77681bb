"""``onnxproof.package``: write a bundle as one file, or as a model of a Triton repository."""

import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

from onnxproof.deploy.bom import is_bom, write_bom
from onnxproof.deploy.signature import SIGNATURE_SUFFIX, Signer, is_signature
from onnxproof.deploy.triton import triton_config
from onnxproof.errors import ModelFileError, RequestError
from onnxproof.runtime.archive import SUFFIX, damaged_in, is_archive, is_there, sha256_of
from onnxproof.runtime.beside import require_data
from onnxproof.runtime.folder import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PARITY_FILE,
    data_of,
    read_manifest,
    refuse_in_bundle,
    require_checksums,
)
from onnxproof.runtime.look import look_at
from onnxproof.runtime.manifest import Manifest
from onnxproof.source import bundle_at
from onnxproof.system.damaged import ARCHIVE_ERRORS
from onnxproof.system.disk import not_there
from onnxproof.system.extras import require_extra
from onnxproof.system.files import (
    check_file,
    check_folder,
    explained,
    is_special,
    replacing,
    staged_together,
    write_text,
)
from onnxproof.system.own_file import refuse_foreign
from onnxproof.system.signatures import checks_arguments

Format = Literal["zip", "triton"]

BOM_SUFFIX = ".cdx.json"
"""CycloneDX's own for documents in JSON."""
CONFIG_FILE = "config.pbtxt"
VERSION_FOLDER = "1"
"""A Triton repository has a folder for each version of a model, named by a whole number."""
REPOSITORY = "model_repository"
PLACE = "place"
"""What --out names, in messages about what is written beside it."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a ZIP archive can state: the same bundle gives the same bytes."""
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Package:
    """What was written: the archive or the model's folder, and the files beside it (None: not asked for)."""

    path: Path
    files: tuple[str, ...]
    sha256: str | None
    signature: Path | None
    bom: Path | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object of these; "sha256" is the archive's, and null for a folder."""
        return {
            "path": str(self.path),
            "files": list(self.files),
            "sha256": self.sha256,
            "signature": None if self.signature is None else str(self.signature),
            "bom": None if self.bom is None else str(self.bom),
        }


@checks_arguments
def package(
    bundle: str | PathLike[str],
    *,
    format: Format = "zip",
    out: str | PathLike[str] | None = None,
    sign: str | PathLike[str] | None = None,
    bom: bool = False,
) -> Package:
    """Write a bundle as one file ("zip"), or as a model of a Triton repository ("triton").

    ``out`` is the archive, by default BUNDLE.zip, or the repository's folder, by default "model_repository".
    ``sign`` is a private key (PEM, an elliptic curve): the signature of OpenSSF's model-signing is written
    beside, with the suffix ".sig". With ``bom`` a CycloneDX bill of materials is written beside, too. The
    key and the targets are checked before anything is written, and all is written or nothing.

    Raises ModelFileError if there is no bundle, or if its files are not those of its manifest. Raises
    RequestError for another format, for a target that is there and is no package, and for a key that cannot
    sign. Raises MissingPackageError if the extra "signing" or "bom" is needed and missing.
    """
    if format not in get_args(Format):
        raise RequestError(f'format is "{format}", expected one of {", ".join(get_args(Format))}')
    if sign is not None:
        require_extra("signing", "package --sign")
    if bom:
        require_extra("bom", "package --bom")
    folder = bundle_at(bundle)
    manifest = read_manifest(folder)
    signer = None if sign is None else Signer(Path(sign))
    target = _target(folder, manifest, format, None if out is None else Path(out))
    signature = None if signer is None else target.with_name(f"{target.name}{SIGNATURE_SUFFIX}")
    document = target.with_name(f"{target.name}{BOM_SUFFIX}") if bom else None
    asked = [one for one in (target, signature, document) if one is not None]
    _require_replaceable(format, target, signature, document)
    files = _files(folder, manifest)
    with explained(target, kind=PLACE), staged_together(asked) as places:
        staged = dict(zip(asked, places, strict=True))
        write = _write_archive if format == "zip" else _write_repository
        written = write(staged[target], files, manifest)
        if signer is not None and signature is not None:
            signer.sign(staged[target], staged[signature])
        if document is not None:
            write_text(staged[document], write_bom(manifest, files))
        sha256 = sha256_of(staged[target]) if format == "zip" else None
        _require_replaceable(format, target, signature, document)  # others may have written meanwhile
    return Package(target, tuple(one.name for one in written), sha256, signature, document)


def _target(folder: Path, manifest: Manifest, form: Format, out: Path | None) -> Path:
    """Where the archive or the model's folder is written. Raises RequestError if it must not be."""
    if form == "triton":
        target = Path(REPOSITORY if out is None else out) / manifest.contract.name
    else:
        target = _archive_of(folder) if out is None else out
        if target.suffix.lower() != SUFFIX:
            raise RequestError(f"{target} does not end in {SUFFIX}: name the archive so, with --out")
    refuse_in_bundle(target)
    return target


def _archive_of(folder: Path) -> Path:
    """The archive beside a bundle's folder that is called like it, also where it is given as "." or ".."."""
    place = folder if folder.name not in ("", "..") else folder.resolve()
    if not place.name:
        raise RequestError(f"{folder} has no name that the archive could have: name one with --out")
    return place.with_name(f"{folder.resolve().name}{SUFFIX}")


def _require_replaceable(form: Format, target: Path, signature: Path | None, document: Path | None) -> None:
    """Raise RequestError if what is written cannot be, or would replace what onnxproof did not write."""
    if form == "triton" and os.path.lexists(target):
        raise RequestError(f"{target} is there already: move it away, or name another folder with --out")
    if form == "zip" and target.exists() and not _is_package(target):
        raise RequestError(f"{target} is there, and is no bundle: move it away, or name another with --out")
    check_folder(target.parent, kind=PLACE)
    for file, is_own, what in (
        (signature, is_signature, "signature"),
        (document, is_bom, "bill of materials"),
    ):
        if file is not None:
            if is_special(file):
                raise RequestError(
                    f"{file} {not_there(file)}: move it away, or name another {PLACE} with --out"
                )
            check_file(file, "--out", PLACE)
            refuse_foreign(file, is_own, what, kind=PLACE)


def _files(folder: Path, manifest: Manifest) -> tuple[Path, ...]:
    """The files of a bundle that is whole. Raises ModelFileError if one is missing or another."""
    require_checksums(folder, otherwise="if the file was changed on purpose, export the job again")
    model = folder / MODEL_FILE
    look = look_at(model)
    require_data(model, look)
    foreign = [location for location in look.data if location != data_of(model).name]
    if foreign:
        raise ModelFileError(
            f"{model} has weights in {foreign[0]}, and a bundle has them in {data_of(model).name}: "
            "export the job again"
        )
    golden = folder / GOLDEN_FILE
    if manifest.golden_sha256 is not None and not (
        golden.is_file() and sha256_of(golden) == manifest.golden_sha256
    ):
        raise ModelFileError(
            f"{golden} is not the file that {MANIFEST_FILE} describes: copy the bundle again"
        )
    if manifest.golden_sha256 is not None:
        _require_opens(golden)
    names = [model, data_of(model), folder / MANIFEST_FILE, golden, folder / PARITY_FILE]
    return tuple(file for file in names if file.is_file())


def _require_opens(golden: Path) -> None:
    """Raise ModelFileError if a file with golden cases is no archive, or a damaged one."""
    try:
        part = damaged_in(golden)
    except ARCHIVE_ERRORS as error:
        raise ModelFileError(f"{golden} cannot be read ({error}): export the job again") from error
    if part is not None:
        raise ModelFileError(f"{golden} is damaged in {part}: export the job again")


def _write_archive(target: Path, files: Sequence[Path], _: Manifest) -> Sequence[Path]:
    with replacing(target) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            about = zipfile.ZipInfo(file.name, _EPOCH)
            about.external_attr = 0o644 << 16
            with archive.open(about, "w", force_zip64=True) as member:
                for chunk in _chunks(file):
                    member.write(chunk)
    return files


def _is_package(target: Path) -> bool:
    try:
        return is_archive(target) and is_there(target / MANIFEST_FILE)
    except ModelFileError:
        return False


def _write_repository(target: Path, files: Sequence[Path], manifest: Manifest) -> Sequence[Path]:
    served = [file for file in files if file.name in (MODEL_FILE, data_of(Path(MODEL_FILE)).name)]
    (target / VERSION_FOLDER).mkdir(parents=True)
    for file in served:
        with replacing(target / VERSION_FOLDER / file.name) as stream:
            for chunk in _chunks(file):
                stream.write(chunk)
    write_text(target / CONFIG_FILE, triton_config(manifest))
    return (target / CONFIG_FILE, *(target / VERSION_FOLDER / file.name for file in served))


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
