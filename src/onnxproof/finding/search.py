"""Find the arrangement in which a file from elsewhere is the most like a checkpoint's model.

Both are run. Wrong arrangements of a right file differ from the model by far more than any fault.
"""

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from onnxproof.errors import JobError, RequestError
from onnxproof.finding import hosted
from onnxproof.finding.defaults import lacking, note_on, without
from onnxproof.finding.draft import Draft, toml_text, within_reach
from onnxproof.finding.feeding import Feeding
from onnxproof.finding.hosted import hosted_of, returned_by
from onnxproof.finding.tried import (
    TOOK_ITS_WORD,
    inputs_of,
    key_of,
    normalization_of,
    returned,
    small_cases,
)
from onnxproof.finding.unlike import (
    chosen_rows,
    says_nms,
    settings_of_nms,
    suppresses,
    why_chosen_rows_are_refused,
)
from onnxproof.graph import OnnxGraph
from onnxproof.job import Job
from onnxproof.normalizations import NORMALIZATIONS, in_words
from onnxproof.runtime.port import Port
from onnxproof.validate.another import another_model, weights_of
from onnxproof.validate.arranged import Arrangement
from onnxproof.validate.exact.record import known_of
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.legs.pytorch import OracleLeg, TorchLeg
from onnxproof.validate.likeness import (
    Arrays,
    Likeness,
    likest,
    likest_rows,
    names_in_order,
    outputs_fit,
    worst,
)
from onnxproof.validate.paired_runs import PairedRuns
from onnxproof.validate.renamed import refuse_unknown
from onnxproof.validate.stated import exact_leg
from onnxproof.validate.views import Normalization, View
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.registry import get_family

PADDED = "nms-padded"
CHOOSES = ("rows", PADDED)
"""The values of ``wrapper.decode`` with which a graph chooses its rows, and their number is fixed."""

WHOLE = "channels"
"""The value with which boxes and scores are one output. Taken apart, each is judged by what it is."""

GIVEN = ("scale_input", "channels_last", "input_dtype", "normalize", "mean", "std")
"""Keys of ``[wrapper]`` that say how the file takes pictures. If one is given, nothing is tried."""

NEAR = 100.0
"""Arrangements whose errors lie within this factor are compared in float64."""

UNLIKE = 10.0
"""Of a wrong file, arrangements whose errors lie within this factor tell nothing apart."""

ROUNDING = 1e-5
"""A relative difference that float32's rounding may make."""


@dataclass(frozen=True, slots=True, eq=False)
class Otherwise:
    """A file that normalises pictures otherwise than is stated: ``why`` in words.

    ``job`` is the file's job with the normalisation that is stated.
    """

    why: str
    job: Job


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """An arrangement in which the file was tried, and how far it then is from the model."""

    likeness: Likeness
    head: tuple[str, ...]
    decode: str
    view: View | None
    model: WrappedModel


class Search:
    """The search for the arrangement in which a file is the most like the model."""

    def __init__(
        self,
        file: Path,
        made: Draft,
        leg: OrtLeg,
        mapping: Mapping[str, str],
        given: Sequence[str],
        dtype: str = "float32",
    ) -> None:
        self.file, self.made, self.leg, self.mapping, self.given = file, made, leg, mapping, tuple(given)
        self.dtype = dtype
        keys = {key_of(text) for text in given}
        fixed_view = bool({f"wrapper.{key}" for key in GIVEN} & keys)
        fixed_decode = "wrapper.decode" in keys
        others = [one for one in made.recognised.heads if not {key_of(text) for text in one} & keys]
        self.heads = ((), *others)
        graph = OnnxGraph.read(file)
        tried = made.recognised.decodes
        self.decodes = tuple(name for name in tried if name != PADDED or suppresses(graph))
        self.decodes = ("",) if fixed_decode else self.decodes
        self.own: Normalization | None = None
        first = self._model(self.decodes[0], ())
        self.noted: tuple[str, ...] = ()
        left_out = lacking(leg.ports.inputs, first.contract, mapping)
        if left_out:
            build = partial(self._model, self.decodes[0])
            more, first = without(left_out, file, made, first.contract, given, build)
            self.given = (*self.given, more)
            self.noted = (note_on(left_out),)
        trained = None if fixed_view else normalization_of(made, first)
        self.own = None if trained is None else trained.normalization
        self.stated = "" if trained is None else trained.stated
        inputs = inputs_of(file, leg.ports.inputs, first.contract, mapping, made.checkpoint.file)
        self.feeding = Feeding.of(file, inputs, first, self.own, fixed=fixed_view)
        self.sizes = tuple(
            f"dims.{name}={size}"
            for name, size in self.feeding.sizes(file, first).items()
            if f"dims.{name}" not in keys
        )
        narrower = within_reach(made, first, (*self.given, *self.sizes))
        if narrower is not None:
            self.made, self.noted = narrower[0], (*self.noted, *narrower[1])
        task, said = made.job.model.task or "", says_nms(graph)
        self.chosen = chosen_rows(task, self._outputs(), said=said)
        self.thresholds = self._thresholds(keys)

    def best(self) -> Found:
        """The most similar arrangement. Raises RequestError if none has the file's outputs, or if the file is
        another model's."""
        tried: list[Found] = []
        told: list[str] = []
        models: list[tuple[tuple[str, ...], str, WrappedModel]] = []
        alike: set[tuple[str, ...]] = set()
        for head, decode in itertools.product(self.heads, self.decodes):
            if head in alike:
                continue
            way = ", ".join((*head, decode or "as given"))
            try:
                model = self._model(decode, (*self.sizes, *head, *self._more(decode)))
            except JobError as error:
                told.append(f"{way}: {error}")
                continue
            models.append((head, decode, model))
            returns = hosted.in_words(model.contract, self._hosted(model), self.leg.ports.outputs)
            told.append(f"{way}: {returns}")
            apart = any(one.head == head and one.likeness.unpacked is not None for one in tried)
            found = [] if decode == WHOLE and apart else [*self._tried(head, decode, model)]
            tried += found
            if any(one.likeness.alike(self.dtype) for one in found):
                alike.add(head)
        ranked = sorted(tried, key=lambda one: one.likeness.error)
        if ranked and not ranked[0].likeness.alike(self.dtype):
            # Of a wrong file, what is nearest by a little tells less than the layout that is tried first.
            limit, head = UNLIKE * ranked[0].likeness.error, ranked[0].head
            ranked = [one for one in tried if one.head == head and one.likeness.error <= limit]
        if ranked and ranked[0].likeness.alike(self.dtype):
            return self._sharpest(ranked)
        if self.chosen is not None and not ranked:
            raise why_chosen_rows_are_refused(
                self.file, self.chosen, self.made.checkpoint.file, self.made.recognised.decodes
            )
        weights = [weights_of(model) for _, _, model in models[-1:]]
        another = another_model(OnnxGraph.read(self.file), weights[0]) if weights else None
        known = self.made.recognised
        kind = known.family if known.variant is None else f"{known.family} {known.variant}"
        called = f"{self.made.checkpoint.file} ({kind})"
        if another is not None:
            raise RequestError(f"{self.file} is another model's file than {called}: {another}")
        if not ranked:
            for head, decode, model in models:
                wanted = returned_by(model.contract, self._hosted(model))
                names = names_in_order(wanted, self.leg.ports.outputs)
                if names is not None:
                    return Found(Likeness(math.inf, names), head, decode, self.feeding.views[0], model)
            theirs = ", ".join(f"{port.name} {port}" for port in self.leg.ports.outputs)
            raise RequestError(
                f"{self.file} returns {theirs}, and nothing that {called} returns fits that "
                f"({'; '.join(told)}): is it this checkpoint's file? --map FILE_NAME=NAME says which "
                "output is which"
            )
        return ranked[0]

    def _tried(self, head: tuple[str, ...], decode: str, model: WrappedModel) -> Iterator[Found]:
        """Each view in which the file could be run, on one case; the best of them on the other cases too.

        All views are tried: an untrained network answers almost alike whatever it gets.
        """
        if not outputs_fit(returned_by(model.contract, self._hosted(model)), self.leg.ports.outputs):
            return
        reference = TorchLeg(model, self.made.job.validation.threads)
        arrays = self.feeding.arrays(model, small_cases(model, self.made.job))
        ways = self.feeding.views
        runs = PairedRuns(self.leg, reference, self._hosted(model))
        chooses = decode in CHOOSES
        first = {view: self._likeness(runs, 0, arrays[0], view, chooses=chooses) for view in ways}
        found = [(one, view) for view, one in first.items() if one is not None]
        for rank, (one, view) in enumerate(sorted(found, key=lambda pair: pair[0].error)):
            likeness = one
            for number, more in enumerate(arrays[1:], 1):
                other = self._likeness(runs, number, more, view, chooses=chooses) if rank == 0 else None
                likeness = likeness if other is None else worst((likeness, other))
            yield Found(likeness, head, decode, view, model)

    def _likeness(
        self, runs: PairedRuns, number: int, arrays: Arrays, view: View | None, *, chooses: bool
    ) -> Likeness | None:
        fed, meant = self.feeding.fed(arrays, view), self.feeding.meant(arrays, view)
        theirs, ours = runs.of((number, view), fed, meant)
        if theirs is None:
            return None
        return likest_rows(theirs, ours, self.mapping) if chooses else likest(theirs, ours, self.mapping)

    def _sharpest(self, ranked: Sequence[Found]) -> Found:
        """The best of those that float32 does not tell apart, by float64: an untrained network answers almost
        alike whatever it gets."""
        near = max(ranked[0].likeness.error * NEAR, ROUNDING)
        close = [one for one in ranked if one.likeness.error <= near and one.decode == ranked[0].decode]
        # Stable: of several with one error, those that normalise as is stated go first.
        close.sort(key=lambda one: self.stated != "" and self._other(one) is not None)
        if len(close) < 2:
            return ranked[0]
        threads = self.made.job.validation.threads
        (case, *_) = small_cases(close[0].model, self.made.job)
        arrays = self.feeding.arrays(close[0].model, (case,))[0]
        chooses = close[0].decode in CHOOSES
        try:
            known = known_of(close[0].model, arrays)
            graph, _ = exact_leg(self.file, known, threads)
            models = {one.head: one.model for one in close}
            runs = {
                head: PairedRuns(graph, OracleLeg(model, threads), self._hosted(model))
                for head, model in models.items()
            }
            sharp = [self._likeness(runs[one.head], 0, arrays, one.view, chooses=chooses) for one in close]
        except Exception:  # noqa: BLE001 - a module that does not run in float64 raises any type
            return close[0]
        errors = [math.inf if one is None else one.error for one in sharp]
        return close[errors.index(min(errors))]

    def settled(self, found: Found) -> tuple[Job, Arrangement]:
        """The job that says what was found out, and how the file is brought into its form.

        Raises RequestError if ``mapping`` has a name that the file or the model does not have.
        """
        ports, contract = self.leg.ports, found.model.contract
        theirs = [[port.name for port in side] for side in (ports.inputs, ports.outputs)]
        ours = [[spec.name for spec in side] for side in (contract.inputs, contract.outputs)]
        refuse_unknown(self.mapping, theirs, ours)
        names = {port.name: name for name, port in self.feeding.inputs.items()} | dict(found.likeness.names)
        outputs = {spec.name for spec in found.model.contract.outputs}
        unpacked = found.likeness.unpacked
        used = {*found.likeness.names, *([] if unpacked is None else [unpacked.output])}
        left = tuple(port.name for port in self.leg.ports.outputs if port.name not in used)
        how = Arrangement(
            names,
            picture=self.feeding.picture,
            normalized=None if found.view is None else found.view.normalized,
            unbatched=self.feeding.place is not None and self.feeding.place.unbatched,
            turned=found.likeness.turned,
            left_out=tuple(f"{name}_left_out" if name in outputs else name for name in left),
            unpacked=unpacked,
            widened=any(port.dtype == "float16" for port in (*ports.inputs, *ports.outputs)),
            order=tuple(self.feeding.inputs) + tuple(spec.name for spec in found.model.contract.outputs),
            hosted=self._hosted(found.model),
        )
        taken = {name: f"{name}_left_out" for name in left if name in outputs}
        return self._job(found), replace(how, names={**names, **taken})

    def _job(self, found: Found, *, as_trained: bool = False) -> Job:
        """The job that says what was found out, but for the normalisation if ``as_trained``."""
        more = [*self.sizes, *self._fits(found.model), *found.head, *self._more(found.decode)]
        if found.decode not in ("", "auto"):
            more.append(f"wrapper.decode={found.decode}")
        if found.view is not None:
            wrapper = dict(found.view.wrapper)
            if self.feeding.place is not None and self.feeding.place.channels_last:
                wrapper["channels_last"] = True
            if as_trained:
                wrapper.pop("normalize", None)
            more += [f"wrapper.{key}={toml_text(value)}" for key, value in wrapper.items()]
        return self.made.again((*self.given, *more)).job

    def otherwise(self, found: Found) -> Otherwise | None:
        """How the file normalises pictures otherwise than is stated. Returns None if it does not, if nothing
        is stated, or if the file is wrong in any arrangement."""
        other = self._other(found)
        if self.own is None or not self.stated or other is None or not found.likeness.alike(self.dtype):
            return None
        does = (
            "does not normalise pictures"
            if other == NORMALIZATIONS["none"]
            else f"normalises pictures with {in_words(*other)}"
        )
        return Otherwise(
            f"the file {does}; expected {in_words(*self.own)}, which {self.stated} states",
            self._job(found, as_trained=True),
        )

    def _other(self, found: Found) -> Normalization | None:
        """With what the file normalises pictures, if that is not as the network was trained."""
        if self.own is None or found.view is None or found.view.inner_gets == self.own:
            return None
        gets = found.view.inner_gets
        return NORMALIZATIONS["none"] if isinstance(gets, str) else gets

    def _fits(self, model: WrappedModel) -> tuple[str, ...]:
        """To what a letterbox resizes pictures, as a value of ``[predict]``: the size that the file fixes."""
        spec = model.contract.preprocess
        given = {key_of(text) for text in self.given}
        if spec is None or spec.resize != "letterbox" or "predict.size" in given:
            return ()
        fixed = spec.height.fixed and spec.width.fixed
        return (f"predict.size={max(spec.height.max, spec.width.max)}",) if fixed else ()

    def notes(self, found: Found, how: Arrangement) -> Iterator[str]:
        """What was found out, in words."""
        yield from how.notes(frozenset(self.feeding.inputs))
        if found.view is not None and found.view.normalized is None:
            yield f"the file takes pictures {found.view.said}"
            if self.own is not None and not self.stated:
                yield TOOK_ITS_WORD
        if found.head:
            yield f"the file was exported with another head of the checkpoint: {', '.join(found.head)}"
        if len(self.decodes) > 1:
            yield f'the file\'s outputs are those of wrapper.decode = "{found.decode}"'
        if self._more(found.decode):
            told = ", ".join(text.removeprefix("validate.") for text in self._more(found.decode))
            yield f"the file's graph chooses its rows with {told.replace('=', ' ')}"
        yield from self.noted
        fixed = ", ".join(text.removeprefix("dims.").replace("=", " ") for text in self.sizes)
        if fixed:
            yield f"the exporter fixed sizes, and the file is judged at these: {fixed}"
        if math.isinf(found.likeness.error):
            yield "the file's outputs have other sizes than the checkpoint's: is it this checkpoint's file?"
        elif not found.likeness.alike(self.dtype):
            yield (
                "no arrangement of inputs and outputs that was tried makes the file agree with the "
                f"checkpoint; the nearest differs by {found.likeness.error:.2g} of the outputs' spread"
            )

    def _hosted(self, model: WrappedModel) -> Mapping[str, str]:
        return hosted_of(model.contract, self.leg.ports.outputs, self.mapping)

    def _model(self, decode: str, sizes: Sequence[str]) -> WrappedModel:
        """The model, its pictures in 0..1 and not normalised."""
        more = [*self.given, *sizes]
        if decode not in ("", "auto"):
            more.append(f"wrapper.decode={decode}")
        if self.own is not None:
            more.append("wrapper.normalize=none")
        job = self.made.again(more).job
        return get_family(job.model.family).build(job, self.made.checkpoint)

    def _outputs(self) -> Sequence[Port]:
        """The file's outputs, with the sizes that they have when it runs if it leaves them open."""
        ports = self.leg.ports.outputs
        if self.feeding.picture == "" or all(
            isinstance(size, int) for port in ports for size in port.shape[1:]
        ):
            return ports
        model = self._model(self.decodes[0], self.sizes)
        (arrays,) = self.feeding.arrays(model, small_cases(model, self.made.job)[:1])
        return returned(self.leg, self.feeding.fed(arrays, self.feeding.views[0]))

    def _thresholds(self, keys: Collection[str]) -> Mapping[str, str]:
        """How the file's graph chooses its rows, by the keys of ``[validate]`` that are not given."""
        rows = None if self.chosen is None else self.chosen.shape[1]
        found = {
            name: str(one) for name, one in settings_of_nms(OnnxGraph.read(self.file), self.file).items()
        }
        found |= {"max_detections": str(rows)} if isinstance(rows, int) else {}
        return {name: one for name, one in found.items() if f"validate.{name}" not in keys}

    def _more(self, decode: str) -> tuple[str, ...]:
        """The values of a job that say how rows are chosen, if ``decode`` has the graph choose them."""
        names = {"rows": ("max_detections",), PADDED: tuple(self.thresholds)}.get(decode, ())
        return tuple(f"validate.{name}={self.thresholds[name]}" for name in names if name in self.thresholds)
