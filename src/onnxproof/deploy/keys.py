"""The keys that sign and verify a package: PEM files of an elliptic curve, checked before they are used."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from onnxproof.errors import RequestError
from onnxproof.system.disk import not_there
from onnxproof.system.imports import imported

LARGEST_KEY = 2**16
"""Bytes. Keys have some hundred."""

CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""The curves that model-signing takes; OpenSSL calls the first one prime256v1."""

Load = Callable[[bytes], Any]

PRIVATE = (
    "give a private key of an elliptic curve as PEM, as openssl ecparam -name prime256v1 -genkey -noout "
    "writes it"
)
PUBLIC = "give a public key of an elliptic curve as PEM, as openssl ec -in KEY -pubout writes it"


def private_key(file: Path, flag: str) -> Any:
    """The private key in a file. Raises RequestError, which names the flag, if it cannot sign."""
    content = _content(file, flag, PRIVATE)
    try:
        key = _loaders()[0](content)
    except TypeError as error:  # for a password that was not given
        raise RequestError(
            f"{flag} {file} is encrypted: give the key without a password, as openssl ec -in {file} writes it"
        ) from error
    except Exception as error:
        if _is_loaded(_loaders()[1], content):
            raise RequestError(f"{flag} {file} is a public key: give the private one") from error
        raise RequestError(f"{flag} {file} holds no private key: {PRIVATE}") from error
    return _of_curve(key, key.public_key, file, flag, PRIVATE)


def public_key(file: Path, flag: str) -> Any:
    """The public key in a file. Raises RequestError, which names the flag, if nothing is verified with it."""
    content = _content(file, flag, PUBLIC)
    private, public = _loaders()
    try:
        key = public(content)
    except Exception as error:
        if b"PRIVATE KEY-----" in content or _is_loaded(private, content):
            raise RequestError(
                f"{flag} {file} is a private key: give the public one, which openssl ec -in {file} -pubout "
                "writes"
            ) from error
        raise RequestError(f"{flag} {file} holds no public key: {PUBLIC}") from error
    return _of_curve(key, lambda: key, file, flag, PUBLIC)


def _loaders() -> tuple[Load, Load]:
    form: Any = imported("cryptography.hazmat.primitives.serialization")
    return lambda content: form.load_pem_private_key(content, None), form.load_pem_public_key


def _is_loaded(load: Load, content: bytes) -> bool:
    try:
        load(content)
    except Exception:  # noqa: BLE001 - it raises errors of many kinds
        return False
    return True


def _of_curve(key: Any, public: Callable[[], Any], file: Path, flag: str, advice: str) -> Any:
    kind = type(key).__name__.removesuffix("PrivateKey").removesuffix("PublicKey")
    curve = getattr(public(), "curve", None)
    if curve is None:
        raise RequestError(f"{flag} {file} is a key of the kind {kind}: {advice}")
    if curve.name not in CURVES:
        raise RequestError(f"{flag} {file} is of the curve {curve.name}, expected one of {', '.join(CURVES)}")
    return key


def _content(file: Path, flag: str, advice: str) -> bytes:
    if not file.is_file():
        raise RequestError(f"{flag} {file} {not_there(file)}: {advice}")
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST_KEY + 1)
    except OSError as error:
        raise RequestError(f"{flag} {file} cannot be read ({error.strerror or error}): {advice}") from error
    if len(content) > LARGEST_KEY:
        raise RequestError(f"{flag} {file} has more than {LARGEST_KEY:,} bytes, which no key has: {advice}")
    return content
