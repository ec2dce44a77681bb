"""Run a bundle or a lone ONNX file on a picture, on arrays or on both. The file's own metadata says how."""

import time
from collections.abc import Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from onnxproof.contract import Contract
from onnxproof.errors import ModelFileError, OnnxproofError, PictureError, RequestError
from onnxproof.runtime.feeds import feeds_of, require_beside_picture, shapes_of, sizes_of
from onnxproof.runtime.finite import why_undecided
from onnxproof.runtime.manifest import Manifest
from onnxproof.runtime.prediction import Prediction
from onnxproof.runtime.preprocess import Picture, Transform
from onnxproof.runtime.preprocess.picture import pictures_of
from onnxproof.runtime.session import first_line
from onnxproof.runtime.stream import Stream
from onnxproof.runtime.tasks import get_task
from onnxproof.runtime.timings import Timings
from onnxproof.system.shortage import shortage, shows_shortage
from onnxproof.system.signatures import argument
from onnxproof.tensors import dims_by_name

Array = NDArray[Any]

RAW_ADVICE = (
    "the task is raw: nothing is decided from the outputs; take them as they are, Predictor.run, on the "
    "command line --raw"
)
BATCH = 8
"""How many pictures of a list are run at once."""

AHEAD = 32
"""How many pictures a stream holds at most: from the first that is not answered to the last that is read."""

NO_INPUTS: Mapping[str, Array] = MappingProxyType({})

_Fed: TypeAlias = tuple[dict[str, Array], Transform | None]
"""A checked array for each input, and the picture's transform."""


class Predictor:
    """A loaded model. Made by ``load``; safe to call from several threads."""

    def __init__(self, session: Any, manifest: Manifest, contract: Contract) -> None:
        """``manifest`` is the file's; ``contract`` is its contract with the settings that the user chose."""
        self.session = session
        self.manifest = manifest
        self.contract = contract
        self._task = get_task(self.contract.task)

    @property
    def decides(self) -> bool:
        """Whether the task decides anything from the outputs."""
        return self._task.decides

    @overload
    def predict(
        self, picture: Picture | None = None, inputs: Mapping[str, Array] = NO_INPUTS
    ) -> Prediction: ...

    @overload
    def predict(
        self, picture: list[Any] | tuple[Any, ...], inputs: Mapping[str, Array] = NO_INPUTS
    ) -> tuple[Prediction, ...]: ...

    def predict(
        self,
        picture: Picture | list[Any] | tuple[Any, ...] | None = None,
        inputs: Mapping[str, Array] = NO_INPUTS,
    ) -> Prediction | tuple[Prediction, ...]:
        """The decisions on one picture, on arrays by input name, or on a picture beside arrays.

        ``picture`` is a path, a file's bytes, a file that is open for reading bytes, a PIL image, or uint8
        [H, W, 3] in RGB, for the input that takes pictures. A list of pictures gets a tuple of predictions,
        in its order; ``predict_each`` goes on where one of them is bad. In a picture's place an array may be
        given for that input, preprocessed as the manifest's ``preprocess`` says; then boxes and masks are in
        that array's pixels. The arrays hold one row. An array without the first axis, of size 1, gets it.

        Raises PictureError if a picture cannot be read or fitted, or if nothing can be decided because the
        model answers NaN. Raises RequestError if the inputs differ from the model's in name, dtype, rank or
        declared size, if they hold several rows, or if the task is raw. Raises ModelFileError if ONNX Runtime
        cannot run the file.
        """
        if isinstance(picture, list | tuple):
            found = []
            for one in self.predict_each(picture, inputs, batch=BATCH):
                if isinstance(one, PictureError):
                    raise one
                found.append(one)
            return tuple(found)
        if not self._task.decides:
            raise RequestError(RAW_ADVICE)
        feeds, transform = feeds_of(self.contract, picture, inputs)
        made = self._decided(feeds, transform, given=bool(inputs))
        if len(made) != 1:
            raise RequestError(
                f"the inputs hold {len(made)} rows, and predict decides on one: give one row at a time, "
                "or take all outputs, Predictor.run, on the command line --raw"
            )
        (only,) = made
        if isinstance(only, PictureError):
            raise only
        return only

    def predict_each(
        self, pictures: Iterable[Picture], inputs: Mapping[str, Array] = NO_INPUTS, *, batch: int = 1
    ) -> Generator[Prediction | PictureError, None, None]:
        """As ``stream``, in the caller's thread alone, and with no more than ``batch`` pictures held."""
        return self.stream(pictures, inputs, batch=batch, ahead=batch, readers=0)

    def stream(
        self,
        pictures: Iterable[Picture],
        inputs: Mapping[str, Array] = NO_INPUTS,
        *,
        batch: int = BATCH,
        ahead: int = AHEAD,
        readers: int = 1,
        timings: Timings | None = None,
    ) -> Generator[Prediction | PictureError, None, None]:
        """The decisions on each picture, in order; for one that cannot be used, the error in its place.

        The next pictures are decoded and prepared while the model runs. Pictures of one size are run up to
        ``batch`` at once, wherever they stand among others of other sizes, if the file takes batches and no
        ``inputs`` beside its pictures. ``pictures`` may be any iterable, such as a generator of a video's
        frames (uint8 [H, W, 3] in RGB), or one picture. At most ``ahead`` of them are held, and ``readers``
        threads decode (0: the caller's own, when it asks for the next). What the stages took is added to
        ``timings``. Close the iterator if you leave it early, so that nothing more is decoded. Raises as
        ``predict`` does.
        """
        if not self._task.decides:
            raise RequestError(RAW_ADVICE)
        for name, count in (("batch", batch), ("ahead", ahead), ("readers", readers)):
            argument(name, count, int)
        if min(batch, ahead, readers + 1) < 1:
            raise RequestError(
                f"batch, ahead and readers are {batch}, {ahead}, {readers}: expected 1 or more, of readers 0 "
                "or more"
            )
        several = pictures_of(pictures)
        told = Timings() if timings is None else timings
        given = bool(inputs)
        most = 1 if given else min(batch, self._largest_batch())

        def feed(picture: Picture) -> _Fed | PictureError:
            try:
                return feeds_of(self.contract, picture, inputs, told)
            except PictureError as error:
                return error

        def answer(fed: Sequence[_Fed | PictureError]) -> list[Prediction | PictureError]:
            told.add(pictures=len(fed))
            good = [one for one in fed if not isinstance(one, PictureError)]
            return [*self._together(good, most, given=given, told=told)] if good else [*_errors(fed)]

        def size_of(fed: _Fed | PictureError) -> Hashable | None:
            return None if isinstance(fed, PictureError) else tuple(shapes_of(fed[0]).items())

        yield from Stream(feed, size_of, answer, batch=most, ahead=ahead, readers=readers).over(several)

    def _largest_batch(self) -> int:
        """How many pictures the file takes at once."""
        spec, specs = self.contract.preprocess, self.contract.inputs
        if spec is None or len(specs) > 1 or not specs[0].shape:
            return 1
        axis = specs[0].shape[0]
        dims = dims_by_name(self.contract.dims)
        return dims[axis].max if isinstance(axis, str) and axis in dims else 1

    def _together(
        self, waiting: Sequence[_Fed], most: int, *, given: bool, told: Timings | None = None
    ) -> Iterator[Prediction | PictureError]:
        """The predictions on inputs of one size, run at once in batches that the file declares."""
        left = list(waiting)
        while left:
            count = min(most, len(left))
            if most > 1:
                axis = self.contract.inputs[0].shape[0]
                count = min(dims_by_name(self.contract.dims)[str(axis)].floor(count), len(left))
            chunk, left = left[:count], left[count:]
            feeds = chunk[0][0]
            if count > 1:
                feeds = {name: np.concatenate([one[name] for one, _ in chunk]) for name in feeds}
            yield from self._decided(feeds, *(transform for _, transform in chunk), given=given, told=told)

    def _decided(
        self,
        feeds: Mapping[str, Array],
        *transforms: Transform | None,
        given: bool,
        told: Timings | None = None,
    ) -> tuple[Prediction | PictureError, ...]:
        """The decisions on each row of the inputs, or why there are none.

        There is a transform for each row, or one for all.
        """
        start = time.perf_counter()
        outputs = self._run(feeds, given=given)
        ran = time.perf_counter()
        made: list[Prediction | PictureError] = []
        rows = self._task.evidence(outputs, sizes_of(self.contract, feeds), self.contract.reading, {})
        names, needs_all = self.contract.reading.outputs, self._task.needs_all
        for number, evidence in enumerate(rows):
            reason = why_undecided(outputs, names, number, len(rows), needs_all=needs_all)
            if reason is not None:
                made.append(PictureError(reason))
                continue
            decisions = self._task.decide(evidence, self.contract.reading)
            transform = transforms[number if len(transforms) > 1 else 0]
            width = height = None
            if transform is not None:
                decisions = self._task.restore(decisions, transform)
                width, height = transform.picture_width, transform.picture_height
            made.append(Prediction(decisions, self.contract, width, height))
        if told is not None:
            told.add(run=ran - start, decide=time.perf_counter() - ran)
        return tuple(made)

    def warm_up(self, runs: int = 1) -> None:
        """Run the model on zeros of the smallest declared sizes, so that the first picture does not wait.

        Raises ModelFileError if ONNX Runtime cannot run the file.
        """
        smallest = {dim.name: dim.min for dim in self.contract.dims}
        feeds = {
            entry.name: np.zeros(
                [smallest.get(axis, 1) if isinstance(axis, str) else axis for axis in entry.shape],
                np.str_ if entry.dtype == "string" else entry.dtype,
            )
            for entry in self.contract.inputs
        }
        for _ in range(runs):
            self._run(feeds, given=False)

    def run(
        self, picture: Picture | None = None, inputs: Mapping[str, Array] = NO_INPUTS
    ) -> dict[str, Array]:
        """The raw outputs by name, for inputs as ``predict`` takes them, with any number of rows.

        Raises as ``predict`` does.
        """
        feeds, _ = feeds_of(self.contract, picture, inputs)
        return self._run(feeds, given=bool(inputs))

    def require_beside_picture(self, inputs: Mapping[str, Array]) -> None:
        """Raise RequestError if the model takes no picture, decides nothing, or takes other arrays beside a
        picture than ``inputs``."""
        if not self._task.decides:
            raise RequestError(RAW_ADVICE)
        require_beside_picture(self.contract, inputs)

    def _run(self, feeds: Mapping[str, Array], *, given: bool) -> dict[str, Array]:
        """Run the file. ``given`` says that some of the arrays are the user's own, and may be wrong."""
        names = [output.name for output in self.session.get_outputs()]
        try:
            # ONNX Runtime's exceptions have no common public base below Exception.
            return dict(zip(names, self.session.run(names, dict(feeds)), strict=True))
        except OnnxproofError:
            raise
        except Exception as error:
            if shows_shortage(error):
                raise RequestError(shortage("to run the model")) from error
            reason = first_line(error)
            listed = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in feeds.items())
            said = f"the model does not run on {listed} ({reason})"
            if given:
                declared = ", ".join(f"{entry.name}: {entry}" for entry in self.contract.inputs)
                raise RequestError(f"{said}: are the values those that it takes, {declared}?") from error
            raise ModelFileError(f"{said}: was the file changed? Export it again.") from error


def _errors(fed: Iterable[_Fed | PictureError]) -> Iterator[PictureError]:
    return (one for one in fed if isinstance(one, PictureError))
