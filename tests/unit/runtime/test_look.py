"""What the structure of a file says before it is loaded, and a session with limits."""

import pickle
import platform
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import hostile
import numpy as np
import onnx
import pytest
from hostile import integers, model, node
from hypothesis import given
from hypothesis import strategies as st

from onnxproof.errors import ModelFileError, RequestError
from onnxproof.runtime.guarded import GuardedSession
from onnxproof.runtime.look import look_at, look_at_bytes
from onnxproof.runtime.session import SessionSettings, open_bytes, open_session
from onnxproof.system.confined import MEMORY_VARIABLE, TIME_VARIABLE

X = {"x": np.ones((1, 3), np.float32)}
COUNT = (node("Shape", "x", "sizes"), node("Gather", "sizes at", "turns"))
AT = integers("at", 0, shape=[])


def risk_of(proto: onnx.ModelProto) -> str:
    return look_at_bytes(proto.SerializeToString(), "it").risk


@pytest.mark.parametrize(
    ("made", "says"),
    [
        pytest.param(hostile.of_loop(), "Loop", id="a-loop-without-a-count"),
        pytest.param(hostile.of_loop("t", [integers("t", 2**62, shape=[])]), "Loop", id="a-huge-count"),
        pytest.param(hostile.of_loop("t", before=[node("Add", "a a", "t")]), "Loop", id="a-computed-count"),
        pytest.param(hostile.with_size("Expand"), "8,589,934,592 elements", id="a-huge-size"),
        pytest.param(hostile.of_doublings(34), "doubles a value 34 times", id="doublings"),
        pytest.param(
            model(
                [node("Concat", "x" + " x" * 15, "y", axis=1)]
                + [node("Concat", "y" + " y" * 15, "y", axis=1)] * 4
            ),
            "doubles a value 20 times",
            id="copies-by-the-dozen",
        ),
        pytest.param(hostile.of_range(2**60), "array of 1,152,921,504,606,846,976", id="a-long-range"),
        pytest.param(hostile.of_range(2**23), "list of 8,388,608 numbers", id="a-range-that-may-be-a-shape"),
        pytest.param(
            model(
                [node("Range", "zero many one", "y")],
                tensors=[
                    onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, [], [size])
                    for name, size in (("zero", 0), ("many", 2**30), ("one", 1))
                ],
            ),
            "list of 1,073,741,824 numbers",
            id="a-range-of-floats",
        ),
        pytest.param(hostile.of_declared_list(2**40), "list of 1,099,511,627,776", id="a-declared-list"),
        pytest.param(hostile.of_computed_list(), "how many axes", id="a-computed-number-of-axes"),
        pytest.param(hostile.of_joined_list(80), "parts in one value", id="joined-with-the-one-before"),
        pytest.param(hostile.of_division("Div"), "divides integers", id="a-division-that-traps"),
        pytest.param(model([node("Relu", "x", "x")] * 20_001), "20,001 nodes", id="many-nodes"),
    ],
)
def test_what_is_opened_with_limits(made: onnx.ModelProto, says: str) -> None:
    assert says in risk_of(made)


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(hostile.of_loop("turns", [AT], COUNT), id="a-loop-over-a-size"),
        pytest.param(hostile.of_loop("t", [integers("t", 100, shape=[])]), id="a-loop-with-a-count"),
        pytest.param(hostile.of_branches(25), id="branches"),
        pytest.param(hostile.of_functions(20), id="functions"),
        pytest.param(hostile.of_doublings(8), id="a-few-doublings"),
        pytest.param(hostile.of_range(2**16), id="positions"),
        pytest.param(hostile.of_joined_list(10), id="a-joined-list"),
        pytest.param(
            hostile.of_axes(
                [
                    node("Shape", "x", "sizes"),
                    node("Shape", "sizes", "n"),
                    node("ConstantOfShape", "n", "list"),
                ]
            ),
            id="as-many-axes-as-a-tensor-has",
        ),
        pytest.param(
            model(
                [node("Expand", "fill sizes", "y")],
                tensors=[integers("fill", 2**63 - 1, shape=[]), integers("sizes", 1, 3)],
            ),
            id="a-large-number-to-fill-with",
        ),
        pytest.param(
            model(
                [node("Slice", "x a b", "y")],
                tensors=[integers("a", 0, 0), integers("b", 2**63 - 1, 2**31 - 1)],
            ),
            id="a-slice-to-the-end",
        ),
    ],
)
def test_what_is_opened_as_it_is(made: onnx.ModelProto) -> None:
    assert risk_of(made) == ""


def test_a_loop_inside_of_a_branch_is_seen() -> None:
    loop = hostile.of_loop().graph
    branch = node("If", "true", "z", then_branch=loop, else_branch=loop)
    assert "Loop" in risk_of(model([branch]))


@pytest.mark.parametrize(
    ("made", "says"),
    [
        pytest.param(hostile.of_functions(3000), "3,000 deep", id="a-chain"),
        pytest.param(hostile.of_functions(40, calls=2), r"10\^12 nodes", id="a-bomb"),
        pytest.param(hostile.of_recursion(), "without end", id="of-itself"),
        pytest.param(hostile.of_dims(*[1] * 100_000), "100,000 axes", id="ranks"),
    ],
)
def test_what_is_not_opened(made: onnx.ModelProto, says: str) -> None:
    with pytest.raises(ModelFileError, match=says):
        risk_of(made)


def test_large_weights_are_skipped(tmp_path: Path) -> None:
    weights = onnx.helper.make_tensor("w", onnx.TensorProto.INT64, [2**20], bytes(2**23), raw=True)
    onnx.save(model([node("Add", "x w", "y")], tensors=[weights]), tmp_path / "a.onnx")
    assert look_at(tmp_path / "a.onnx").risk == ""


@given(st.binary(max_size=200))
def test_any_bytes_can_be_looked_at(content: bytes) -> None:
    look_at_bytes(content, "it")


@given(st.data())
def test_any_damage_can_be_looked_at(data: st.DataObject) -> None:
    content = bytearray(hostile.of_loop("turns", [AT], COUNT).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    look_at_bytes(bytes(content), "it")


class TestGuarded:
    @pytest.fixture(autouse=True)
    def _limits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(TIME_VARIABLE, "20")
        monkeypatch.setenv(MEMORY_VARIABLE, "2")

    def open(self, made: onnx.ModelProto) -> GuardedSession:
        session = open_bytes(made.SerializeToString(), "the model", SessionSettings())
        assert isinstance(session, GuardedSession)
        return session

    def test_it_runs_as_a_session_does(self) -> None:
        two = node("Add", "one one", "two")
        session = self.open(hostile.of_loop("two", [integers("one", 1, shape=[])], [two]))
        assert [port.name for port in session.get_inputs()] == ["x"]
        assert session.get_inputs()[0].shape == [1, 3]
        assert session.get_modelmeta().graph_name == "hostile"
        (first,) = session.run(["y"], X)
        assert first.tolist() == [[4, 4, 4]]
        with pytest.raises(RuntimeError, match="Required inputs"):
            session.run(["y"], {})
        assert session.run(["y"], X)[0].tolist() == [[4, 4, 4]]

    def test_a_run_without_end_is_ended_and_stays_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(TIME_VARIABLE, "3")
        session = self.open(hostile.of_loop())
        assert session.child.limits.time_s == 3
        session.child.limits = replace(session.child.limits, time_s=0.5)  # to load it may take longer
        for _ in range(2):
            with pytest.raises(ModelFileError, match=f"took more than 0.5 s.*{TIME_VARIABLE}=SECONDS"):
                session.run(["y"], X)

    @pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="elsewhere nothing traps")
    def test_a_crash_is_an_error(self) -> None:
        with pytest.raises(ModelFileError, match=r"crashed ONNX Runtime \((SIGFPE|exit code)"):
            self.open(hostile.of_division("Div"))

    def test_memory_is_limited(self) -> None:
        # An older ONNX Runtime computes it while it loads the file.
        with pytest.raises((ModelFileError, RuntimeError), match=r"memory|alloc"):
            self.open(hostile.with_size("Expand")).run(["y"], X)

    def test_the_child_ends_with_its_session(self) -> None:
        session = self.open(hostile.of_loop())
        child = session.child.process
        del session
        assert child.wait(10) is not None

    @pytest.mark.parametrize("text", ["no", "-1", "0", "nan"])
    def test_a_limit_that_is_none(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        monkeypatch.setenv(TIME_VARIABLE, text)
        with pytest.raises(RequestError, match=f"{TIME_VARIABLE} is '{text}'; expected a number above 0"):
            self.open(hostile.of_loop())


def test_text_that_is_none(tmp_path: Path) -> None:
    for name in ("metadata-value-no-text", "axis-no-text", "operator-no-text", "input-no-text"):
        (tmp_path / "a.onnx").write_bytes(hostile.content_of(name))
        with pytest.raises(ModelFileError, match="is not UTF-8"):
            open_session(tmp_path / "a.onnx")


def test_settings_go_to_another_process_whatever_mapping_their_options_are() -> None:
    options = MappingProxyType({"CPUExecutionProvider": MappingProxyType({"a": "b"})})
    settings = SessionSettings(provider_options=options)
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert settings.listed() == [("CPUExecutionProvider", {"a": "b"})]
