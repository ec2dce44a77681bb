"""A provider that is not there is refused, and where another may run in its place that is said."""

import json
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest
from commands import run_here

import onnxproof
from onnxproof.errors import RequestError
from onnxproof.runtime import load_plain
from onnxproof.runtime.session import SessionSettings, open_session, provider_notes

ROOT = Path(__file__).parents[3]
TINY = ROOT / "release" / "tiny"
SCENE = str(ROOT / "examples" / "digits" / "images" / "scene-01.png")
CPU, CUDA, AZURE, NONE = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Azure", "None"))

without_cuda = pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="ONNX Runtime has CUDA")
with_azure = pytest.mark.skipif(AZURE not in ort.get_available_providers(), reason="not built in")


@pytest.mark.parametrize("open_it", [onnxproof.load, load_plain], ids=["load", "load-plain"])
def test_what_is_not_there_is_refused_unless_another_may_run(open_it: Any) -> None:
    with pytest.raises(RequestError, match=f'provider "{NONE}" is not in this ONNX Runtime; there are: '):
        open_it(TINY, providers=[NONE, CPU])
    with pytest.warns(RuntimeWarning, match=f"{NONE} is not there, or cannot start .*: {CPU} runs instead"):
        opened = open_it(TINY, providers=[NONE, CPU], fallback=True)
    assert opened.session.get_providers() == [CPU]
    with pytest.warns(RuntimeWarning, match=f"{CPU} runs instead"):
        open_it(TINY, providers=[NONE], fallback=True)


@pytest.mark.parametrize("open_it", [onnxproof.load, load_plain], ids=["load", "load-plain"])
def test_one_name_is_one_provider(open_it: Any) -> None:
    assert open_it(TINY, providers=CPU).session.get_providers() == [CPU]


def test_options_of_what_is_not_there_do_not_stand_in_the_way() -> None:
    asked = SessionSettings((NONE, CPU), provider_options={NONE: {"device_id": "0"}}, fallback=True)
    assert open_session(TINY / "model.onnx", asked).get_providers() == [CPU]


@with_azure
def test_a_provider_that_runs_nothing_is_refused_unless_another_may_run() -> None:
    with pytest.raises(RequestError, match=rf"{AZURE} runs none of the file's \d+ nodes \(\d+ on {CPU}\)"):
        onnxproof.load(TINY, providers=[AZURE, CPU])
    with pytest.warns(RuntimeWarning, match=f"{AZURE} runs none"):
        onnxproof.load(TINY, providers=[AZURE, CPU], fallback=True)


def test_nodes_elsewhere_are_told() -> None:
    class Node:
        def __init__(self, provider: str, count: int) -> None:
            self.ep_name, self._count = provider, count

        def get_nodes(self) -> list[int]:
            return [0] * self._count

    class Session:
        def get_providers(self) -> list[str]:
            return [CUDA, CPU]

        def get_provider_graph_assignment_info(self) -> list[Node]:
            return [Node(CUDA, 7), Node(CPU, 2)]

    asked = SessionSettings((CUDA, CPU))
    assert provider_notes(Session(), asked) == (f"{CUDA} runs 7 of the file's 9 nodes; 2 on {CPU}",)


def test_predict_refuses_or_says_it() -> None:
    refused = run_here(["predict", str(TINY), SCENE, "--provider", NONE])
    assert (refused.code, refused.printed.count("\n")) == (2, 1)
    assert f'execution provider "{NONE}" is not in this ONNX Runtime' in refused.printed
    ran = run_here(["predict", str(TINY), SCENE, "--provider", NONE, "--fallback", "--jsonl"])
    assert ran.code == 0, ran.printed
    line, note = ran.printed.splitlines()
    assert "probs" in json.loads(line)
    expected = f"{NONE} is not there, or cannot start on this machine: {CPU} runs instead"
    assert note == f"note: {expected}"


@without_cuda
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_not_left_unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime itself takes the CPU, and says nothing that a program sees."""
    session = "onnxproof.runtime.session"
    monkeypatch.setattr(f"{session}.available_providers", lambda: (CUDA, CPU))
    with pytest.raises(RequestError, match=f'"{CUDA}" .* does not start .* \\({CPU} would run'):
        onnxproof.load(TINY, providers=[CUDA, CPU])
    with pytest.warns(RuntimeWarning, match=f"{CUDA} is not there, or cannot start .*: {CPU} runs instead"):
        onnxproof.load(TINY, providers=[CUDA, CPU], fallback=True)


def test_workers_take_no_provider() -> None:
    ran = run_here(["predict", str(TINY), SCENE, "--provider", CPU, "--workers", "1"])
    assert ran.code == 2
    assert "do not go with --provider" in ran.printed
