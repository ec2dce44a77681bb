"""Run a bundle or a lone ONNX file on a picture, on arrays or on both. The file's own metadata says how."""

import importlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike, fspath
from types import MappingProxyType
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from onnxproof.contract import Contract, Preprocess
from onnxproof.errors import ModelFileError, OnnxproofError, PictureError, RequestError
from onnxproof.runtime.declared import as_declared
from onnxproof.runtime.manifest import Manifest
from onnxproof.runtime.prediction import Prediction
from onnxproof.runtime.preprocess import Picture, Transform, prepare, read_picture, transform_of
from onnxproof.runtime.session import first_line
from onnxproof.runtime.tasks import get_task
from onnxproof.runtime.timings import Timings
from onnxproof.tensors import dims_by_name
from onnxproof.text import meant

Array = NDArray[Any]

RAW_ADVICE = (
    "the task is raw: nothing is decided from the outputs; take them as they are, Predictor.run, on the "
    "command line --raw"
)
NO_PICTURE = b""
"""Takes the picture's place when only the other inputs are checked."""

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

        ``picture`` is a path, a file's bytes, a PIL image, or uint8 [H, W, 3] in RGB, for the input that
        takes pictures. A list of pictures gets a tuple of predictions, in its order; ``predict_each`` goes on
        where one of them is bad. In a picture's place an array may be given for that input, preprocessed as
        the manifest's ``preprocess`` says; then boxes and masks are in that array's pixels. The arrays hold
        one row. An array without the first axis, of size 1, gets it.

        Raises PictureError if a picture cannot be read or fitted. Raises RequestError if the inputs differ
        from the model's in name, dtype, rank or declared size, if they hold several rows, or if the task is
        raw. Raises ModelFileError if ONNX Runtime cannot run the file.
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
        feeds, transform = self._feeds(picture, inputs)
        made = self._decided(feeds, transform, given=bool(inputs))
        if len(made) != 1:
            raise RequestError(
                f"the inputs hold {len(made)} rows, and predict decides on one: give one row at a time, "
                "or take all outputs, Predictor.run, on the command line --raw"
            )
        return made[0]

    def predict_each(
        self, pictures: Iterable[Picture], inputs: Mapping[str, Array] = NO_INPUTS, *, batch: int = 1
    ) -> Iterator[Prediction | PictureError]:
        """The decisions on each picture, in order; for one that cannot be used, the error in its place.

        Up to ``batch`` pictures in a row that end in one size are run at once, if the file takes batches and
        no ``inputs`` beside its pictures. Pictures are read as they are needed. Raises as ``predict`` does
        otherwise.
        """
        if not self._task.decides:
            raise RequestError(RAW_ADVICE)
        most = min(batch, self._largest_batch()) if not inputs else 1
        waiting: list[_Fed] = []
        for picture in pictures:
            try:
                found = self._feeds(picture, inputs)
            except PictureError as error:
                yield from self._together(waiting, most, given=bool(inputs))
                waiting = []
                yield error
                continue
            if waiting and (_shapes(found[0]) != _shapes(waiting[0][0]) or len(waiting) == most):
                yield from self._together(waiting, most, given=bool(inputs))
                waiting = []
            waiting.append(found)
        yield from self._together(waiting, most, given=bool(inputs))

    def stream(
        self,
        pictures: Iterable[Picture],
        *,
        batch: int = BATCH,
        ahead: int = AHEAD,
        readers: int = 1,
        timings: Timings | None = None,
    ) -> Iterator[Prediction | PictureError]:
        """As ``predict_each``, with the next pictures decoded and prepared while the model runs.

        Pictures of one size are run up to ``batch`` at once, wherever they stand among others of other
        sizes; the answers keep the order of the pictures. ``pictures`` may be any iterable, such as a
        generator of a video's frames (uint8 [H, W, 3] in RGB): at most ``ahead`` of them are held, and
        ``readers`` threads decode. What the stages took is added to ``timings``. Raises as ``predict`` does.
        """
        if not self._task.decides:
            raise RequestError(RAW_ADVICE)
        if min(batch, ahead, readers) < 1:
            raise RequestError(
                f"batch, ahead and readers are {batch}, {ahead}, {readers}: expected 1 or more"
            )
        told = Timings() if timings is None else timings

        def feed(picture: Picture) -> _Fed | PictureError:
            try:
                return self._timed(picture, told)
            except PictureError as error:
                return error

        def answer(fed: Sequence[_Fed | PictureError]) -> list[Prediction | PictureError]:
            told.add(pictures=len(fed))
            good = [one for one in fed if not isinstance(one, PictureError)]
            return [*self._together(good, batch, given=False, told=told)] if good else [*_errors(fed)]

        # Imported only here, because threads take 2% of a cold start.
        streams = importlib.import_module("onnxproof.runtime.stream")
        found: Iterator[Prediction | PictureError] = streams.Stream(
            feed,
            lambda one: None if isinstance(one, PictureError) else tuple(_shapes(one[0]).items()),
            answer,
            batch=min(batch, self._largest_batch()),
            ahead=ahead,
            readers=readers,
        ).over(pictures)
        yield from found

    def _timed(self, picture: Picture, told: Timings) -> _Fed:
        """A picture as the model takes it."""
        start = time.perf_counter()
        image = read_picture(picture)
        decoded = time.perf_counter()
        try:
            return self._feeds(image, NO_INPUTS)
        except PictureError as error:
            if isinstance(picture, str | PathLike):
                raise PictureError(f"{fspath(picture)}: {error}") from error
            raise
        finally:
            told.add(decode=decoded - start, prepare=time.perf_counter() - decoded)

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
    ) -> Iterator[Prediction]:
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
    ) -> tuple[Prediction, ...]:
        """The decisions on each row of the inputs. There is a transform for each row, or one for all."""
        start = time.perf_counter()
        outputs = self._run(feeds, given=given)
        ran = time.perf_counter()
        made = []
        rows = self._task.evidence(outputs, self._sizes(feeds), self.contract.reading, {})
        for number, evidence in enumerate(rows):
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
        feeds, _ = self._feeds(picture, inputs)
        return self._run(feeds, given=bool(inputs))

    def require_beside_picture(self, inputs: Mapping[str, Array]) -> None:
        """Raise RequestError if the model takes no picture, decides nothing, or takes other arrays beside a
        picture than ``inputs``."""
        if not self._task.decides:
            raise RequestError(RAW_ADVICE)
        spec = self.contract.preprocess
        self._require_names(NO_PICTURE, inputs)
        rows = {entry.shape[0] for entry in self.contract.outputs if entry.shape}
        for entry in self.contract.inputs:
            if spec is None or entry.name != spec.input:
                as_declared(inputs[entry.name], entry, rows)

    def _feeds(
        self, picture: Picture | None, inputs: Mapping[str, Array]
    ) -> tuple[dict[str, Array], Transform | None]:
        """A checked array for each input, and the picture's transform (None if the model takes none)."""
        spec, transform = self.contract.preprocess, None
        self._require_names(picture, inputs)
        found: dict[str, Array] = {}
        if picture is not None:
            assert spec is not None
            found[spec.input], transform = prepare(picture, spec)
        rows = {entry.shape[0] for entry in self.contract.outputs if entry.shape}
        for entry in self.contract.inputs:
            if entry.name not in found:
                found[entry.name] = as_declared(inputs[entry.name], entry, rows)
        self._require_sizes(found)
        if spec is not None and transform is None:
            height, width = _sides(found[spec.input], spec)
            transform = (
                Transform(1, 1, 0, 0, width, height)
                if spec.network is None
                else transform_of((width, height), spec)
            )
        return found, transform

    def _require_names(self, picture: Picture | None, inputs: Mapping[str, Array]) -> None:
        spec, specs = self.contract.preprocess, self.contract.inputs
        listed = ", ".join(f"{entry.name} {entry}" for entry in specs)
        if picture is not None and spec is None:
            raise RequestError(
                f"the model's inputs are {listed}, none a picture: "
                "give arrays, --input NAME=FILE.npy (in Python, predict(inputs={name: array}))"
            )
        if picture is not None and spec is not None and spec.input in inputs:
            raise RequestError(f"input {spec.input} is given twice, as a picture and as an array: give one")
        unknown = sorted(inputs.keys() - {entry.name for entry in specs})
        if unknown:
            hint = meant(unknown[0], [entry.name for entry in specs])
            raise RequestError(f'the model has no input "{unknown[0]}"; there are: {listed}{hint}')
        for entry in specs:
            is_picture = spec is not None and spec.input == entry.name
            if entry.name in inputs or (is_picture and picture is not None):
                continue
            advice = (
                "give it a picture"
                if is_picture
                else f"--input {entry.name}=FILE.npy (in Python, predict(inputs={{name: array}}))"
            )
            raise RequestError(
                f"nothing is given for input {entry.name} {entry}: {advice}; the inputs are {listed}"
            )

    def _require_sizes(self, feeds: Mapping[str, Array]) -> None:
        """Raise RequestError if a named axis has two sizes, or one that is not declared."""
        dims = dims_by_name(self.contract.dims)
        seen: dict[str, tuple[int, str]] = {}
        for entry in self.contract.inputs:
            for axis, size in zip(entry.shape, feeds[entry.name].shape, strict=True):
                if not isinstance(axis, str):
                    continue
                before, owner = seen.setdefault(axis, (size, entry.name))
                if size != before:
                    raise RequestError(
                        f"the axis {axis} is {size} in input {entry.name} and {before} in input {owner}: "
                        "give arrays of one size"
                    )
                if axis in dims and not dims[axis].admits(size):
                    raise RequestError(
                        f"input {entry.name}: {axis} is {size}, expected one of the declared sizes "
                        f"{dims[axis]}: pad or cut the array, or export with other dims"
                    )

    def _sizes(self, feeds: Mapping[str, Array]) -> dict[str, int]:
        """The sizes of the inputs' named axes, of the picture's height and width, and of fixed dims."""
        sizes = {dim.name: dim.min for dim in self.contract.dims if dim.fixed}
        for entry in self.contract.inputs:
            shape = feeds[entry.name].shape
            sizes |= {
                axis: size for axis, size in zip(entry.shape, shape, strict=True) if isinstance(axis, str)
            }
        spec = self.contract.preprocess
        if spec is not None:
            height, width = _sides(feeds[spec.input], spec)
            sizes |= {spec.height.name: height, spec.width.name: width}
        return sizes

    def _run(self, feeds: Mapping[str, Array], *, given: bool) -> dict[str, Array]:
        """Run the file. ``given`` says that some of the arrays are the user's own, and may be wrong."""
        names = [output.name for output in self.session.get_outputs()]
        try:
            # ONNX Runtime's exceptions have no common public base below Exception.
            return dict(zip(names, self.session.run(names, dict(feeds)), strict=True))
        except OnnxproofError:
            raise
        except Exception as error:
            reason = first_line(error)
            listed = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in feeds.items())
            said = f"the model does not run on {listed} ({reason})"
            if given:
                declared = ", ".join(f"{entry.name}: {entry}" for entry in self.contract.inputs)
                raise RequestError(f"{said}: are the values those that it takes, {declared}?") from error
            raise ModelFileError(f"{said}: was the file changed? Export it again.") from error


def _errors(fed: Iterable[_Fed | PictureError]) -> Iterator[PictureError]:
    return (one for one in fed if isinstance(one, PictureError))


def _shapes(feeds: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in feeds.items()}


def _sides(array: Array, spec: Preprocess) -> tuple[int, int]:
    """The height and width of an input array for pictures."""
    height, width = array.shape[2:] if spec.layout == "NCHW" else array.shape[1:3]
    return height, width
