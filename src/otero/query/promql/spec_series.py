"""Reads series of the test language: `name{label="value"} 0+10x5 _ stale {{sum:1}}x2`, and start timestamps."""

import math
import re
from dataclasses import dataclass

from otero.errors import BadInput
from otero.model.labels import METRIC_NAME
from otero.query.promql.durations import parse_duration
from otero.query.promql.spec_histograms import Histogram, HistogramError, read_histogram, repeated
from otero.query.syntax import scan_string, unquote

_NUMBER = r"(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[iI]nf|[nN]a[nN])"
_ITEM = re.compile(rf"([-+]?{_NUMBER})(?:([-+]{_NUMBER})?x([0-9]+))?")
_HISTOGRAM = re.compile(r"\{\{([^{}]*)\}\}(?:(?:([-+])\{\{([^{}]*)\}\})?x([0-9]+))?")
_ITEMS = re.compile(r"[ \t]+((?:\{\{[^{}]*\}\}|[^\s{}])+)")
_OFFSET = r"[0-9]+(?:ms|[smhdwy])?"
_START = re.compile(rf"(\*|[-+]?{_OFFSET})(?:([-+]{_OFFSET})(?=x))?(?:x([0-9]+))?")
_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
MAX_REPEAT = 1_000_000
"""Bound of the `x<n>` of one item."""


class SpecError(BadInput):
    """A test file that cannot be read."""


Item = float | Histogram | None
"""One position of a sequence; None where there is no sample. A staleness marker is marked in `SeriesLine.stale`."""


@dataclass(frozen=True, slots=True)
class SeriesLine:
    """`start_offsets_ms` are relative to the time of each sample; None where the start is not known."""

    labels: dict[str, str]
    items: list[Item]
    stale: list[bool]
    start_offsets_ms: list[int | None] | None = None


def read_ms(text: str) -> int:
    """A duration in milliseconds, perhaps negative. Raises SpecError."""
    ms = parse_duration(text[1:] if text[:1] in ("+", "-") else text)
    if ms is None:
        raise SpecError(f'not a valid duration string: "{text}"')
    return -ms if text.startswith("-") else ms


def read_number(text: str) -> float | None:
    """A number as it may stand for a scalar; None for anything else."""
    try:
        return float(int(text, 0)) if text.lower().lstrip("+-").startswith("0x") else float(text)
    except ValueError:
        return None


def read_series(line: str) -> SeriesLine:
    """A series description: `name{label="value"} 0+10x5 _ stale NaN {{sum:1}}`."""
    labels, rest = _labels(line)
    items: list[Item] = []
    stale: list[bool] = []
    at, rest = 0, rest.rstrip()
    while at < len(rest):
        found = _ITEMS.match(rest, at)
        if found is None:
            raise SpecError(f'cannot read "{rest[at:].strip()}" as values of a series')
        values = _items(found[1])
        items += values
        stale += [found[1] == "stale"] * len(values)
        at = found.end()
    return SeriesLine(labels, items, stale)


def _labels(line: str) -> tuple[dict[str, str], str]:
    labels: dict[str, str] = {}
    at = 0
    if (name := _NAME.match(line)) is not None:
        labels[METRIC_NAME] = name[0]
        at = name.end()
    if line[at : at + 1] != "{" or line[at : at + 2] == "{{":
        return labels, line[at:]
    at += 1
    while True:
        while line[at : at + 1] in (" ", "\t", ","):
            at += 1
        if at >= len(line):
            raise SpecError(f'unclosed labels in series "{line}"')
        if line[at] == "}":
            return labels, line[at + 1 :]
        if line[at] in "\"'`":
            label, at = _literal(line, at)
        elif (found := _NAME.match(line, at)) is not None:
            label, at = found[0], found.end()
        else:
            raise SpecError(f'unexpected character "{line[at]}" in series "{line}"')
        while line[at : at + 1] in (" ", "\t"):
            at += 1
        if line[at : at + 1] == "=":
            at += 1
            while line[at : at + 1] in (" ", "\t"):
                at += 1
            labels[label], at = _literal(line, at)
        else:
            labels[METRIC_NAME] = label


def _literal(line: str, at: int) -> tuple[str, int]:
    if line[at : at + 1] not in ('"', "'", "`"):
        raise SpecError(f'expected a string in series "{line}"')
    end, complaint = scan_string(line, at)
    if complaint:
        raise SpecError(f'{complaint} in series "{line}"')
    return unquote(line[at:end]), end


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > MAX_REPEAT:
        raise SpecError(f'invalid repetition "{text}"')
    return int(text)


def _items(item: str) -> list[Item]:
    if item == "_":
        return [None]
    if item.startswith("_x"):
        return [None] * _count(item[2:])
    if item == "stale":
        return [math.nan]
    if item.startswith("{{"):
        found = _HISTOGRAM.fullmatch(item)
        if found is None:
            raise SpecError(f'invalid histogram "{item}"')
        return list(_histograms(*found.groups()))
    found = _ITEM.fullmatch(item)
    if found is None:
        raise SpecError(f'invalid series value "{item}"')
    value = float(found[1])
    step = float(found[2]) if found[2] else 0.0
    out: list[Item] = []
    for _ in range(_count(found[3] or "0") + 1):
        out.append(value)
        value += step
    return out


def _histograms(base: str, sign: str | None, step: str | None, times: str | None) -> list[Histogram]:
    try:
        first = read_histogram(base)
        if step is None:
            return [first] * (_count(times or "0") + 1)
        return repeated(first, read_histogram(step), _count(times or "0"), -1 if sign == "-" else 1)
    except HistogramError as error:
        raise SpecError(str(error)) from None


def read_starts(text: str) -> list[int | None]:
    """The values of an `@st` line: offsets in milliseconds from the time of each sample, None where nothing is known."""
    out: list[int | None] = []
    last = 0
    for item in text.split():
        if item == "_" or item.startswith("_x"):
            out += [None] * _count(item[2:] or "1")
            continue
        found = _START.fullmatch(item)
        if found is None:
            raise SpecError(f'invalid @st item "{item}"')
        offset = last if found[1] == "*" else read_ms(found[1])
        step = read_ms(found[2]) if found[2] else 0
        for _ in range(_count(found[3] or "0") + 1):
            out.append(offset)
            last = offset
            offset += step
    return out
