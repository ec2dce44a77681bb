"""Plain exports of transformers' networks for texts, judged by ``check`` against their folder."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import transformers
from once import Once
from onnx import numpy_helper
from saved import MODELS, save
from torch import Tensor, nn

import onnxproof
from onnxproof.errors import RequestError
from onnxproof.validate.verdict import Verdict

FEW = ("validate.threads=1", "dims.batch=1..2", "dims.time=2..4")
OPEN = {0: "batch", 1: "sequence"}


class Logits(nn.Module):
    """The network as it is exported plainly: inputs by name, the logits alone."""

    def __init__(self, network: nn.Module, takes: Sequence[str]) -> None:
        super().__init__()
        self.network, self.takes = network, tuple(takes)

    def forward(self, *inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(**dict(zip(self.takes, inputs, strict=True))).logits
        return logits


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    logging: Any = transformers.utils.logging
    logging.disable_progress_bar()


def folder_of(once: Once, name: str) -> Path:
    return (
        once(f"transformers {name}", lambda folder: save(folder / "model", MODELS[name]) and None) / "model"
    )


def exported(folder: Path, name: str, takes: Sequence[str], file: Path) -> Path:
    """TorchScript's export of a folder's network that takes these inputs."""
    network = getattr(transformers, MODELS[name].network).from_pretrained(folder).eval()
    ids = torch.randint(3, 39, (2, 5))
    example = tuple(ids if one == "input_ids" else torch.ones_like(ids) for one in takes)
    axes = dict.fromkeys(takes, OPEN) | {"logits": OPEN if "Token" in MODELS[name].network else {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch is about to give this exporter up
        torch.onnx.export(
            Logits(network, takes),
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
