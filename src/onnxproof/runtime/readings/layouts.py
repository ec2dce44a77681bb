"""The layouts that detections are read from. A file has one; those of ``boxes`` need none of the others."""

from collections.abc import Mapping

from onnxproof.document import Entry
from onnxproof.runtime.readings.boxes import BOXES, Candidates, ChannelBoxes, PackedBoxes, SplitBoxes
from onnxproof.runtime.readings.cells import CellBoxes
from onnxproof.runtime.readings.padded import PaddedReading
from onnxproof.runtime.readings.rows import RowReading, Rows
from onnxproof.runtime.readings.scored_anchors import AnchorBoxes, ScoredAnchors
from onnxproof.runtime.readings.sets import SETS, QuerySet, RowSet, SplitSet

Reading = (
    PackedBoxes
    | SplitBoxes
    | ChannelBoxes
    | CellBoxes
    | AnchorBoxes
    | RowReading
    | SplitSet
    | QuerySet
    | RowSet
)

READINGS: Mapping[str, type[Reading]] = {
    **BOXES,
    "none": CellBoxes,
    "nms": RowReading,
    "nms-padded": PaddedReading,
}
"""The layout for each value of "decode". If the manifest also has a "head", "none" is AnchorBoxes; if it has
"nms", which is "none", the layouts are those of ``SETS``."""

Evidence = Candidates | ScoredAnchors | Rows


def read(entry: Entry) -> Reading:
    """The reading that a manifest's ``postprocess`` describes; ModelFileError for any other object."""
    table = entry.free_table()
    kinds: Mapping[str, type[Reading]] = SETS if "nms" in table else READINGS
    decode = table.get("decode", Entry(None, f"{entry.key}.decode")).text(tuple(kinds))
    with entry.naming():
        if "nms" in table:
            return SETS[decode].read(entry)
        if decode == "none" and "head" in table:
            return AnchorBoxes.read(entry)
        return READINGS[decode].read(entry)
