"""Sign a package and verify it, with the OpenSSF's model-signing (the extra "signing").

Its command reads them: ``model_signing verify key FILE --signature FILE.sig --public_key KEY``.
"""

from pathlib import Path
from typing import Any

from onnxproof.errors import RequestError
from onnxproof.system.imports import imported
from onnxproof.system.own_file import has_keys

SIGNATURE_SUFFIX = ".sig"

CHANGED = "Hash mismatch"
"""How model-signing's message begins where the signature holds for another content. Raw digests follow."""


def sign_path(path: Path, key: Path, signature: Path) -> None:
    """Write the signature of a file or a folder. ``key`` is a private key: PEM, of an elliptic curve.

    Raises RequestError if the key cannot be read, or the signature cannot be written.
    """
    _require_file(key, "--sign", "a private key")
    signing: Any = imported("model_signing.signing")
    try:
        signing.Config().use_elliptic_key_signer(private_key=key).sign(path, signature)
    except Exception as error:
        raise RequestError(
            f"{path} cannot be signed with {key} ({_reason(error)}): give a private key of an elliptic "
            "curve as PEM, as openssl ecparam -name prime256v1 -genkey -noout writes it"
        ) from error


def is_signature(file: Path) -> bool:
    """Whether a file is a signature of model-signing's: a bundle of Sigstore. Raises OSError."""
    return has_keys(file, ("mediaType", "verificationMaterial", "dsseEnvelope"))


def why_not_verified(path: Path, key: Path) -> str:
    """Why the signature beside a file or a folder does not hold; "" if it does. ``key`` is a public key, PEM.

    Raises RequestError if there is no such key.
    """
    _require_file(key, "--verify", "a public key")
    signature = path.with_name(f"{path.resolve().name}{SIGNATURE_SUFFIX}")
    if not signature.is_file():
        return f"{signature} is missing: copy it beside {path.name}, or sign the package again"
    verifying: Any = imported("model_signing.verifying")
    try:
        verifying.Config().use_elliptic_key_verifier(public_key=key).verify(path, signature)
    except Exception as error:  # noqa: BLE001 - it raises what its libraries raise, of many kinds
        reason = "the content is another than was signed" if CHANGED in str(error) else _reason(error)
        return f"{signature} does not hold for {path.name} and {key.name}: {reason}"
    return ""


def _require_file(key: Path, flag: str, what: str) -> None:
    if not key.is_file():
        raise RequestError(f"{flag} {key}: there is no such file; give {what} in PEM")


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
