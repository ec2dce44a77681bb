"""The child process of ``guarded``: opens one ONNX file, then answers runs until its input ends."""

import faulthandler
import os
import pickle
import sys
from typing import Any

from onnxproof.runtime.guarded import Failed, Limits, ModelMetadata, NodeArg, Opened
from onnxproof.runtime.session import load_directly

try:
    import resource
except ModuleNotFoundError:  # Windows has none
    resource = None  # type: ignore[assignment]

GIB = 2**30
SPARE_S = 5.0
"""Seconds after the limit at which the child ends itself, in case its parent is gone."""


def main() -> None:
    """Read questions from standard input, and write answers to standard output."""
    # Send what ONNX Runtime prints to standard error, so that it does not mix with the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    questions = sys.stdin.buffer
    source, settings, limits = pickle.load(questions)
    _watch(limits)
    limited = _limit_memory(limits)
    try:
        session = load_directly(source, settings)
        said: Any = Opened(
            [_node_arg(node) for node in session.get_inputs()],
            [_node_arg(node) for node in session.get_outputs()],
            _metadata(session.get_modelmeta()),
            limited,
            session.get_providers(),
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent raises it
        said = Failed(str(error) or type(error).__name__)
    _say(said, answers)
    if isinstance(said, Failed):
        return
    while True:
        try:
            names, feeds = pickle.load(questions)
        except EOFError:
            return
        _watch(limits)
        try:
            said = session.run(names, feeds)
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent raises it
            said = Failed(str(error) or type(error).__name__)
        _say(said, answers)


def _say(answer: Any, answers: Any) -> None:
    pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
    answers.flush()
    faulthandler.cancel_dump_traceback_later()


def _watch(limits: Limits) -> None:
    """End this process ``SPARE_S`` after the time at which the parent should have ended it."""
    faulthandler.dump_traceback_later(limits.time_s + SPARE_S, exit=True)


def _limit_memory(limits: Limits) -> bool:
    """Limit the memory of this process. Returns whether the platform can."""
    if resource is None:
        return False
    size = int(limits.memory_gib * GIB)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    size = size if hard == resource.RLIM_INFINITY else min(size, hard)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (size, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        return False
    return True


def _node_arg(node: Any) -> NodeArg:
    return NodeArg(node.name, node.type, list(node.shape or ()))


def _metadata(about: Any) -> ModelMetadata:
    return ModelMetadata(
        dict(about.custom_metadata_map),
        about.description,
        about.domain,
        about.graph_name,
        about.producer_name,
        about.version,
    )
