"""Sign a package and verify it, with the OpenSSF's model-signing (the extra "signing").

Its command reads them: ``model_signing verify key FILE --signature FILE.sig --public_key KEY``.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxproof.deploy.keys import private_key, public_key
from onnxproof.document import read_json
from onnxproof.errors import ModelFileError, RequestError
from onnxproof.system.disk import not_there
from onnxproof.system.foreign import read_foreign
from onnxproof.system.imports import imported
from onnxproof.system.own_file import has_keys

SIGNATURE_SUFFIX = ".sig"

SIGN, VERIFY = "--sign", "--verify"

LARGEST_SIGNATURE = 2**26
"""Bytes. One of an archive has some thousand; it grows with the number of files that are signed."""

KEYS = ("mediaType", "verificationMaterial", "dsseEnvelope")
"""The keys of a signature: a bundle of Sigstore."""

MISMATCH, OTHER_KEY = "Signature mismatch", "Key mismatch"
"""How model-signing's messages begin where the signature holds for another content, or is another key's."""


class Signer:
    """What signs with a private key, which is read and checked when this is made."""

    def __init__(self, key: Path) -> None:
        """Raises RequestError if nothing can be signed with the key."""
        private_key(key, SIGN)
        signing: Any = imported("model_signing.signing")
        self._key = key
        self._signing = signing.Config().use_elliptic_key_signer(private_key=key)

    def sign(self, path: Path, signature: Path) -> None:
        """Write the signature of a file or a folder. Raises RequestError if that cannot be done."""
        try:
            self._signing.sign(path, signature)
        except OSError:
            raise
        except Exception as error:
            raise RequestError(f"{path.name} cannot be signed with {self._key} ({_reason(error)})") from error


def is_signature(file: Path) -> bool:
    """Whether a file is a signature of model-signing's. Raises OSError if it cannot be read."""
    return has_keys(file, KEYS)


def why_not_verified(path: Path, key: Path) -> str:
    """Why the signature beside a file or a folder does not hold; "" if it does. ``key`` is a public key, PEM.

    Raises RequestError if nothing can be verified with the key.
    """
    public_key(key, VERIFY)
    signature = _beside(path)
    copy = f"copy it beside {path.name or path} again, or sign the package again"
    if not signature.is_file():
        missing = "is missing" if not os.path.lexists(signature) else not_there(signature)
        return f"{signature} {missing}: {copy}"
    if reason := _why_no_signature(signature):
        return f"{signature} is no signature of model-signing's, or is damaged ({reason}): {copy}"
    verifying: Any = imported("model_signing.verifying")
    verifier = verifying.Config().use_elliptic_key_verifier(public_key=key)
    try:
        verifier.verify(path.resolve(), signature)  # which refuses links
    except Exception as error:  # noqa: BLE001 - it raises what its libraries raise, of many kinds
        refused = _why_refused(error)
        if refused is None:
            told = f"{type(error).__name__}: {_reason(error)}"
            return f"{signature} is no signature that a key made, or is damaged ({told}): {copy}"
        return f"{signature} does not hold for {path.name or path} and {key.name}: {refused}"
    return ""


def _beside(path: Path) -> Path:
    """Where the signature of a file or a folder lies: beside it, or beside what a link leads to."""
    real = path.resolve()
    places = [
        one.with_name(f"{one.name}{SIGNATURE_SUFFIX}") for one in (path, real) if one.name not in ("", "..")
    ]
    if not places:
        raise RequestError(f"{path} has no name, and a signature is called by it: give another path")
    return next((place for place in places if os.path.lexists(place)), places[0])


def _why_no_signature(file: Path) -> str:
    """Why a file is no bundle of Sigstore; "" if it has its form."""
    try:
        text = read_foreign(file, LARGEST_SIGNATURE).decode("utf-8")
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    except UnicodeDecodeError:
        return "it is no text in UTF-8"
    try:
        return next(_mistakes(text), "")
    except ModelFileError as error:
        return str(error)


def _mistakes(text: str) -> Iterator[str]:
    keys = read_json(text).free_table()
    for key in KEYS:
        if key not in keys:
            yield f"it lacks the key {key}"
    for key in KEYS[1:]:
        keys[key].free_table()


def _why_refused(error: Exception) -> str | None:
    """Why a signature that was read does not hold, in words. None if it was not read."""
    said = str(error)
    if said.startswith(MISMATCH):
        return "the content is another than was signed"
    if said.startswith(OTHER_KEY):
        return "it was made with another key"
    if type(error).__name__ == "InvalidSignature":
        return "it was made with another key, or changed since"
    return None


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
