"""Plain exports of transformers' networks for texts, judged by ``check`` against their folder."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import transformers
from once import Once
from onnx import TensorProto, helper, numpy_helper
from saved import MODELS, save
from torch import Tensor, nn

import onnxproof
from onnxproof.check import find_out
from onnxproof.errors import JobError, RequestError
from onnxproof.export.model import build_model
from onnxproof.finding.longest import longest
from onnxproof.job import Job
from onnxproof.pipeline import _opened
from onnxproof.validate.verdict import Verdict

FEW = ("validate.threads=1", "dims.batch=1..2", "dims.time=2..4")
OPEN = {0: "batch", 1: "sequence"}


class Logits(nn.Module):
    """The network as it is exported plainly: inputs by name, the logits alone."""

    def __init__(self, network: nn.Module, takes: Sequence[str], values: Mapping[str, int]) -> None:
        super().__init__()
        self.network, self.takes, self.values = network, tuple(takes), dict(values)

    def forward(self, *inputs: Tensor) -> Tensor:
        others = {name: torch.full_like(inputs[0], value) for name, value in self.values.items()}
        logits: Tensor = self.network(**dict(zip(self.takes, inputs, strict=True)), **others).logits
        return logits


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    logging: Any = transformers.utils.logging
    logging.disable_progress_bar()


def folder_of(once: Once, name: str) -> Path:
    return (
        once(f"transformers {name}", lambda folder: save(folder / "model", MODELS[name]) and None) / "model"
    )


def exported(folder: Path, name: str, takes: Sequence[str], file: Path, **values: int) -> Path:
    """TorchScript's export of a folder's network that takes these inputs. Others have one of ``values``."""
    network = getattr(transformers, MODELS[name].network).from_pretrained(folder).eval()
    ids = torch.randint(3, 39, (2, 5))
    example = tuple(ids if one == "input_ids" else torch.ones_like(ids) for one in takes)
    axes = dict.fromkeys(takes, OPEN) | {"logits": OPEN if "Token" in MODELS[name].network else {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch is about to give this exporter up
        torch.onnx.export(
            Logits(network, takes, values),
            example,
            str(file),
            dynamo=False,
            opset_version=18,
            input_names=list(takes),
            output_names=["logits"],
            dynamic_axes=axes,
        )
    return file


def failed(verdict: Verdict) -> list[str]:
    return [f"{check.link} {check.name}" for check in verdict.checks if check.status in ("fail", "error")]


def with_another_bias(file: Path) -> Path:
    """A copy whose class 1 has 3 more than the checkpoint says."""
    model = onnx.load(str(file))
    (bias,) = [one for one in model.graph.initializer if one.name.endswith("classifier.bias")]
    array = numpy_helper.to_array(bias).copy()
    array[1] += 3
    bias.CopyFrom(numpy_helper.from_array(array, bias.name))
    damaged = file.with_name("damaged.onnx")
    onnx.save(model, str(damaged))
    return damaged


# Which tokens count


def test_a_token_classifier_that_returns_logits_alone_is_judged(once: Once, tmp_path: Path) -> None:
    folder = folder_of(once, "roberta-tokens")
    file = exported(folder, "roberta-tokens", ("input_ids", "attention_mask"), tmp_path / "tags.onnx")
    verdict = onnxproof.check(file, against=folder, set=FEW)
    assert failed(verdict) == []
    noted = "the file does not return counted: it is judged with the steps that attention_mask keeps"
    assert noted in verdict.notes
    (facts,) = verdict.facts
    assert facts.decisions is not None
    assert facts.decisions.matched > 0
    wrong = onnxproof.check(with_another_bias(file), against=folder, set=FEW)
    assert {"function function", "runtime ratio_rms"} <= {*failed(wrong)}
    assert any(one.startswith("decisions") for one in failed(wrong))


def test_a_module_that_classifies_tokens_is_judged_likewise(once: Once, tmp_path: Path) -> None:
    folder, takes = folder_of(once, "roberta-tokens"), ("input_ids", "attention_mask")
    file = exported(folder, "roberta-tokens", takes, tmp_path / "tags.onnx")
    kind: Any = transformers.RobertaForTokenClassification
    inputs = {"input_ids": "int64[batch, time] in 0..39", "attention_mask": "int64[batch, time] as mask"}
    verdict = onnxproof.check_module(
        Logits(kind.from_pretrained(folder).eval(), takes, {}),
        file,
        inputs=inputs,
        dims={"batch": "1..2", "time": "2..4"},
        task="tokens",
        set=("validate.threads=1",),
    )
    assert failed(verdict) == []
    assert any("does not return counted" in note for note in verdict.notes)


def test_what_a_file_lacks_of_the_models_outputs_is_named(once: Once, tmp_path: Path) -> None:
    folder = folder_of(once, "clip")

    class Scores(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            kind: Any = transformers.CLIPModel
            self.network = kind.from_pretrained(folder).eval()

        def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            answered = self.network(
                input_ids=input_ids, pixel_values=pixel_values, attention_mask=attention_mask
            )
            scores: Tensor = answered.logits_per_image
            return scores

    ids = torch.randint(3, 39, (2, 5))
    file = tmp_path / "scores.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Scores(),
            (torch.rand(1, 3, 32, 32), ids, torch.ones_like(ids)),
            str(file),
            dynamo=False,
            input_names=["pixel_values", "input_ids", "attention_mask"],
            output_names=["logits_per_image"],
        )
    with pytest.raises(RequestError, match="of which the file has no image_embeds and no text_embeds"):
        onnxproof.check(file, against=folder, set=("validate.threads=1",))


# Inputs that the file does not take


def graph_of(takes: Sequence[str], file: Path) -> Path:
    """A file that takes these integers [batch, sequence] and returns some logits of three classes."""
    axes = ["batch", "sequence"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in takes]
    nodes = [
        helper.make_node("Cast", [takes[0]], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "last"], ["means"], keepdims=1),
        helper.make_node("Concat", ["means"] * 3, ["logits"], axis=1),
    ]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    last = helper.make_tensor("last", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(nodes, "g", inputs, [logits], [last])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)
    return file


def test_an_input_that_the_file_lacks_is_left_to_the_networks_default(once: Once, tmp_path: Path) -> None:
    folder = folder_of(once, "bert")
    file = exported(folder, "bert", ("input_ids", "attention_mask"), tmp_path / "one.onnx")
    verdict = onnxproof.check(file, against=folder, set=FEW)
    assert failed(verdict) == []
    assert "the file does not take token_type_ids: the network is given its default" in verdict.notes
    ids = exported(folder, "bert", ("input_ids",), tmp_path / "ids.onnx")
    found = find_out(ids, against=folder, set=FEW)
    assert "the file does not take attention_mask, token_type_ids: the network is given their defaults" in (
        found.notes
    )
    assert found.error < 1e-5
    assert found.job.model.kwargs == {"inputs": ["input_ids"]}


def test_another_value_than_the_networks_default_is_found(once: Once, tmp_path: Path) -> None:
    folder = folder_of(once, "bert")
    file = exported(folder, "bert", ("input_ids", "attention_mask"), tmp_path / "ones.onnx", token_type_ids=1)
    assert find_out(file, against=folder, set=FEW).error > 0.1


def test_an_input_without_a_default_that_serves_is_asked_for(once: Once, tmp_path: Path) -> None:
    file = graph_of(("attention_mask",), tmp_path / "mask.onnx")
    with pytest.raises(RequestError, match=r"does not take input_ids, token_type_ids, which .* needs: "):
        find_out(file, against=folder_of(once, "bert"), set=FEW)


def test_inputs_that_may_be_several_of_the_models_are_not_guessed(once: Once, tmp_path: Path) -> None:
    folder = folder_of(once, "bert")
    file = graph_of(("a", "b"), tmp_path / "named.onnx")
    with pytest.raises(RequestError, match="say which is which with --map a=input_ids"):
        find_out(file, against=folder, set=FEW)
    with pytest.raises(RequestError, match="say which is which with --map b=attention_mask"):
        find_out(file, against=folder, map={"a": "input_ids"}, set=FEW)


def job_for(folder: Path, **kwargs: Any) -> Job:
    model = {"family": "transformers", "checkpoint": str(folder), "kwargs": kwargs}
    return Job.from_document({"name": "texts", "model": model}, folder=Path(), source="the test")


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        pytest.param(["input_ids", "token"], "names token, and BertFor.* takes input_ids, att", id="unknown"),
        pytest.param("input_ids", "expected a list of names", id="no-list"),
        pytest.param([], "expected a list of names", id="none"),
    ],
)
def test_inputs_of_a_job_that_the_network_does_not_take_are_refused(
    inputs: Any, said: str, once: Once
) -> None:
    with pytest.raises(JobError, match=said):
        build_model(job_for(folder_of(once, "bert"), inputs=inputs))


def test_a_job_names_the_inputs_that_its_file_takes(once: Once) -> None:
    model, _ = build_model(job_for(folder_of(once, "bert"), inputs=["attention_mask", "input_ids"]))
    assert [spec.name for spec in model.contract.inputs] == ["input_ids", "attention_mask"]


# Default sizes


def test_a_default_that_pytorch_cannot_run_is_narrowed(once: Once, tmp_path: Path) -> None:
    folder = folder_of(once, "esm")  # 24 rows of positions, the first two for padding
    model, _ = build_model(job_for(folder))
    (found,) = longest(model, 1)
    assert (str(found.dim), found.most, "out of range" in found.reason) == ("2..22", 24, True)
    assert longest(model, 1, given=("time",)) == ()
    made = onnxproof.init(folder, out=tmp_path / "job.toml")
    assert str(made.job.dims["time"]) == "2..22"
    assert "what PyTorch runs: not 24" in (tmp_path / "job.toml").read_text(encoding="utf-8")
    opened = _opened(folder, ())
    assert {str(dim) for dim in opened.model.contract.dims} == {"1..8", "2..22"}
    assert any("PyTorch runs time up to 22, not up to 24" in note for note in opened.model.notes)
    assert str(_opened(folder, ("dims.time=2..24",)).job.dims["time"]) == "2..24"
    file = exported(folder, "esm", ("input_ids", "attention_mask"), tmp_path / "esm.onnx")
    seen = find_out(file, against=folder, set=("validate.threads=1",))
    assert str(seen.job.dims["time"]) == "2..22"
    assert any("PyTorch runs time up to 22" in note for note in seen.notes)


def test_a_default_that_pytorch_runs_stays(once: Once) -> None:
    for name in ("bert", "roberta-tokens"):
        model, _ = build_model(job_for(folder_of(once, name)))
        assert longest(model, 1) == ()
