"""Native histograms as the test language writes them: `{{schema:1 sum:3 count:22 buckets:[5 10 7]}}`.

One object per histogram and plain arithmetic: this is the yardstick that the engine's columns are held against.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from otero.errors import BadInput
from otero.model.histograms import (
    CUSTOM,
    MAX_SCHEMA,
    MIN_SCHEMA,
    Histograms,
    ResetHint,
    index_of,
    negative,
    positive,
)

HINTS = {
    "unknown": ResetHint.UNKNOWN,
    "reset": ResetHint.RESET,
    "not_reset": ResetHint.NOT_RESET,
    "gauge": ResetHint.GAUGE,
}
"""Values of `counter_reset_hint`."""

_FIELD = re.compile(r"\s*([a-z_]+):\s*(\[[^\]]*\]|[^\s\[\]]+)(?=\s|$)")
_SCALARS = {"sum": "sum", "count": "count", "z_bucket": "zero_count", "z_bucket_w": "zero_threshold"}
_KEYS = frozenset(
    [*_SCALARS, "schema", "offset", "n_offset", "buckets", "n_buckets", "custom_values", "counter_reset_hint"]
)
_MAX_INDEX = 1 << 31


class HistogramError(BadInput):
    """A literal that cannot be read, or two histograms that cannot be combined."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """One native histogram. `positive` and `negative` hold counts by bucket index, zeros included.

    `hint` is None where the literal names none: an expectation then accepts any, a loaded histogram has UNKNOWN.
    """

    schema: int = 0
    sum: float = 0.0
    count: float = 0.0
    zero_threshold: float = 0.0
    zero_count: float = 0.0
    positive: dict[int, float] = field(default_factory=dict)
    negative: dict[int, float] = field(default_factory=dict)
    bounds: tuple[float, ...] = ()
    hint: ResetHint | None = None

    def __str__(self) -> str:
        """The literal, as short as it can be."""
        parts = [f"schema:{self.schema}"] if self.schema else []
        parts += [f"{name}:{_text(getattr(self, of))}" for name, of in _SCALARS.items() if getattr(self, of)]
        if self.bounds:
            parts.append(f"custom_values:[{' '.join(map(_text, self.bounds))}]")
        for prefix, counts in (("", _full(self.positive)), ("n_", _full(self.negative))):
            if counts:
                first = min(counts)
                run = [_text(counts.get(index, 0.0)) for index in range(first, max(counts) + 1)]
                parts += [f"{prefix}offset:{first}"] if first else []
                parts.append(f"{prefix}buckets:[{' '.join(run)}]")
        if self.hint is not None:
            parts.append(f"counter_reset_hint:{self.hint.name.lower()}")
        return "{{" + " ".join(parts) + "}}"

    def without_hint(self) -> "Histogram":
        return replace(self, hint=None)


def _text(number: float) -> str:
    whole = math.isfinite(number) and number == int(number) and abs(number) < 1e15
    return str(int(number)) if whole else repr(number)


def _full(counts: dict[int, float]) -> dict[int, float]:
    """The buckets that are not empty."""
    return {index: count for index, count in counts.items() if count != 0}


def read_histogram(text: str) -> Histogram:
    """What stands between `{{` and `}}`. Raises HistogramError."""
    fields: dict[str, str] = {}
    at = 0
    while text[at:].strip():
        found = _FIELD.match(text, at)
        if found is None:
            raise HistogramError(
                f'expected "key:value" in histogram "{{{{{text}}}}}", found "{text[at:].strip()}"'
            )
        name, value = found[1], found[2]
        if name not in _KEYS:
            raise HistogramError(f'unknown key "{name}" in histogram, known are: {", ".join(sorted(_KEYS))}')
        if name in fields:
            raise HistogramError(f'key "{name}" is twice in histogram "{{{{{text}}}}}"')
        fields[name] = value
        at = found.end()
    schema = _integer(fields, "schema")
    if schema != CUSTOM and not MIN_SCHEMA <= schema <= MAX_SCHEMA:
        raise HistogramError(
            f"histogram schema {schema} is none of {MIN_SCHEMA} to {MAX_SCHEMA} and {CUSTOM}"
        )
    hint = fields.get("counter_reset_hint")
    if hint is not None and hint not in HINTS:
        raise HistogramError(f'counter_reset_hint "{hint}" is none of {", ".join(HINTS)}')
    return Histogram(
        schema=schema,
        positive=_buckets(fields, "buckets", "offset"),
        negative=_buckets(fields, "n_buckets", "n_offset"),
        bounds=tuple(_numbers(fields, "custom_values")),
        hint=None if hint is None else HINTS[hint],
        **{of: _number(name, fields[name]) for name, of in _SCALARS.items() if name in fields},
    )


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise HistogramError(f'{name} of a histogram must be a number, not "{text}"') from None


def _integer(fields: dict[str, str], name: str) -> int:
    text = fields.get(name, "0")
    try:
        number = int(text)
    except ValueError:
        number = _MAX_INDEX
    if abs(number) >= _MAX_INDEX:
        raise HistogramError(f'{name} of a histogram must be a small whole number, not "{text}"')
    return number


def _numbers(fields: dict[str, str], name: str) -> list[float]:
    text = fields.get(name, "[]")
    if not text.startswith("["):
        raise HistogramError(f'{name} of a histogram must be a list like [1 2 3], not "{text}"')
    return [_number(name, item) for item in text[1:-1].split()]


def _buckets(fields: dict[str, str], name: str, offset: str) -> dict[int, float]:
    return dict(enumerate(_numbers(fields, name), _integer(fields, offset)))


def repeated(base: Histogram, step: Histogram, times: int, sign: int) -> list[Histogram]:
    """`base`, and what it is after adding (or subtracting) `step` once, twice, … up to `times`. Raises HistogramError."""
    out = [base]
    for _ in range(times):
        out.append(combined(out[-1], step, sign))
    return out


def combined(a: Histogram, b: Histogram, sign: int = 1) -> Histogram:
    """`a` with `b` added, or subtracted when sign is -1. Raises HistogramError when `b` is coarser than `a`."""
    if a.schema > b.schema or (a.schema == CUSTOM) != (b.schema == CUSTOM):
        raise HistogramError(f"error combining histograms: cannot merge from schema {b.schema} to {a.schema}")
    if a.schema == CUSTOM and a.bounds != b.bounds:
        raise HistogramError("error combining histograms: custom bounds differ")
    if a.zero_threshold != b.zero_threshold and (
        _full(a.positive) or _full(a.negative) or b.zero_threshold < a.zero_threshold
    ):
        raise HistogramError(
            "error combining histograms: zero buckets of different widths cannot be added in a series"
        )
    b = coarser(b, a.schema)
    return replace(
        a,
        sum=a.sum + sign * b.sum,
        count=a.count + sign * b.count,
        zero_count=a.zero_count + sign * b.zero_count,
        zero_threshold=max(a.zero_threshold, b.zero_threshold),
        positive=_added(a.positive, b.positive, sign),
        negative=_added(a.negative, b.negative, sign),
        hint=ResetHint.GAUGE if b.hint is ResetHint.GAUGE else a.hint,
    )


def _added(a: dict[int, float], b: dict[int, float], sign: int) -> dict[int, float]:
    out = dict(a)
    for index, count in b.items():
        out[index] = out.get(index, 0.0) + sign * count
    return out


def coarser(h: Histogram, schema: int) -> Histogram:
    """The histogram with the buckets of a lower resolution."""
    if h.schema == schema:
        return h
    shift = h.schema - schema

    def merged(counts: dict[int, float]) -> dict[int, float]:
        out: dict[int, float] = {}
        for index, count in counts.items():
            target = ((index - 1) >> shift) + 1
            out[target] = out.get(target, 0.0) + count
        return out

    return replace(h, schema=schema, positive=merged(h.positive), negative=merged(h.negative))


def agree(wanted: Histogram, got: Histogram, close: Callable[[float, float], bool]) -> bool:
    """Whether two histograms are equal but for empty buckets and what `close` takes for rounding.

    Counter reset hints are compared only where `wanted` names one.
    """
    full = [(_full(wanted.positive), _full(got.positive)), (_full(wanted.negative), _full(got.negative))]
    return (
        wanted.schema == got.schema
        and close(wanted.count, got.count)
        and close(wanted.sum, got.sum)
        and wanted.zero_threshold == got.zero_threshold
        and close(wanted.zero_count, got.zero_count)
        and (wanted.schema != CUSTOM or wanted.bounds == got.bounds)
        and all(a.keys() == b.keys() and all(close(a[i], b[i]) for i in a) for a, b in full)
        and (wanted.hint is None or wanted.hint == (got.hint or ResetHint.UNKNOWN))
    )


def as_columns(histograms: Sequence[Histogram]) -> Histograms:
    """The same histograms as the engine's columns."""
    known: dict[tuple[float, ...], int] = {}
    buckets = [_numbered(h) for h in histograms]

    def floats(values: Iterable[float]) -> np.ndarray:
        return np.array(list(values), np.float64)

    return Histograms(
        schema=np.array([h.schema for h in histograms], np.int8),
        zero_threshold=floats(h.zero_threshold for h in histograms),
        zero_count=floats(h.zero_count for h in histograms),
        count=floats(h.count for h in histograms),
        sum=floats(h.sum for h in histograms),
        hint=np.array([h.hint or 0 for h in histograms], np.uint8),
        bounds=np.array(
            [known.setdefault(h.bounds, len(known)) if h.schema == CUSTOM else -1 for h in histograms],
            np.int32,
        ),
        custom_bounds=tuple(known),
        offsets=np.cumsum([0, *map(len, buckets)], dtype=np.int64),
        bucket=np.array([number for row in buckets for number, _ in row], np.int64),
        value=floats(count for row in buckets for _, count in row),
    )


def _numbered(h: Histogram) -> list[tuple[int, float]]:
    """Bucket numbers, ascending, and counts."""
    below = negative(np.array(list(h.negative), np.int64)).tolist()
    above = positive(np.array(list(h.positive), np.int64)).tolist()
    return sorted(
        [*zip(below, h.negative.values(), strict=True), *zip(above, h.positive.values(), strict=True)]
    )


def from_columns(columns: Histograms, row: int) -> Histogram:
    """One row of the engine's columns."""
    low, high = int(columns.offsets[row]), int(columns.offsets[row + 1])
    numbers = columns.bucket[low:high]
    counts = columns.value[low:high].tolist()
    pairs = list(zip(numbers.tolist(), index_of(numbers).tolist(), counts, strict=True))
    schema = int(columns.schema[row])
    return Histogram(
        schema=schema,
        sum=float(columns.sum[row]),
        count=float(columns.count[row]),
        zero_threshold=float(columns.zero_threshold[row]),
        zero_count=float(columns.zero_count[row]),
        positive={index: count for number, index, count in pairs if number > 0},
        negative={index: count for number, index, count in pairs if number < 0},
        bounds=columns.custom_bounds[int(columns.bounds[row])] if schema == CUSTOM else (),
        hint=ResetHint(int(columns.hint[row])),
    )
