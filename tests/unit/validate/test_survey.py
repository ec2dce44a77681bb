"""Many pictures: however they are cut and in whatever order chunks come, one and the same comes out."""

import json
import pickle
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from contracts import contract
from PIL import Image

from onnxproof.contract import Preprocess
from onnxproof.errors import CheckError, RequestError
from onnxproof.runtime.port import Port
from onnxproof.tensors import Dim, Field, TensorSpec
from onnxproof.validate.facts import Facts, Failure
from onnxproof.validate.facts_json import function_to_json
from onnxproof.validate.judge import ranks_of
from onnxproof.validate.legs.leg import Answer, Arrays, Ports, Truth
from onnxproof.validate.policy import FLOAT_FLOOR, REPEATS
from onnxproof.validate.survey.check import judge_pictures
from onnxproof.validate.survey.figures import PictureFigures
from onnxproof.validate.survey.gathered import Gathered
from onnxproof.validate.survey.measured import (
    About,
    cases_of,
    decoded,
    encoded,
    measure_again,
    measure_pictures,
)
from onnxproof.validate.sweep import sweep
from onnxproof.validate.trial import Trial

SIDE, CLASSES, COUNT = 8, 5, 30
HEIGHT, WIDTH = Dim("height", SIDE, SIDE), Dim("width", SIDE, SIDE)
SPEC = TensorSpec("x", "float32", ("batch", 3, "height", "width"), (0.0, 1.0))
OUT = TensorSpec("logits", "float32", ("batch", CLASSES))
CONTRACT = contract(
    task="classification",
    inputs=(SPEC,),
    outputs=(OUT,),
    dims=(Dim("batch", 1, 2), HEIGHT, WIDTH),
    fields=(Field("logits", "logits", "logit"),),
    preprocess=Preprocess("x", "NCHW", "float32", 255, "stretch", SIDE, HEIGHT, WIDTH),
    classes=(),
    postprocess={"decode": "none", "outputs": ["logits"], "top_k": 2},
)


@dataclass(frozen=True)
class Logits:
    """Logits from a picture's first pixels, with noise that depends on the picture alone.

    The picture whose red mean is the largest has the logits that ``swapped`` says in another order, and the
    leg fails on pictures whose first pixel is ``fails``.
    """

    name: str
    noise: float = 0.0
    swapped: bool = False
    fails: int | None = None

    @property
    def ports(self) -> Ports:
        inputs, outputs = (Port(spec.name, spec.dtype, spec.shape) for spec in (SPEC, OUT))
        return Ports((inputs,), (outputs,))

    def run(self, inputs: Arrays) -> Answer:
        x = inputs["x"].astype(np.float64)
        first = round(float(x[0, 0, 0, 0]) * 255)
        if first == self.fails:
            raise ValueError("no kernel")
        noise = np.random.default_rng([*inputs["x"].tobytes()[:64], len(self.name)]).normal(size=CLASSES)
        logits = 4 * x[:, 0, 0, :CLASSES] + self.noise * noise
        if self.swapped and first == 7:
            logits = logits[:, ::-1]
        dtype = np.float64 if self.name == "oracle" else np.float32
        return Answer({"logits": logits.astype(dtype)}, {})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Pictures of noise, whose first pixel's red is their number; the fourth cannot be read."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(COUNT):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
        pixels[0, 0, 0] = number
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    (folder / "03.png").write_bytes(b"no picture")
    return tuple(sorted(folder.iterdir()))


def trial_of(candidate: Logits) -> Trial:
    truth = Truth(Logits("oracle"), Logits("reference", 1e-6))
    return Trial(CONTRACT, truth, (candidate,), ())


def about_of(trial: Trial) -> About:
    return About.of(trial, {"torch": "2"}, "x86")


def gathered_of(
    trial: Trial, pictures: Sequence[Path], size: int, order: Callable[[list[int]], None] = list.sort
) -> Gathered:
    """Cut into chunks of ``size``, measured, sent as bytes, and added up in an order."""
    chunks = [pictures[start : start + size] for start in range(0, len(pictures), size)]
    files = {
        str(number): encoded(measure_pictures(trial, about_of(trial), chunk))
        for number, chunk in enumerate(chunks)
    }
    numbers = list(range(len(chunks)))
    order(numbers)
    gathered = Gathered(files.__getitem__)
    for number in numbers:
        gathered.add(str(number), decoded(files[str(number)]))
    return gathered


def told(facts: Facts) -> str:
    decisions = None if facts.decisions is None else facts.decisions.to_json()
    return json.dumps([function_to_json(facts), decisions])


FAULTS = [
    pytest.param(Logits("healthy", 2e-6), id="healthy"),
    pytest.param(Logits("noisy", 3e-4), id="too-noisy"),
    pytest.param(Logits("swaps", 2e-6, swapped=True), id="swaps-one-picture"),
    pytest.param(Logits("fails", 2e-6, fails=7), id="fails-on-one-picture"),
]


def shuffled(numbers: list[int]) -> None:
    random.Random(3).shuffle(numbers)


@pytest.mark.parametrize("candidate", FAULTS)
def test_chunks_and_their_order_change_nothing(candidate: Logits, pictures: tuple[Path, ...]) -> None:
    trial = trial_of(candidate)
    whole = told(gathered_of(trial, pictures, COUNT).facts(0, FLOAT_FLOOR))
    for size, order in ((1, list.sort), (1, shuffled), (7, list.sort), (7, list.reverse), (11, shuffled)):
        assert told(gathered_of(trial, pictures, size, order).facts(0, FLOAT_FLOOR)) == whole


@pytest.mark.parametrize("candidate", FAULTS)
def test_it_is_what_a_sweep_finds(candidate: Logits, pictures: tuple[Path, ...]) -> None:
    """But for the second look, which ``sweep`` takes by itself, and what is told case by case."""
    trial = trial_of(candidate)
    gathered = gathered_of(trial, pictures, 4)
    facts = gathered.facts(0, FLOAT_FLOOR)
    assert (gathered.pictures, gathered.unread_count) == (COUNT - 1, 1)
    again = gathered.doubt(0, CONTRACT.fields, FLOAT_FLOOR)
    if again is not None:
        some = [picture for picture in pictures if str(picture) in again.cases]
        assert len(some) == len(again.cases)
        gathered.forget(again)
        for picture in some:
            measured = measure_again(trial, about_of(trial), [picture], 0, again.replicas)
            gathered.add_again(again, decoded(encoded(measured)))
        facts = gathered.facts(0, FLOAT_FLOOR, again.cases)
        assert facts.fields[0].count > (COUNT - 1) * CLASSES
        assert again.replicas == REPEATS // len(some)
    cases, _ = cases_of(trial, pictures)
    (wanted,) = sweep(trial.on(*cases))
    fields = tuple(replace(field, by_case=()) for field in wanted.fields)
    assert told(facts) == told(replace(wanted, fields=fields))


@pytest.mark.parametrize(
    ("candidate", "status", "says"),
    [
        pytest.param(
            FAULTS[0].values[0],
            "error",
            "1 of 30 pictures cannot be used",
            id="healthy",
        ),
        pytest.param(FAULTS[1].values[0], "fail", "ratio_rms logits", id="too-noisy"),
        pytest.param(FAULTS[2].values[0], "fail", "07.png", id="swaps-one-picture"),
        pytest.param(FAULTS[3].values[0], "fail", "runs: 1 of 29 cases, first", id="fails-on-one-picture"),
    ],
)
def test_one_bad_picture_among_many_is_no_pass(
    candidate: Logits, status: str, says: str, pictures: tuple[Path, ...]
) -> None:
    gathered = gathered_of(trial_of(candidate), pictures, 5)
    found = figures_of(gathered)
    check = judge_pictures(found, ranks_of(CONTRACT.fields))
    assert check.status == status
    assert says in check.reason
    back = PictureFigures.from_json(json.loads(json.dumps(found.to_json())))
    assert repr(back) == repr(found)


def figures_of(gathered: Gathered) -> PictureFigures:
    unread = tuple(Failure(*one) for one in gathered.unread)
    facts = gathered.facts(0, FLOAT_FLOOR)
    return PictureFigures(facts, gathered.unread_count, unread, 0, 0, 1, gathered.processors)


def test_pictures_that_all_cannot_be_read_prove_nothing(pictures: tuple[Path, ...]) -> None:
    gathered = gathered_of(trial_of(Logits("healthy")), [pictures[3]], 5)
    check = judge_pictures(figures_of(gathered), ranks_of(CONTRACT.fields))
    assert check.status == "error"
    assert "1 of 1 pictures cannot be used" in check.reason
    assert "03.png" in check.reason


def test_workers_with_other_packages_are_refused(pictures: tuple[Path, ...]) -> None:
    trial = trial_of(Logits("healthy"))
    gathered = gathered_of(trial, pictures[:4], 2)
    other = About.of(trial, {"torch": "1"}, "x86")
    with pytest.raises(CheckError, match="differ in versions"):
        gathered.add("other", measure_pictures(trial, other, pictures[4:6]))
    same = About.of(trial, {"torch": "2"}, "arm")
    gathered.add("same", measure_pictures(trial, same, pictures[4:6]))
    assert gathered.processors == ("arm", "x86")


class Harmful:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return print, ("this was run",)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(pickle.dumps(Harmful()), id="code"),
        pytest.param(pickle.dumps((1, 2)), id="another-value"),
        pytest.param(b"half a", id="damaged"),
    ],
)
def test_what_is_kept_runs_nothing(content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RequestError, match="begin in a new folder"):
        decoded(content)
    assert capsys.readouterr().out == ""
