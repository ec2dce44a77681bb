"""Find the constants that a value takes its places from, such as the rows and columns of a grid."""

import math
from collections import deque
from collections.abc import Mapping

from onnxproof.graph import OnnxGraph
from onnxproof.validate.hazards._hazard import listed

Shape = tuple[int, ...]


def places_of(name: str, graph: OnnxGraph, shapes: tuple[Mapping[str, Shape], Mapping[str, Shape]]) -> str:
    """The constants behind a value, in words; "" if there are none. Of those of one shape, the nearest.

    ``shapes`` are those of all values at two sets of sizes. An input that is broadcast to another one of the
    same node is not followed, nor is one that varies beside one that does not.
    """
    makers = {str(value.name): node for node in graph.top for value in node.outputs}
    floats = {key: one for key, one in graph.constants.items() if one.dtype.is_floating_point()}
    one, other = shapes
    queue, seen = deque([name]), {name}
    found: dict[Shape, str] = {}
    while queue:
        read = queue.popleft()
        if read in floats and math.prod(floats[read].shape) > 1:
            found.setdefault(floats[read].shape, f"{read} {[*floats[read].shape]}")
        names = [str(value.name) for value in makers[read].inputs if value] if read in makers else []
        given = {key: one[key] for key in names if key in one and (key in floats or key in makers)}
        given = {key: shape for key, shape in given.items() if other.get(key) == shape} or given
        for key, shape in given.items():
            if key not in seen and not any(_within(shape, wide) for wide in given.values()):
                seen.add(key)
                queue.append(key)
    if not found:
        return ""
    constants = "constants" if len(found) > 1 else "constant"
    return f", by the {constants} {listed([*found.values()], ' and ')}"


def _within(shape: Shape, other: Shape) -> bool:
    """Whether a tensor of this shape is broadcast to another of the other shape, which has more elements."""
    if len(shape) > len(other) or math.prod(shape) >= math.prod(other):
        return False
    return all(a <= b for a, b in zip(reversed(shape), reversed(other), strict=False))
