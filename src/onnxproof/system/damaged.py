"""What Python's and NumPy's readers raise of a damaged ZIP archive or array, in one place."""

import lzma
import struct
import tokenize
import zipfile
import zlib

ARCHIVE_ERRORS = (
    *(OSError, EOFError, ValueError, RuntimeError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
)
"""Of an archive or a part of it. ValueError: a name that is no text. RuntimeError: a password; its subclass
NotImplementedError: a later version of the format, or a compression that is not known."""

ARRAY_ERRORS = (
    *ARCHIVE_ERRORS,
    *(KeyError, TypeError, IndexError, AttributeError, SyntaxError, tokenize.TokenError),
)
"""Of an array, too: its header is a Python literal, and anything may stand in place of one."""
