"""Read pickled checkpoints without running anything that is in them.

PyTorch's ``weights_only`` reader makes tensors and plain containers, and refuses the rest. Training scripts
store more: settings, paths, whole modules. Here such an object is read as what it holds: an OrderedDict of
its items, whose attributes are the object's attributes. Its class is not imported, and no code of it runs.
"""

import codecs
import contextlib
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from onnxproof.errors import CheckpointError
from onnxproof.runtime.archive import damaged_in, unpacked_bytes
from onnxproof.sniffed import ENDS_EARLY, NO_PYTORCH_FILE, ZIP, unread
from onnxproof.system.shortage import shortage, shows_shortage
from onnxproof.wrappers.held import STANDS_FOR

MOST_CLASSES = 500
"""A file that names more classes and functions than that is not read."""

NUMPY = (
    (np.ndarray, "numpy.ndarray"),
    (np.dtype, "numpy.dtype"),
    *(
        (value.__reduce__()[0], f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name, value in (("_reconstruct", np.zeros(1)), ("scalar", np.float64(1)))
    ),
    *{
        (kind, f"numpy.dtypes.{kind.__name__}")
        for kind in (type(np.dtype(one)) for one in np.typecodes["All"])
    },
)
"""What NumPy's arrays and numbers are pickled with. torch.serialization.safe_globals takes it to be safe."""

LISTS = {"collections.deque"}
"""Classes that are pickled as the items that are appended to them."""

MOST_UNPACKED = 20
"""How many times its own size an archive may unpack into. Weights in float32 hardly shrink by half."""

SMALL_UNPACKED = 2**28
"""Bytes that any archive may unpack into."""

RUN_CODE = {"eval", "exec", "compile", "open", "__import__"}
RUN_ANYTHING = {"subprocess", "runpy", "importlib", "shutil", "socket", "pty", "ctypes", "webbrowser"}
"""Built-in functions, and modules, that no checkpoint needs. A file that names one is refused, though it
would not run: whoever made it wanted that."""


def read_pickled(file: Path) -> Any:
    """What a file of ``torch.save`` or ``torch.jit.save`` holds, with stand-ins for what is no tensor and no
    container; or a plain pickle of NumPy's arrays.

    Raises CheckpointError if the file is broken or damaged, or if PyTorch refuses it: a file that asks for a
    function of the operating system, for example.
    """
    _require_stored(file)
    try:
        with _scripted_as_pickles():
            held = _read(file)
    except CheckpointError:
        held = _arrays_in(file)
        if held is None:
            raise
    _require_whole(file)
    return held


class _Arrays(pickle.Unpickler):
    """Reads containers and NumPy's arrays, and refuses any other class or function."""

    KNOWN: ClassVar[Mapping[str, Any]] = {
        **{dotted: value for value, dotted in NUMPY},
        "collections.OrderedDict": OrderedDict,
        "_codecs.encode": codecs.encode,  # of an array's bytes, up to protocol 2
    }

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self.KNOWN:
            raise pickle.UnpicklingError(f"{module}.{name} is no array")
        return self.KNOWN[f"{module}.{name}"]


def _arrays_in(file: Path) -> Any:
    """What a plain pickle holds, of any protocol, if it is a dict with only arrays and containers in it. None
    for any other file: that of an older torch.save begins with a pickle of a number."""
    with file.open("rb") as stream, contextlib.suppress(Exception):  # readers raise errors of many types
        if stream.read(len(ZIP)) != ZIP:
            stream.seek(0)
            held = _Arrays(stream, encoding="latin1").load()  # Python 2 wrote arrays as texts
            return held if isinstance(held, dict) else None
    return None


def _require_stored(file: Path) -> None:
    """Raise CheckpointError if a ZIP archive unpacks into far more than it takes. PyTorch's own are not
    compressed, and its reader would hold all of it."""
    unpacked = unpacked_bytes(file)
    size = file.stat().st_size
    if unpacked > max(MOST_UNPACKED * size, SMALL_UNPACKED):
        raise CheckpointError(
            f"checkpoint {file} is refused: it takes {size / 1e6:,.1f} MB and unpacks into "
            f"{unpacked / 1e6:,.0f} MB. torch.save compresses nothing: save the state dict with it"
        )


def _require_whole(file: Path) -> None:
    """Raise CheckpointError if a part of a ZIP archive is not what was saved. PyTorch's reader does not look
    at it."""
    part = damaged_in(file) if zipfile.is_zipfile(file) else None
    if part is not None:
        raise CheckpointError(
            f"checkpoint {file} is damaged: its part {part} is not what was saved, by its checksum (CRC-32): "
            "copy the file again"
        )


def _read(file: Path) -> Any:
    named = {name for name in _foreign(file) if not _runs_code(name)}
    while True:
        try:
            with warnings.catch_warnings(), torch.serialization.safe_globals(_allowed(named)):
                warnings.simplefilter("ignore")  # PyTorch warns of pickles that it then refuses
                return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            # On a damaged file the readers raise errors of many types (EOFError, UnicodeDecodeError, …).
            found = _unknown(error)
            if found is None or found in named or _runs_code(found) or len(named) > MOST_CLASSES:
                raise _unreadable(file, error) from error
            named.update({found} if "." in found else {f"builtins.{found}", f"__builtin__.{found}"})


@contextlib.contextmanager
def _scripted_as_pickles() -> Iterator[None]:
    """Let the ``weights_only`` reader read archives of TorchScript.

    It refuses them by a record that such archives have beside the pickle, for ``torch.jit.load`` would run
    code from the archive. The pickle is of the same form as ``torch.save``'s, and its classes, which are
    compiled from that code, get stand-ins like all others.
    """
    asked = torch.serialization._is_torchscript_zip
    torch.serialization._is_torchscript_zip = lambda _: False
    try:
        yield
    finally:
        torch.serialization._is_torchscript_zip = asked


def _foreign(file: Path) -> list[str]:
    """The classes and functions that a file names and ``weights_only`` does not know, as far as PyTorch lists
    them before it reads the file. It does not for files from before PyTorch 1.6."""
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except Exception:  # noqa: BLE001 - the reader says what is wrong with the file
        return []


def _runs_code(name: str) -> bool:
    """Whether a function of that name is in a pickle in order to run something when it is read."""
    module, _, function = name.rpartition(".")
    return module.partition(".")[0] in RUN_ANYTHING or (
        module in ("builtins", "__builtin__", "") and function in RUN_CODE
    )


def _allowed(named: Collection[str]) -> list[Any]:
    known = {name for _, name in NUMPY}
    return [*NUMPY, *((_stand_in(name), name) for name in named if name not in known)]


def _stand_in(name: str) -> type:
    """A class that makes an OrderedDict: ``weights_only`` gives it items, and attributes too."""

    def make(_: type, *arguments: Any, **options: Any) -> Any:
        del arguments, options
        made: Any = OrderedDict()
        setattr(made, STANDS_FOR, name)
        return made

    return type(name.rpartition(".")[2], (), {"__new__": _make_list if name in LISTS else make})


def _make_list(_: type, *arguments: Any) -> list[Any]:
    del arguments
    return []


def _unknown(error: Exception) -> str | None:
    """The dotted name of the class or function that PyTorch's reader does not know, if it stopped there."""
    if not isinstance(error, pickle.UnpicklingError):
        return None
    found = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
    return None if found is None else found[1]


def _unreadable(file: Path, error: Exception) -> CheckpointError:
    """What to say of a file that is not read."""
    code = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if code is not None:
        return CheckpointError(
            f"checkpoint {file} is refused: reading it would run {code[1]}, which is stored in it, and "
            "only tensors are read. Where it was trained, save the state dict alone: "
            "torch.save(model.state_dict(), path)"
        )
    return unreadable(file, error)


def unreadable(file: Path, error: Exception) -> CheckpointError:
    """What to say of a file that a reader cannot read."""
    if shows_shortage(error):
        return CheckpointError(shortage(f"to read the checkpoint {file}, or it is damaged"))
    return unread(file, _reason(error))


def _reason(error: Exception) -> str:
    """The first sentence of what a reader says, without PyTorch's advice to run the file's code."""
    if isinstance(error, pickle.UnpicklingError | KeyError):
        return NO_PYTORCH_FILE
    if "not fully covered" in str(error):  # safetensors', of a file that is shorter than its header says
        return ENDS_EARLY
    return str(error).strip().partition("\n")[0].partition(". ")[0] or ENDS_EARLY
