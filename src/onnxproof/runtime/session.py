"""Open an ONNX file in ONNX Runtime. No other module does."""

import importlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

# ONNX Runtime reads it as it starts. Without it the packages from 1.29 on keep an identifier of this device
# and a database below the home folder, and send Microsoft events about the models that they load.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

from onnxproof.errors import ModelFileError, OnnxproofError, RequestError
from onnxproof.runtime.archive import in_archive, is_there, read_file
from onnxproof.runtime.beside import require_data
from onnxproof.runtime.look import LARGEST_RANK, Look, look_at, look_at_bytes
from onnxproof.runtime.otherwise import MODEL_ADVICE, other_than_a_model
from onnxproof.system.limits import MOST_THREADS
from onnxproof.system.shortage import shortage, shows_shortage
from onnxproof.system.signatures import argument
from onnxproof.text import meant

QUIET = 4
"""ONNX Runtime's log severity "fatal". Errors need no log, because ONNX Runtime raises them, too."""
CPU = "CPUExecutionProvider"

VERSION: str = ort.__version__
"""ONNX Runtime's version, whichever distribution brought it."""

Optimization = Literal["none", "basic", "extended", "all"]

LEVELS = MappingProxyType(
    {
        "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
        "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    }
)
"""ONNX Runtime's levels of graph optimization by the names that a job uses; "all" is its default."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How a file is opened.

    ``threads`` is ONNX Runtime's number of intra-op threads (0: as many as it chooses). ``in_turn`` is for
    sessions that take turns with others on the same cores, and that run on many sizes. The optimized graph is
    written to ``optimized_to``, unless that is None. With ``arena`` the CPU provider keeps a run's memory for
    the next. ``provider_options`` are ONNX Runtime's own, by the provider's name. With ``fallback`` the next
    provider, in the end the CPU, takes the place of one that is not there or does not start; otherwise such a
    one is refused. Raises RequestError if there are too many threads, no provider, no such level of
    optimization, or options of a provider that is not among ``providers``.
    """

    providers: tuple[str, ...] = (CPU,)
    threads: int = 0
    optimization: Optimization = "all"
    in_turn: bool = False
    optimized_to: Path | None = None
    arena: bool = True
    provider_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    fallback: bool = False

    def __post_init__(self) -> None:
        require_threads(self.threads)
        if not self.providers:
            raise RequestError(f"no execution provider is named: name one, such as {CPU}")
        if self.optimization not in LEVELS:
            raise RequestError(
                f"optimization = {self.optimization!r}: expected one of {', '.join(LEVELS)}"
                f"{meant(str(self.optimization), LEVELS)}"
            )
        # A copy that can be sent to another process.
        own = {name: dict(options) for name, options in self.provider_options.items()}
        object.__setattr__(self, "provider_options", own)
        unknown = sorted(self.provider_options.keys() - set(self.providers))
        if unknown:
            raise RequestError(
                f"there are options for {unknown[0]}, and the providers are {', '.join(self.providers)}: "
                "name it among them, or leave the options out"
            )

    def here(self) -> Self:
        """These settings with the providers that this ONNX Runtime has, if ``fallback`` allows others.

        Raises RequestError if it does not, and one is missing.
        """
        if not self.fallback:
            require_providers(self.providers)
            return self
        found = tuple(name for name in self.providers if name in available_providers()) or (CPU,)
        options = {name: own for name, own in self.provider_options.items() if name in found}
        return replace(self, providers=found, provider_options=options)

    def listed(self) -> list[Any]:
        """The providers with their options, in ONNX Runtime's own form."""
        options = self.provider_options
        return [(name, dict(options[name])) if name in options else name for name in self.providers]

    def to_options(self) -> ort.SessionOptions:
        """ONNX Runtime's own form."""
        options = ort.SessionOptions()
        options.log_severity_level = QUIET
        options.intra_op_num_threads = self.threads
        options.graph_optimization_level = LEVELS[self.optimization]
        options.enable_cpu_mem_arena = self.arena
        if self.providers != (CPU,):
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        if self.in_turn:
            options.inter_op_num_threads = 1
            # A spinning thread pool would take the cores from the session whose turn it is.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            # Memory that is planned for one size is kept for the next: with many sizes it only grows.
            options.enable_mem_pattern = False
        if self.optimized_to is not None:
            options.optimized_model_filepath = str(self.optimized_to)
            # Otherwise a file with external data refers to the data beside it from the new place, too.
            beside = f"{self.optimized_to.name}.data"
            options.add_session_config_entry(
                "session.optimized_model_external_initializers_file_name", beside
            )
        return options


ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "NOT_IMPLEMENTED": (
            "the operator is not implemented for the dtypes of that node, or not in that version of the "
            "operator; on the CPU few are for bfloat16. Keep the model in float32 or float16, or export "
            "another opset."
        ),
        "is not a registered function/op": (
            "ONNX Runtime does not have that operator without the library that brings it. Export the model "
            "with standard operators."
        ),
        "Unsupported model IR version": (
            "the file is in a newer form than the installed ONNX Runtime reads. Update onnxruntime, or write "
            "the file with an older ir_version."
        ),
        "ort_value_name_idx_map": "its graph has no nodes, and ONNX Runtime takes no such file.",
    }
)
"""What to do, by a part of what ONNX Runtime says of a file."""
NO_MODEL = ("INVALID_PROTOBUF", "No graph was found")
DAMAGED = "is it whole? Export it again."


def open_session(file: Path, settings: SessionSettings | None = None) -> Any:
    """An ``onnxruntime.InferenceSession``, or a ``GuardedSession`` if the file's structure says that ONNX
    Runtime may crash or hang on it.

    Raises ModelFileError if the file cannot be loaded, RequestError if a provider is not there.
    """
    if in_archive(file):
        return _open_archived(file, settings or SessionSettings())
    look = look_at(file)
    require_data(file, look)
    if not _is_text(file):
        if look.data:
            raise ModelFileError(
                f"{file} has its weights in another file, and ONNX Runtime does not take that path in this "
                "locale: set PYTHONUTF8=1, or rename the folder"
            )
        return open_bytes(file.read_bytes(), str(file), settings or SessionSettings())
    return _open(file, str(file), look, settings or SessionSettings())


def open_bytes(content: bytes, name: str, settings: SessionSettings) -> Any:
    """As ``open_session``, for a model in memory; ``name`` is for messages."""
    return _open(content, name, look_at_bytes(content, name), settings)


def _is_text(file: Path) -> bool:
    """Whether ONNX Runtime takes the path: UTF-8 has no bytes that Python could not decode by the locale."""
    try:
        str(file).encode()
    except UnicodeEncodeError:
        return False
    return True


def _open_archived(file: Path, settings: SessionSettings) -> Any:
    """A session of a model in a bundle that is one file. Its weights are read from there, too."""
    content = read_file(file)
    look = look_at_bytes(content, str(file))
    data = {}
    for location, end in look.data.items():
        place = file.with_name(location) if location == Path(location).name else file
        if place == file or not is_there(place):
            raise ModelFileError(
                f"{file.parent} lacks {location}, the weights of {file.name}: package the bundle again"
            )
        data[location] = read_file(place)
        if len(data[location]) < end:
            raise ModelFileError(
                f"{place} is cut off: it has {len(data[location])} bytes, and the weights of {file.name} "
                f"take {end}; package the bundle again"
            )
    if data and look.risk:
        raise ModelFileError(
            f"{file} is not loaded from the archive: {look.risk}, and its weights are in another file; "
            "unpack the archive and load the folder"
        )
    return _open(content, str(file), look, settings, data)


NO_DATA: Mapping[str, bytes] = MappingProxyType({})


def _open(
    model: Path | bytes, name: str, look: Look, settings: SessionSettings, data: Mapping[str, bytes] = NO_DATA
) -> Any:
    settings = settings.here()
    try:
        session: Any
        if look.risk:
            # Imported only here, because the import of subprocess and the like takes 3% of a cold start.
            guarded = importlib.import_module("onnxproof.runtime.guarded")
            session = guarded.GuardedSession(model, settings, name, look.risk)
        else:
            # ONNX Runtime's exceptions have no common public base below Exception.
            session = load_directly(model if isinstance(model, bytes) else str(model), settings, data)
        if not settings.fallback:
            _require_started(session, settings.providers)
        _require_readable(session, name)
    except OnnxproofError:
        raise
    except UnicodeDecodeError as error:
        raise ModelFileError(
            f"{name} holds a name or metadata that is not UTF-8 ({error.reason} at byte {error.start}): "
            "was it damaged? Export it again."
        ) from error
    except Exception as error:
        if shows_shortage(error):
            raise RequestError(shortage(f"to load {name}")) from error
        other = other_than_a_model(model, name) if any(one in str(error) for one in NO_MODEL) else None
        if other is not None:
            what, _, remedy = other.partition(": ")
            advice = remedy or (DAMAGED if Path(name).suffix.lower() == ".onnx" else MODEL_ADVICE)
            raise ModelFileError(f"{name} cannot be loaded: it is {what}, not a model: {advice}") from error
        what_to_do = next((told for part, told in ADVICE.items() if part in str(error)), DAMAGED)
        raise ModelFileError(
            f"{name} cannot be loaded by ONNX Runtime ({first_line(error)}): {what_to_do}"
        ) from error
    return session


def load_directly(
    model: str | bytes, settings: SessionSettings, data: Mapping[str, bytes] = NO_DATA
) -> ort.InferenceSession:
    """A session in this process. ``data`` has the files with the weights of a model in memory, by their
    names in it. Raises whatever ONNX Runtime raises."""
    options = settings.to_options()
    if data:
        options.add_external_initializers_from_files_in_memory(
            list(data), list(data.values()), [len(content) for content in data.values()]
        )
    # With its fallback on, ONNX Runtime prints to standard output, then tries the same again.
    return ort.InferenceSession(model, options, providers=list(settings.providers), enable_fallback=0)


def _require_started(session: Any, providers: Sequence[str]) -> None:
    """Raise RequestError if a provider does not start here. ONNX Runtime then takes another, and says nothing
    that a program could see."""
    started = session.get_providers()
    for provider in providers:
        if provider not in started:
            raise RequestError(
                f'execution provider "{provider}" is in this ONNX Runtime, but does not start on this '
                f"machine ({', '.join(started)} would run in its place): install the libraries and the "
                "driver that it needs, or name another"
            )


def provider_notes(session: Any, settings: SessionSettings) -> tuple[str, ...]:
    """What runs otherwise than the settings ask: another provider, or nodes on another one than the first.

    Raises RequestError if the first runs none of the nodes, and ``settings.fallback`` allows no other.
    """
    asked, started = settings.providers, session.get_providers()
    missing = [name for name in asked if name not in started]
    if missing:
        own = next((name for name in asked if name in started), CPU)
        are = "is" if len(missing) == 1 else "are"
        return (f"{', '.join(missing)} {are} not there, or cannot start on this machine: {own} runs instead",)
    try:
        placed = placed_elsewhere(placed_nodes(session), asked[0])
    except RequestError as error:
        if not settings.fallback:
            raise
        return (str(error),)
    return (placed,) if placed else ()


def placed_elsewhere(nodes: Mapping[str, int], provider: str) -> str:
    """How many of a file's nodes run on other providers than the one that was asked for; empty if none do.

    ``nodes`` is what ``placed_nodes`` returns. Raises RequestError if that provider runs none.
    """
    placed = dict(nodes)
    own, whole = placed.pop(provider, 0), sum(nodes.values())
    others = ", ".join(f"{count:,} on {name}" for name, count in placed.items())
    if whole and not own:
        raise RequestError(f"{provider} runs none of the file's {whole:,} nodes ({others}): name another")
    return f"{provider} runs {own:,} of the file's {whole:,} nodes; {others}" if others else ""


def placed_nodes(session: Any) -> dict[str, int]:
    """How many nodes of the file run on each execution provider, if others than the CPU's were asked for.

    Empty if ONNX Runtime does not tell: before 1.24, or for a file that runs in a process of its own.
    """
    placed: Counter[str] = Counter()
    told = getattr(session, "get_provider_graph_assignment_info", None)
    if told is not None and session.get_providers() != [CPU]:
        for part in told():
            placed[part.ep_name] += len(part.get_nodes())
    return dict(placed)


def _require_readable(session: Any, name: str) -> None:
    """Raise ModelFileError if an input or output has more axes than NumPy's arrays can have, and
    UnicodeDecodeError if a name or the metadata is not UTF-8."""
    about = session.get_modelmeta()
    _ = about.custom_metadata_map, about.producer_name, about.graph_name, about.description, about.domain
    for node in (*session.get_inputs(), *session.get_outputs()):
        _, rank = node.name, len(node.shape or ())
        if rank > LARGEST_RANK:
            raise ModelFileError(
                f"{name}: {node.name} has {rank:,} axes; NumPy's arrays have at most {LARGEST_RANK}: "
                "export the model again"
            )


_SOURCE = re.compile(r"/onnxruntime_src/\S+:\d+ [^(]*\((?:[^()]|\([^()]*\))*\)(?: const)? ?")
"""A place in ONNX Runtime's own source, with the function's signature."""


def first_line(error: BaseException) -> str:
    """The first line of ONNX Runtime's message, without the places in its own source."""
    return _SOURCE.sub("", next(iter(str(error).strip().splitlines()), type(error).__name__))


def require_threads(threads: int) -> None:
    """Raise RequestError for no whole number of threads, a negative one, or more than ``MOST_THREADS``."""
    argument("threads", threads, int)
    if not 0 <= threads <= MOST_THREADS:
        raise RequestError(
            f"threads = {threads}: expected 1 to {MOST_THREADS}, or 0 for as many as ONNX Runtime chooses"
        )


def provider_names(providers: str | Sequence[str]) -> tuple[str, ...]:
    """The providers' names; one text is one name."""
    return (providers,) if isinstance(providers, str) else tuple(providers)


def available_providers() -> tuple[str, ...]:
    """The execution providers of the installed ONNX Runtime."""
    return tuple(ort.get_available_providers())


def require_providers(providers: Sequence[str]) -> None:
    """Raise RequestError if the installed ONNX Runtime lacks an execution provider."""
    available = available_providers()
    missing = [provider for provider in providers if provider not in available]
    if missing:
        raise RequestError(
            f'execution provider "{missing[0]}" is not in this ONNX Runtime; '
            f"there are: {', '.join(available)}"
        )
