"""Names of OpenTelemetry as Prometheus names: metrics with their unit and type, attributes, units.

Rules: https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/ and, where it leaves a choice,
what Prometheus' OTLP receiver does.
"""

import re
from dataclasses import dataclass
from typing import Literal

from otero.errors import BadInput

Strategy = Literal[
    "UnderscoreEscapingWithSuffixes", "UnderscoreEscapingWithoutSuffixes", "NoTranslation", "NoUTF8EscapingWithSuffixes"
]  # fmt: skip

UNITS = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes", "TiBy": "tibibytes",
    "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "TBy": "terabytes",
    "m": "meters", "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams",
    "Cel": "celsius", "Hz": "hertz", "1": "", "%": "percent",
}  # fmt: skip
"""UCUM's units in Prometheus' words; others stay as they are. "tibibytes" is Prometheus' own spelling."""
PER_UNITS = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}

_WORD = re.compile(r"[a-zA-Z0-9:]+")
_WORD_OR_UNDERSCORE = re.compile(r"[a-zA-Z0-9:_]+")
_NOT_WORD = re.compile(r"[^a-zA-Z0-9:]+")
_NOT_LABEL_CHARACTER = re.compile(r"[^a-zA-Z0-9_]")
_NOT_LABEL_CHARACTERS = re.compile(r"[^a-zA-Z0-9]+")
_DIGITS = "0123456789"


@dataclass(frozen=True, slots=True)
class Naming:
    """How names are translated: the `translation_strategy` of `otlp:` in prometheus.yml and its two options."""

    strategy: Strategy = "UnderscoreEscapingWithSuffixes"
    sanitize_underscores: bool = True
    preserve_underscores: bool = True

    @property
    def escapes(self) -> bool:
        """Whether names become those of the classic data model."""
        return self.strategy.startswith("UnderscoreEscaping")

    @property
    def adds_suffixes(self) -> bool:
        """Whether unit and type become part of a metric's name."""
        return self.strategy.endswith("WithSuffixes")

    def metric(self, name: str, unit: str, *, counter: bool = False, gauge: bool = False) -> str:
        """The name of a metric's family; `counter` says monotonic sum. Raises BadInput when nothing is left."""
        if not self.escapes:
            full = _with_suffixes(name, unit, counter, gauge) if self.adds_suffixes else name
            if not full:
                raise BadInput("the metric has no name")
            return full
        if self.adds_suffixes:
            full = "_".join(_words(name, unit, counter, gauge))
        else:
            full = "_".join(_WORD_OR_UNDERSCORE.findall(name))
        if full[:1] in _DIGITS:
            full = f"_{full}" if full else ""
        if not full or (full != name and not full.strip("_")):
            raise BadInput(f"nothing is left of the metric name {name!r} in Prometheus' alphabet")
        return full

    def label(self, name: str) -> str:
        """The label name of an attribute. Raises BadInput when nothing is left."""
        if not self.escapes:
            full = name
        elif self.preserve_underscores:
            full = self._valid_start(_NOT_LABEL_CHARACTER.sub("_", name))
        else:
            reserved = len(name) >= 4 and name.startswith("__") and name.endswith("__")
            inner = _NOT_LABEL_CHARACTERS.sub("_", name[2:-2] if reserved else name)
            full = self._valid_start(f"__{inner}__" if reserved else inner)
        if not full.strip("_"):
            raise BadInput(f"nothing is left of the attribute name {name!r} in Prometheus' alphabet")
        return full

    def _valid_start(self, label: str) -> str:
        if label[:1] in _DIGITS:
            return f"key_{label}" if label else ""
        if self.sanitize_underscores and label.startswith("_") and not label.startswith("__"):
            return f"key{label}"
        return label


def unit_name(unit: str) -> str:
    """A unit in Prometheus' words, for metadata: `By/s` is `bytes_per_second`."""
    main, per = _unit_suffixes(unit)
    full = "_".join(part for part in (_clean(main), _clean(per)) if part)
    return full.removeprefix("_").removesuffix("_")


def _words(name: str, unit: str, counter: bool, gauge: bool) -> list[str]:
    """The parts of an escaped name. A suffix that is a part already is not repeated; `total` and `ratio` move to the end."""
    words = _WORD.findall(name)
    main, per = map(_clean, _unit_suffixes(unit))
    per = "" if per == "per_" else per.removesuffix("_")
    if per in words:
        per = ""
    if main in words:
        main = ""
    if per:
        main = main.removesuffix("_")
    words += [part for part in (main, per) if part]
    if counter:
        words = [*(word for word in words if word != "total"), "total"]
    if gauge and unit == "1":
        words = [*(word for word in words if word != "ratio"), "ratio"]
    return words


def _with_suffixes(name: str, unit: str, counter: bool, gauge: bool) -> str:
    """A name in any alphabet with its suffixes, each once and in their order: unit, per unit, total, ratio."""
    main, per = _unit_suffixes(unit)
    endings: list[str] = []
    if gauge and unit == "1":
        name = _without(name, "ratio")
        endings.append("ratio")
    if counter:
        name = _without(name, "total")
        endings.append("total")
    if per:
        name = _without(name, per)
        endings.append(per)
    if main and not name.endswith(main):
        name = f"{name}_{main}"
    for ending in reversed(endings):
        name = f"{name}_{ending}"
    return name


def _without(name: str, ending: str) -> str:
    """The name without an ending and the one character that joins it."""
    if name.endswith(ending) and len(name) > len(ending) + 1:
        return name[: -len(ending) - 1]
    return name


def _unit_suffixes(unit: str) -> tuple[str, str]:
    """The words of `main/per`; annotations in braces say nothing of the unit."""
    main, _, per = (part.strip() for part in unit.partition("/"))
    main = "" if "{" in main or "}" in main else UNITS.get(main, main)
    per = "" if "{" in per or "}" in per else PER_UNITS.get(per, per)
    return main, f"per_{per}" if per else ""


def _clean(unit: str) -> str:
    return _NOT_WORD.sub("_", unit).removeprefix("_")
