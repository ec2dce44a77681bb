"""Facts as parity.json has them, and back without loss."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import Any, TypeVar

from onnxproof.validate.facts import Decisions, Facts, Failure
from onnxproof.validate.measure import LabelMeasurement, Measurement

T = TypeVar("T")


def leg_to_json(facts: Facts) -> dict[str, Any]:
    """A leg's facts, without the measurements and findings that stand at the top of the document."""
    decisions = None
    if facts.decisions is not None:
        decisions = {key: item for key, item in facts.decisions.to_json().items() if key != "findings"}
    return {
        "leg": facts.leg,
        "reference": facts.reference,
        "oracle": facts.oracle,
        "oracle_missing": dict(facts.oracle_missing) or None,
        "cases": facts.cases,
        "pictures_named": facts.pictures_named,
        "interface": list(facts.interface),
        "not_run": [asdict(failure) for failure in facts.not_run],
        "misshapen": [asdict(failure) for failure in facts.misshapen],
        "labels": [asdict(label) for label in facts.labels],
        "constant_measurements": [asdict(measured) for measured in facts.constant_fields],
        "decisions": decisions,
        "all_rows": None if facts.all_rows is None else facts.all_rows.to_json(),
        "rows": facts.rows,
        "held_back": facts.held_back,
        "disorder": None if facts.disorder is None else [asdict(failure) for failure in facts.disorder],
        "repeated": list(facts.repeated),
    }


def facts_from_json(value: Mapping[str, Any]) -> tuple[Facts, ...]:
    fields: dict[str, list[Measurement]] = {}
    for entry in value["measurements"]:
        own = {key: item for key, item in entry.items() if key not in ("leg", "ratio_rms", "ratio_max")}
        fields.setdefault(entry["leg"], []).append(restored(Measurement, own))
    if "legs" not in value:
        return tuple(
            Facts(leg, (), len(value["cases"]), False, (), (), tuple(measured), (), None, {})
            for leg, measured in fields.items()
        )
    return tuple(
        _leg_from(leg, tuple(fields.get(leg["leg"], ())), value["findings"]) for leg in value["legs"]
    )


def _failures_from(value: Sequence[Mapping[str, Any]]) -> tuple[Failure, ...]:
    return tuple(restored(Failure, failure) for failure in value)


def _leg_from(leg: Mapping[str, Any], fields: tuple[Measurement, ...], findings: Mapping[str, Any]) -> Facts:
    decisions = None
    if leg["decisions"] is not None:
        own = {kind: [one for one in findings[kind] if one["leg"] == leg["leg"]] for kind in findings}
        decisions = Decisions.from_json({**leg["decisions"], "findings": own})
    labels = tuple(restored(LabelMeasurement, label) for label in leg["labels"])
    return Facts(
        leg=leg["leg"],
        interface=tuple(leg["interface"]),
        cases=leg["cases"],
        pictures_named=leg["pictures_named"],
        not_run=_failures_from(leg["not_run"]),
        misshapen=_failures_from(leg["misshapen"]),
        fields=fields,
        labels=labels,
        decisions=decisions,
        oracle_missing=_missing_from(leg["oracle_missing"], fields, labels),
        held_back=leg["held_back"],
        rows=leg["rows"],
        repeated=tuple(leg["repeated"]),
        all_rows=None if leg["all_rows"] is None else Decisions.from_json(leg["all_rows"]),
        constant_fields=tuple(restored(Measurement, entry) for entry in leg["constant_measurements"]),
        reference=leg["reference"],
        oracle=leg["oracle"],
        disorder=None if leg.get("disorder") is None else _failures_from(leg["disorder"]),
    )


def _missing_from(
    value: Mapping[str, str] | str | None,
    fields: Sequence[Measurement],
    labels: Sequence[LabelMeasurement],
) -> dict[str, str]:
    """Why fields have no oracle, by field. Older documents have one text for all fields."""
    if isinstance(value, str):
        names = [*(field.name for field in fields), *(label.name for label in labels)]
        return dict.fromkeys(names, value)
    return dict(value or {})


def function_to_json(facts: Facts) -> dict[str, Any]:
    """The facts of a graph, whole."""
    measured = [
        {**asdict(one), "ratio_rms": one.ratio_rms, "ratio_max": one.ratio_max} for one in facts.fields
    ]
    return {
        **leg_to_json(facts),
        "measurements": measured,
        "rounding": dict(facts.rounding),
        "rounding_constant": dict(facts.rounding_constant),
        "beyond": dict(facts.beyond),
    }


def function_from_json(value: Mapping[str, Any], findings: Mapping[str, Any] = MappingProxyType({})) -> Facts:
    """The inverse of ``function_to_json``. ``findings`` are the ties and defects, which it leaves out."""
    fields = tuple(
        restored(Measurement, {key: one[key] for key in one if key not in ("ratio_rms", "ratio_max")})
        for one in value["measurements"]
    )
    rounding, rounding_constant = (
        {name: NUMBERS.get(number, number) for name, number in value.get(key, {}).items()}
        for key in ("rounding", "rounding_constant")
    )
    return replace(
        _leg_from(value, fields, findings),
        rounding=rounding,
        rounding_constant=rounding_constant,
        beyond=dict(value["beyond"]),
    )


NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""The words for the numbers that JSON has none for."""


def in_words(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: in_words(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [in_words(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return next(word for word, number in NUMBERS.items() if repr(number) == repr(value))
    return value


TEXTS = frozenset("name unit status reason leg field case worst_case nonfinite_case".split())
"""The keys whose strings are texts, and not numbers in words."""


def restored(kind: type[T], value: Mapping[str, Any]) -> T:
    """A dataclass of numbers and texts from the document that ``asdict`` and ``in_words`` made of it."""
    return kind(
        **{
            key: tuple(item) if isinstance(item, list) else item if key in TEXTS else NUMBERS.get(item, item)
            for key, item in value.items()
        }
    )
