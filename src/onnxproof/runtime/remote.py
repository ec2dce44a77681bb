"""Pictures that lie where ``fsspec`` reaches: in a bucket, on a server, in memory.

fsspec is imported only when such a picture is listed or read.
"""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from onnxproof.errors import MissingPackageError, OnnxproofError, PictureError
from onnxproof.system.extras import missing

SEPARATOR = "://"

STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")
"""The keys of fsspec's information on a file that change when the file does. Each file system has its own."""


@dataclass(frozen=True, slots=True, order=True)
class RemotePicture:
    """A picture by its URL, such as "s3://bucket/pictures/1.png".

    ``stamp`` is another text when the file's content is another, as far as its place tells.
    """

    url: str
    stamp: str = ""

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return PurePosixPath(self.url).name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.url).stem

    def read(self) -> bytes:
        """The file's bytes. Raises PictureError if they cannot be had, MissingPackageError without fsspec."""
        try:
            with importlib.import_module("fsspec").open(self.url, "rb") as stream:
                content: bytes = stream.read()
                return content
        except ImportError as error:
            raise _missing(self.url, error) from error
        except Exception as error:  # a file system's errors have no common base below Exception
            raise _unreadable(self.url, error) from error


Place = Path | RemotePicture
"""Where a picture lies."""


def seen_from(folder: str, place: Place) -> Place:
    """A place that a worker with another working directory finds, too: relative paths start at ``folder``."""
    return place if isinstance(place, RemotePicture) else Path(folder) / place


def is_url(text: str) -> bool:
    """Whether a text names a place by URL."""
    return SEPARATOR in text


def list_remote(url: str, suffixes: tuple[str, ...]) -> tuple[RemotePicture, ...]:
    """The files that a URL names: itself, those of a folder with these suffixes, or those of a pattern.

    They are sorted. Raises PictureError if the place cannot be reached, MissingPackageError without fsspec.
    """
    try:
        system, path = importlib.import_module("fsspec").core.url_to_fs(url)
        found = list(_files(system, path, suffixes))
    except ImportError as error:
        raise _missing(url, error) from error
    except Exception as error:  # as above
        raise _unreadable(url, error) from error
    return tuple(
        sorted(RemotePicture(str(system.unstrip_protocol(path)), _stamp(about)) for path, about in found)
    )


def _files(system: Any, path: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if any(sign in path for sign in "*?["):
        matched = system.glob(path, detail=True)
        yield from ((name, about) for name, about in matched.items() if about["type"] == "file")
    elif system.isdir(path):
        for about in system.ls(path, detail=True):
            if about["type"] == "file" and about["name"].lower().endswith(suffixes):
                yield about["name"], about
    else:
        yield path, system.info(path)


def _stamp(about: Mapping[str, Any]) -> str:
    told = (str(about[key]) for key in ("size", *STAMPS) if about.get(key) is not None)
    return " ".join(told)


def _missing(url: str, error: ImportError) -> OnnxproofError:
    """The error for a package that is not installed: fsspec itself, or one that it needs for the place.

    fsspec raises ImportError with a sentence that names the latter.
    """
    if error.name == "fsspec":
        return missing("fsspec", url)
    reason = str(error).strip().partition("\n")[0]
    return MissingPackageError(f"{url} needs a package that is not installed ({reason}): install it with pip")


def _unreadable(url: str, error: Exception) -> PictureError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return PictureError(f"{url} cannot be read ({reason}): is the URL right, and are there credentials?")
