"""How files begin that people give in place of a model or of a checkpoint."""

from collections.abc import Mapping
from types import MappingProxyType

COMPRESSED: Mapping[bytes, str] = MappingProxyType(
    {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "Zstandard"}
)
"""The names of compressed forms."""

HDF5 = b"\x89HDF"
GGUF = b"GGUF"
NUMPY = b"\x93NUMPY"

LFS_POINTER = b"version https://git-lfs"
WEB_PAGES = (b"<!doctype", b"<html")
"""These begin so in lower case, as ``LFS_POINTER`` does."""

SAFETENSORS_HEADER = slice(8, 10)
"""Where the header of a safetensors file begins, which is JSON: behind its length in 8 bytes."""
