"""Keys that sign bundles, as PEM."""

import importlib
from typing import Any


def private(kind: str = "SECP256R1", password: bytes | None = None) -> bytes:
    """A private key as PEM."""
    ec, ed, rsa = (
        importlib.import_module(f"cryptography.hazmat.primitives.asymmetric.{name}")
        for name in ("ec", "ed25519", "rsa")
    )
    form: Any = importlib.import_module("cryptography.hazmat.primitives.serialization")
    if kind == "RSA":
        key = rsa.generate_private_key(65537, 2048)
    elif kind == "Ed25519":
        key = ed.Ed25519PrivateKey.generate()
    else:
        key = ec.generate_private_key(getattr(ec, kind)())
    hidden = form.NoEncryption() if password is None else form.BestAvailableEncryption(password)
    content: bytes = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, hidden)
    return content


def public_of(content: bytes) -> bytes:
    """The public key of a private one, both as PEM."""
    form: Any = importlib.import_module("cryptography.hazmat.primitives.serialization")
    public = form.load_pem_private_key(content, None).public_key()
    told: bytes = public.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    return told
