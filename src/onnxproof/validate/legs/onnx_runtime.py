"""An ONNX file in ONNX Runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from onnxproof.runtime.port import Port
from onnxproof.runtime.session import Optimization, SessionSettings, open_session, placed_nodes
from onnxproof.validate.legs.leg import Answer, Arrays, Ports


class OrtLeg:
    """An ONNX file in ONNX Runtime at one of its optimization levels.

    ``settings`` are the session's. ``metadata`` is the file's own, by key. ``placed`` is how many of its
    nodes run on each provider, as far as ONNX Runtime tells. ``label`` is a prefix of the leg's name. Raises
    ModelFileError if the file cannot be loaded.
    """

    def __init__(
        self,
        file: Path,
        providers: Sequence[str],
        threads: int,
        optimization: Optimization = "all",
        label: str = "",
    ) -> None:
        self.name = f"{label}{ort_name(providers, optimization)}"
        self.settings = SessionSettings(tuple(providers), threads, optimization, in_turn=True)
        self._session = open_session(file, self.settings)
        self.ports = Ports(
            tuple(map(Port.of, self._session.get_inputs())), tuple(map(Port.of, self._session.get_outputs()))
        )
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.placed: Mapping[str, int] = placed_nodes(self._session)

    def run(self, inputs: Arrays) -> Answer:
        names = [port.name for port in self.ports.outputs]
        returned = self._session.run(names, dict(inputs))
        return Answer(dict(zip(names, returned, strict=True)), {})


def ort_name(providers: Sequence[str], optimization: Optimization) -> str:
    """The name of a leg with these settings, for example "ort-cpu"."""
    provider = providers[0].removesuffix("ExecutionProvider").lower()
    return f"ort-{provider}{'' if optimization == 'all' else f'-{optimization}'}"
