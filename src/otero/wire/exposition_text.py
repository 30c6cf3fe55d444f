"""The text format 0.0.4 and 1.0.0, and OpenMetrics 0.0.1 and 1.0.0: bytes to columns.

One regular expression cuts a whole body into lines, in linear time (every repetition is possessive); what it does not
take for a sample is a comment or a fault. The rules are those of Prometheus' own parsers, which are laxer than the
specifications: families may be split, typed late or not at all, and OpenMetrics' suffixes are free.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from otero.errors import BadInput
from otero.model.labels import METRIC_NAME, LabelBytes, encode_labels
from otero.model.metrics import Exemplar, Metadata
from otero.model.samples import NO_TIME
from otero.wire.classic_histograms import Classic, find_classics
from otero.wire.exposition_columns import Exposition
from otero.wire.exposition_faults import explain, line_number
from otero.wire.exposition_series import (
    BLANKS,
    LABEL_NAME,
    NAME,
    QUOTED,
    normalise_bounds,
    parse_series,
    shown,
    unescape,
)
from otero.wire.go_floats import is_float, parse_floats

_QUOTED_LINE = rb'"(?:[^"\\\n]|\\[^\n])*+"'

# In the text formats blanks may stand between any two tokens and commas may be missing; values may hold line breaks.
_ANY_NAME = rb"(?:" + LABEL_NAME + rb"|" + QUOTED + rb")" + BLANKS
_PLAIN_PAIR = LABEL_NAME + rb'="[^"\\]*+"(?:,(?![ \t])|(?=\}))'  # what nearly all bodies have, to be quick
_PAIR = _ANY_NAME + rb"=" + BLANKS + QUOTED + BLANKS + rb",?+" + BLANKS
_BARE = QUOTED + BLANKS + rb"(?:," + BLANKS + rb"|(?=\}))"
_TEXT_SERIES = (
    NAME + rb"(?:" + BLANKS + rb"\{" + BLANKS + rb"(?:" + _PLAIN_PAIR + rb"|" + _PAIR + rb")*+\})?+"
    rb"|\{" + BLANKS + rb"(?:" + _PAIR + rb"|" + _BARE + rb")*+\}"
)  # fmt: skip
_TEXT_LINES: Final = re.compile(
    rb"(?:[ \t]++)?+(?:(" + _TEXT_SERIES + rb")" + BLANKS
    + rb"([^{ \t\n]++)(?:\n|(?:[ \t]++([0-9]++))?+" + BLANKS + rb"(?:\n|\Z))()|([^\n]*+(?:\n|\Z)))",
    re.DOTALL,
)  # fmt: skip
_TEXT_META: Final = re.compile(
    rb"#[ \t]++(HELP|TYPE)[ \t]++(?:(" + NAME + rb"|" + _QUOTED_LINE + rb")([^\n]*+)\n?)?"
)

_OM_PAIR = rb"(?:" + LABEL_NAME + rb"|" + _QUOTED_LINE + rb")=" + _QUOTED_LINE + rb"(?:,|(?=\}))"
_OM_BARE = _QUOTED_LINE + rb"(?:,|(?=\}))"
_OM_SERIES = NAME + rb"(?:\{(?:" + _OM_PAIR + rb")*+\})?+|\{(?:" + _OM_PAIR + rb"|" + _OM_BARE + rb")*+\}"
_OM_LINES: Final = re.compile(
    rb"(?:("
    + _OM_SERIES
    + rb") ([^ \n]++)(?: (?!# \{)([^ \n]++))?+(?: # (\{[^\n]*+))?+\n|([^\n]*+(?:\n|\Z)))"
)
_OM_META: Final = re.compile(
    rb"# (HELP|TYPE|UNIT) (?:(" + NAME + rb"|" + _QUOTED_LINE + rb")(?:( [^\n]*+)\n)?)?"
)
_OM_EXEMPLAR: Final = re.compile(rb"(\{(?:" + _OM_PAIR + rb")*+\}) ([^ ]++)(?: ([^ ]++))?+")

_TEXT_TYPES: Final = {
    b"counter": "counter",
    b"gauge": "gauge",
    b"histogram": "histogram",
    b"summary": "summary",
    b"untyped": "unknown",
}
_OM_TYPES: Final = {
    name.encode(): name
    for name in ("counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset", "unknown")
}
_HAVE_CREATED = ("counter", "histogram", "summary")
_MAX_MS = 1 << 62
_Bad = Callable[[int, str], BadInput]
"""The error about a sample, given its number and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class TextBody:
    """A parsed body and what its next look-alike can be compared with.

    raw_keys  the series texts exactly as they stand in the body, the same objects as `exposition.keys` where equal.
    is_sample which of the body's lines are samples, if no series text has a line break in it.
    comments  the other lines.
    created   intp [N]: the row that holds the creation time of each row, -1 where none; None when there is no such row.
    classics  classic histograms, where they were asked for.
    """

    exposition: Exposition
    raw_keys: list[bytes]
    is_sample: list[bool]
    comments: list[bytes]
    created: NDArray[np.intp] | None
    classics: list[Classic]


def parse_text(body: bytes, *, openmetrics: bool, classics: bool = False) -> TextBody:
    """`classics` asks for the classic histograms among the series. Raises BadInput with the number of the first faulty line; of a faulty body nothing is used."""
    pattern = _OM_LINES if openmetrics else _TEXT_LINES
    rows: list[tuple[bytes, bytes, bytes, bytes, bytes]] = pattern.findall(body)
    series, texts, stamps, tails, others = map(list, zip(*rows, strict=True))
    other_rows = [row for row, key in enumerate(series) if not key]
    lines = body.count(b"\n") + 1
    is_sample = list(map(bool, series[:lines]))
    comments = [others[row].removesuffix(b"\n") for row in other_rows if row < lines]

    families = _Families(openmetrics)
    for at, row in enumerate(other_rows):
        fault = families.read(others[row], samples_before=row - at)
        if fault:
            raise _fault(body, pattern, row, fault)
    if openmetrics and families.samples_before_end is None:
        raise BadInput(f"line {line_number(body, len(body))}: data does not end with # EOF")

    found = list(map(bool, series))
    series, texts, stamps, tails = (list(compress(c, found)) for c in (series, texts, stamps, tails))

    if families.samples_before_end not in (None, len(series)):
        raise BadInput(f"line {lines}: unexpected data after # EOF")

    def bad(sample: int, fault: str) -> BadInput:
        return _fault(body, pattern, _row_of_sample(sample, other_rows), fault)

    _check_encoding(body, series, bad)
    for sample, key in enumerate(series):
        if key.startswith(b"{"):
            try:
                parse_series(key)
            except BadInput as error:
                raise bad(sample, str(error)) from None
    values = parse_floats(texts)
    if values is None:
        sample = next(i for i, text in enumerate(texts) if not is_float(text))
        raise bad(sample, f"expected a number as value, found {shown(texts[sample])}")
    times_ms = _times(stamps, bad, openmetrics=openmetrics) if any(stamps) else None
    exemplars = _exemplars(tails, bad) if any(tails) else ()

    keys = families.normalised(series)
    created = families.created_rows(keys) if openmetrics else None
    exposition = Exposition(
        keys,
        values,
        times_ms,
        start_times(values, created),
        exemplars,
        families.metadata(),
    )
    return TextBody(
        exposition, series, is_sample, comments, created, families.classics(keys) if classics else []
    )


def start_times(values: NDArray[np.float64], created: NDArray[np.intp] | None) -> NDArray[np.int64] | None:
    """Start timestamps in ms from rows whose value is a creation time in seconds."""
    if created is None:
        return None
    with np.errstate(all="ignore"):
        milliseconds = values[created] * 1000
        known = (created >= 0) & (np.abs(milliseconds) < _MAX_MS)
    return np.where(known, milliseconds, 0).astype(np.int64)


class _Families:
    """What the comment lines of a body say, in their order."""

    def __init__(self, openmetrics: bool) -> None:
        self._openmetrics = openmetrics
        self._said: dict[str, dict[str, str]] = {}
        self._typed: list[tuple[int, str, str]] = []
        self.samples_before_end: int | None = None

    def read(self, line: bytes, *, samples_before: int) -> str:
        """Take a line that is no sample; returns what is wrong with it, or an empty text."""
        return (
            self._read_openmetrics(line, samples_before)
            if self._openmetrics
            else self._read_text(line, samples_before)
        )

    def _read_text(self, line: bytes, samples_before: int) -> str:
        if line in (b"\n", b""):
            return ""
        if not line.startswith(b"#"):
            return explain(line, openmetrics=False)
        found = _TEXT_META.fullmatch(line)
        if found is None:
            missing = re.match(rb"#[ \t]++(HELP|TYPE)[ \t]++", line)
            return f"expected a metric name after {missing[1].decode()}" if missing else ""
        if found[2] is None:
            return f"expected a metric name after {found[1].decode()}"
        return self._say(found[1], found[2], found[3][1:], samples_before)

    def _read_openmetrics(self, line: bytes, samples_before: int) -> str:
        if self.samples_before_end is not None:
            return "unexpected data after # EOF" if line else ""
        if not line:
            return ""
        if line in (b"# EOF\n", b"# EOF"):
            self.samples_before_end = samples_before
            return ""
        found = _OM_META.fullmatch(line)
        if found is None or found[3] is None:
            word = re.match(rb"# (HELP|TYPE|UNIT) (" + NAME + rb"|" + _QUOTED_LINE + rb")?", line)
            if word is None:
                return explain(line, openmetrics=True)
            wanted = "a blank and a text after the metric name" if word[2] else "a metric name"
            return f"expected {wanted} in {word[1].decode()}, found {shown(line[word.end() :])}"
        return self._say(found[1], found[2], found[3][1:], samples_before)

    def _say(self, word: bytes, name_text: bytes, text: bytes, samples_before: int) -> str:
        try:
            name = (name_text[1:-1] if name_text.startswith(b'"') else name_text).decode()
            said = text.decode()
        except UnicodeDecodeError:
            return f"{word.decode()} {shown(text)} is not valid UTF-8"
        if "\\" in name:
            name = unescape(name)
        family = self._said.setdefault(name, {})
        match word:
            case b"TYPE":
                kind = (_OM_TYPES if self._openmetrics else _TEXT_TYPES).get(text)
                if kind is None:
                    return f"invalid metric type {shown(text)}"
                family["type"] = kind
                self._typed.append((samples_before, kind, name))
            case b"UNIT":
                if said and not name.endswith(f"_{said}"):
                    return f"unit {said!r} is not a suffix of metric {name!r}"
                family["unit"] = said
            case _:
                if "\\" in said:
                    said = unescape(said) if self._openmetrics else unescape(said.replace('\\"', '\\\\"'))
                family["help"] = said
        return ""

    def metadata(self) -> tuple[Metadata, ...]:
        return tuple(Metadata(name, **said) for name, said in self._said.items())

    def _stretches(self, samples: int) -> list[tuple[int, int, str, str]]:
        """(first sample, sample after the last, type, family); a type holds until the next one, as in Prometheus."""
        ends = [start for start, _, _ in self._typed[1:]] + [samples]
        return [
            (start, end, kind, name)
            for (start, kind, name), end in zip(self._typed, ends, strict=False)
            if start < end
        ]

    def normalised(self, raw_keys: list[bytes]) -> list[bytes]:
        keys = raw_keys
        for start, end, kind, _ in self._stretches(len(raw_keys)):
            if kind in ("histogram", "summary"):
                before = raw_keys[start:end]
                after = normalise_bounds(before, kind)
                if before != after:
                    if keys is raw_keys:
                        keys = list(raw_keys)
                    keys[start:end] = after
        return keys

    def classics(self, keys: list[bytes]) -> list[Classic]:
        return [
            classic
            for start, end, kind, name in self._stretches(len(keys))
            if kind == "histogram"
            for classic in find_classics(keys, start, end, name)
        ]

    def created_rows(self, keys: list[bytes]) -> NDArray[np.intp] | None:
        rows: NDArray[np.intp] | None = None
        for start, end, kind, name in self._stretches(len(keys)):
            word = f"{name}_created".encode()
            if kind not in _HAVE_CREATED or not any(word in key for key in keys[start:end]):
                continue
            sets = [parse_series(key) for key in keys[start:end]]
            names = [labels.pop(METRIC_NAME) for labels in sets]
            for labels in sets:
                labels.pop("le" if kind == "histogram" else "quantile", None)
            groups: list[LabelBytes] = [encode_labels(labels) for labels in sets]
            at = {group: start + i for i, group in enumerate(groups) if names[i] == f"{name}_created"}
            if rows is None:
                rows = np.full(len(keys), -1, np.intp)
            for i, group in enumerate(groups):
                if names[i].startswith(name) and names[i] != f"{name}_created":
                    rows[start + i] = at.get(group, -1)
        return rows


def _row_of_sample(sample: int, other_rows: Sequence[int]) -> int:
    row = sample
    for other in other_rows:
        if other > row:
            break
        row += 1
    return row


def _fault(body: bytes, pattern: re.Pattern[bytes], row: int, fault: str) -> BadInput:
    for at, found in enumerate(pattern.finditer(body)):
        if at == row:
            return BadInput(f"line {line_number(body, found.start())}: {fault}")
    return BadInput(fault)


def _check_encoding(body: bytes, series: Sequence[bytes], bad: _Bad) -> None:
    if body.isascii():
        return
    for sample, key in enumerate(series):
        try:
            key.decode()
        except UnicodeDecodeError:
            raise bad(sample, f"series {shown(key)} is not valid UTF-8") from None


def _times(stamps: Sequence[bytes], bad: _Bad, *, openmetrics: bool) -> NDArray[np.int64]:
    times = np.full(len(stamps), NO_TIME, np.int64)
    for sample, stamp in enumerate(stamps):
        if stamp:
            time_ms = _seconds(stamp) if openmetrics else _milliseconds(stamp)
            if time_ms is None:
                raise bad(sample, f"invalid timestamp {shown(stamp)}")
            times[sample] = time_ms
    return times


def _milliseconds(stamp: bytes) -> int | None:
    value = int(stamp) if len(stamp) < 40 else _MAX_MS
    return value if value < _MAX_MS else None


def _seconds(stamp: bytes) -> int | None:
    if not is_float(stamp):
        return None
    milliseconds = float(stamp) * 1000
    return int(milliseconds) if abs(milliseconds) < _MAX_MS else None


def _exemplars(tails: Sequence[bytes], bad: _Bad) -> tuple[Exemplar, ...]:
    exemplars: list[Exemplar] = []
    for sample, tail in enumerate(tails):
        if not tail:
            continue
        found = _OM_EXEMPLAR.fullmatch(tail)
        if found is None:
            raise bad(sample, f"expected an exemplar as {{labels}} value and timestamp, found {shown(tail)}")
        if not is_float(found[2]):
            raise bad(sample, f"expected a number as value of the exemplar, found {shown(found[2])}")
        time_ms = int(NO_TIME) if found[3] is None else _seconds(found[3])
        if time_ms is None:
            raise bad(sample, f"invalid exemplar timestamp {shown(found[3])}")
        try:
            labels = parse_series(b"_" + found[1])
        except BadInput as error:
            raise bad(sample, str(error)) from None
        del labels[METRIC_NAME]
        exemplars.append(Exemplar(sample, encode_labels(labels), float(found[2]), time_ms))
    return tuple(exemplars)
