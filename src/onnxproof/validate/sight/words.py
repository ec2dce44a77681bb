"""Why a picture ended in other decisions than in the framework, in words."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from onnxproof.contract import Preprocess
from onnxproof.runtime.preprocess import read_picture
from onnxproof.runtime.preprocess.lay import in_order, lay
from onnxproof.validate.sight.exchange import STAGES, Exchange, Stage, pixels_apart

LIBRARIES = {"pillow": "Pillow", "opencv": "OpenCV", "torch": "torchvision"}


def why(exchange: Exchange, stages: Collection[Stage], keys: tuple[str, ...]) -> str:
    """The cause of a difference that the exchange of ``stages`` removes. ``keys`` are those of the
    preprocessing that make it."""
    own = exchange.own.name
    told: Mapping[Stage, Callable[[], str]] = {
        "reading": lambda: _reading(exchange),
        "preprocessing": lambda: _preprocessing(exchange, keys),
        "graph": lambda: "the file in its runtime computes other values than the checkpoint in PyTorch",
        "settings": lambda: _settings(exchange),
        "decoding": lambda: (
            f"{own} come to other decisions from the same pixels: normalisation, decoding or NMS differ"
        ),
        "way back": lambda: f"decisions return to the picture by another transform than in {own}",
    }
    return "; ".join(told[stage]() for stage in STAGES if stage in stages)


UNEXPLAINED = (
    "not explained by any stage: called as a whole, the framework answers otherwise than its stages do"
)


def _reading(exchange: Exchange) -> str:
    apart = pixels_apart(read_picture(exchange.picture), exchange.own.read(exchange.picture))
    told = "its size differs" if apart is None else f"pixels differ by up to {apart} of 255"
    return f"the file is read otherwise than by {exchange.own.name}: {told}"


def _preprocessing(exchange: Exchange, keys: tuple[str, ...]) -> str:
    spec, own = exchange.spec, exchange.own.spec
    if keys:
        ours = ", ".join(_fitted(spec, key) for key in keys)
        theirs = ", ".join(_fitted(own, key) for key in keys)
        return f"the picture was {ours}; in {exchange.own.name} it is {theirs}"
    image = read_picture(exchange.picture)
    apart = pixels_apart(in_order(lay(image, spec)[0], spec), exchange.own.lay(image))
    told = "has another size" if apart is None else f"differs by up to {apart} of 255"
    return f"the input {told} from that of {exchange.own.name}, though all keys of the preprocessing agree"


def _fitted(spec: Preprocess, key: str) -> str:
    value = getattr(spec, key)
    if key == "filter":
        library, _, name = value.partition("-")
        return f"resized with {LIBRARIES[library]} {name}"
    if key == "padding":
        return f"padded with {_color(value)}"
    return {
        "resize": f"fitted by {value}",
        "size": f"resized to {value} px",
        "longest": f"limited to {value} px",
        "channels": f"given as {str(value).upper()}",
        "enlarge": "enlarged if small" if value else "not enlarged if small",
        "rounding": f"resized to sides rounded {'to the nearest' if value == 'nearest' else 'down'}",
        "place": f"placed at the {value}",
        "half": f"centred with half pixels rounded {'down' if value == 'down' else 'to even'}",
        "pad_to": "padded to the full size" if value == "size" else "padded to the least size",
        "height": f"fitted to a height of {value}",
        "width": f"fitted to a width of {value}",
    }[key]


def _color(value: tuple[int, int, int]) -> str:
    return str(value[0]) if len(set(value)) == 1 else str(list(value))


def _settings(exchange: Exchange) -> str:
    ours = exchange.contract.reading.settings()
    parts = [
        f"{name} is {_number(ours[name])}, in {exchange.own.name} {_number(value)}"
        for name, value in exchange.own.settings.items()
        if name in ours and ours[name] != value
    ]
    return ", ".join(parts) or "the settings of the decisions differ"


def _number(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"
