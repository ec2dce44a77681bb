"""What rows carry beside boxes, classes and scores, as it is measured: points, or what masks are made of."""

from collections.abc import Mapping

from onnxproof.runtime.readings.adjustable import Array
from onnxproof.runtime.readings.carried import CarriedReading, PaddedPoints


def point_quantities(points: Array) -> Mapping[str, Array]:
    """Coordinates of points [n, K, 2 or 3] in pixels, and their visibilities if there are any."""
    visibility = {"visibility": points[..., 2]} if points.shape[-1] == 3 else {}
    return {"point": points[..., :2], **visibility}


def mask_quantities(coefficients: Array, prototypes: Array) -> Mapping[str, Array]:
    """What masks are summed from."""
    return {"coefficient": coefficients, "prototype": prototypes}


def carried_quantities(reading: CarriedReading, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """The quantities of a leg's outputs, with its rows already chosen."""
    if isinstance(reading, PaddedPoints):
        return point_quantities(outputs[reading.carried])
    (prototypes,) = reading.shared
    return mask_quantities(outputs[reading.carried], outputs[prototypes])
