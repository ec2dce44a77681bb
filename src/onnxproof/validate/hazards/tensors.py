"""The tensors that the file holds: NaN and infinity, bytes wasted, external data."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxproof.graph import Array, Stored, UnreadableError, attribute_of
from onnxproof.runtime.beside import led_out
from onnxproof.validate.hazards._hazard import Hazard, Subject, advised, failed, listed, passed, skipped
from onnxproof.validate.verdict import Check

FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)

CHUNK = 2**22
"""Elements that are looked at together, to bound memory."""

WORTH_TELLING = 1024
"""Bytes. Less waste than this in total is not reported."""

SPREADS_INFINITY: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "InstanceNormalization"), (1, 2)),
    **dict.fromkeys(("LayerNormalization", "GroupNormalization"), (1, 2)),
    **dict.fromkeys(("BatchNormalization",), (1, 2, 3, 4)),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), (1, 2, 3)),
    **dict.fromkeys(("MatMul", "Mul"), (0, 1)),
    "Div": (0,),
    "PRelu": (1,),
    "Resize": (2,),
}
"""The inputs at which operators read a weight, a bias, a scale or a factor. An infinity there reaches the
output."""

BOUNDS: Mapping[str, tuple[int, ...]] = {
    "Clip": (1, 2),
    "Where": (1, 2),
    "Max": tuple(range(16)),
    "Min": tuple(range(16)),
    "Pad": (2,),
    **dict.fromkeys("Equal Greater GreaterOrEqual Less LessOrEqual".split(), (0, 1)),
}
"""The inputs at which an infinity is a bound, a fill, or an operand of a comparison."""


@dataclass(frozen=True, slots=True)
class _Extremes:
    nans: int
    infinities: int
    others: bool

    @property
    def is_mask(self) -> bool:
        """Whether all other elements are zeros, as in a mask that is added, or in a fill."""
        return not self.others


def look_for_nonfinite(subject: Subject) -> Check:
    """Look for NaN anywhere, and for infinities that are no mask, fill or bound.

    An infinity is harmless in two cases:

    - The tensor has only infinities and zeros (an attention mask, the fill of a Where, the start of a
      maximum), and it is not read as a weight, a bias or a factor.
    - It is read only as a bound of Clip, Max or Min, as a branch of Where, as Pad's fill, or in a comparison.
    """
    bad, harmless, unread = [], 0, []
    for stored in subject.graph.stored:
        if stored.dtype not in FLOATS:
            continue
        try:
            found = _extremes(stored.array(subject.file))
        except UnreadableError as error:
            unread.append(str(error))
            continue
        if found.nans:
            bad.append(f"{stored.name} has {found.nans} NaN")
        elif found.infinities:
            spread = _read_at(stored, SPREADS_INFINITY, every=False)
            bound = _read_at(stored, BOUNDS, every=True)
            if bound or (found.is_mask and not spread):
                harmless += 1
            else:
                bad.append(f"{stored.name} has {found.infinities} infinities")
    bad += [f"{name} is filled with NaN" for name in _filled_with_nan(subject)]
    if bad:
        return failed("nonfinite", listed(bad), len(bad))
    if unread:
        return skipped("nonfinite", f"not all tensors can be read: {unread[0]}")
    return passed("nonfinite", f"{harmless} masks, fills or bounds are infinite" if harmless else "")


def _read_at(stored: Stored, places: Mapping[str, tuple[int, ...]], *, every: bool) -> bool:
    there = [at in places.get(node.op_type, ()) for node, at in stored.users]
    return bool(there) and (all(there) if every else any(there))


def _extremes(array: Array) -> _Extremes:
    flat = array.reshape(-1)
    nans = infinities = 0
    others = False
    for start in range(0, flat.size, CHUNK):
        chunk = flat[start : start + CHUNK]
        finite = np.isfinite(chunk)
        if not finite.all():
            nan = int(np.count_nonzero(np.isnan(chunk)))
            nans += nan
            infinities += int(chunk.size - np.count_nonzero(finite)) - nan
        others = others or bool(np.any(chunk[finite] != 0))
    return _Extremes(nans, infinities, others)


def _filled_with_nan(subject: Subject) -> Iterator[str]:
    for node in subject.graph.nodes:
        filling = attribute_of(node, "value", None) if node.op_type == "ConstantOfShape" else None
        if filling is not None and filling.dtype in FLOATS and np.isnan(filling.numpy()).any():
            yield str(node.outputs[0].name)


def look_for_waste(subject: Subject) -> Check:
    """Look for initializers that nothing reads, or that have the same bytes as another one. Always advice."""
    initializers = [stored for stored in subject.graph.stored if stored.initializer]
    used = subject.graph.used
    unused = [stored for stored in initializers if stored.name not in used]
    twice = list(_duplicates([stored for stored in initializers if stored.name in used], subject))
    wasted = sum(stored.bytes for stored in (*unused, *twice))
    if wasted < WORTH_TELLING:
        return passed("waste")
    parts = []
    if unused:
        parts.append(f"nothing reads {listed([stored.name for stored in unused])}")
    if twice:
        parts.append(f"{listed([stored.name for stored in twice])} hold what others hold")
    return advised("waste", f"{wasted} bytes are wasted: {'; '.join(parts)}", wasted)


def _duplicates(initializers: list[Stored], subject: Subject) -> Iterator[Stored]:
    """All but the first of the initializers with the same bytes. Reads only those of equal type and shape."""
    alike: dict[tuple[object, ...], list[Stored]] = defaultdict(list)
    for stored in initializers:
        alike[(stored.dtype, *stored.shape)].append(stored)
    for group in alike.values():
        if len(group) < 2:
            continue
        seen: set[bytes] = set()
        for stored in group:
            digest = _digest(stored, subject)
            if digest is not None and digest in seen:
                yield stored
            elif digest is not None:
                seen.add(digest)


def _digest(stored: Stored, subject: Subject) -> bytes | None:
    if stored.dtype == ir.DataType.STRING:
        return None
    try:
        array = stored.array(subject.file)
    except UnreadableError:
        return None
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    hashed = hashlib.blake2b(digest_size=16)
    for start in range(0, flat.size, 4 * CHUNK):
        hashed.update(flat[start : start + 4 * CHUNK].data)
    return hashed.digest()


def look_for_stray_data(subject: Subject) -> Check:
    """Look for external data at an absolute path, outside the model's folder, missing or of wrong length."""
    own = subject.file.name  # a large file's own tensors are read by their place in it
    outside = [
        (stored, place)
        for stored in subject.graph.stored
        if (place := stored.place) is not None and place.location != own
    ]
    if not outside:
        return passed("external_data")
    faults = []
    for stored, place in outside:
        link = led_out(subject.file, place.location)
        fault = place.fault(subject.file.parent, stored.bytes) if link is None else link.what
        if fault is not None:
            faults.append(f"{stored.name}: {fault}")
    if faults:
        return failed("external_data", listed(faults), len(faults))
    files = sorted({place.location for _, place in outside})
    return advised("external_data", f"the weights lie in {listed(files)}: ship it with the file", len(files))


NONFINITE = Hazard(
    "nonfinite",
    "a NaN or an infinity among the weights makes outputs NaN, perhaps only those that use that channel",
    "find where training or conversion made it (a division by zero, a float16 overflow), and export again",
    look_for_nonfinite,
)

WASTE = Hazard(
    "waste",
    "the file is larger than it needs to be; its outputs are the same",
    'export.simplify = "onnxsim", or tie the weights in the module',
    look_for_waste,
)

STRAY_DATA = Hazard(
    "external_data",
    "the file's weights are in another file, which may be missing on another machine, or may not be meant to "
    "be given away",
    "save again with onnx.save(..., save_as_external_data=True, location=...), the name without a folder, "
    "and ship both files",
    look_for_stray_data,
)
