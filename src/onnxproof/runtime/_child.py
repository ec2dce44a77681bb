"""The child process of ``guarded``: opens one ONNX file, then answers runs until its input ends."""

import pickle
import sys
from typing import Any

from onnxproof.runtime.guarded import ModelMetadata, NodeArg, Opened
from onnxproof.runtime.session import load_directly
from onnxproof.system.confined import Failed, answering, answers_alone, limit_memory, outcome, say


def main() -> None:
    """Read questions from standard input, and write answers to standard output."""
    answers = answers_alone()
    source, settings, limits = pickle.load(sys.stdin.buffer)
    limited = limit_memory(limits)
    sessions: list[Any] = []

    def opened(_: None) -> Opened:
        session = load_directly(source, settings)
        sessions.append(session)
        return Opened(
            [_node_arg(node) for node in session.get_inputs()],
            [_node_arg(node) for node in session.get_outputs()],
            _metadata(session.get_modelmeta()),
            limited,
            session.get_providers(),
        )

    said = outcome(opened, None, limits)
    say(said, answers)
    if not isinstance(said, Failed):
        answering(lambda asked: sessions[0].run(*asked), limits, answers)


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
