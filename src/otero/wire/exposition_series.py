"""The text of one series: `name{label="value",…}` or `{"any name", "any label"="value"}`."""

import re
from collections.abc import Mapping
from functools import lru_cache

from otero.errors import BadInput
from otero.model.labels import METRIC_NAME
from otero.wire.go_floats import format_openmetrics_float, is_float

NAME = rb"[a-zA-Z_:][a-zA-Z0-9_:]*+"
LABEL_NAME = rb"[a-zA-Z_][a-zA-Z0-9_]*+"
QUOTED = rb'"(?:[^"\\]|\\.)*+"'
BLANKS = rb"[ \t]*+"

_START = re.compile(rb"[ \t]*+(" + NAME + rb")?[ \t]*+(\{)?[ \t]*+", re.DOTALL)
_ITEM = re.compile(
    rb"(?:("
    + LABEL_NAME
    + rb")|("
    + QUOTED
    + rb"))[ \t]*+(?:=[ \t]*+("
    + QUOTED
    + rb")[ \t]*+(,)?|(,)|(?=\}))[ \t]*+",
    re.DOTALL,
)
_END = re.compile(rb"\}[ \t]*+")
_ESCAPE = re.compile(r'\\([\\"n])')
_LE = re.compile(rb'(?<=[{, \t])(?:le|"le")[ \t]*+=[ \t]*+"([^"\\]*+)"')
_QUANTILE = re.compile(rb'(?<=[{, \t])(?:quantile|"quantile")[ \t]*+=[ \t]*+"([^"\\]*+)"')
_LEGACY_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LEGACY_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_BEFORE_LABEL = (b"{", b",", b" ", b"\t")


def parse_series(key: bytes) -> dict[str, str]:
    """The label set of a series text, the metric name as `__name__`; empty values are kept.

    Raises BadInput for a text without a name or with two, for a label that occurs twice, for bytes that are not UTF-8
    and for anything else that is not a series text. Linear in the length of the text.
    """
    try:
        return _parse(key)
    except UnicodeDecodeError:
        raise BadInput(f"series {shown(key)} is not valid UTF-8") from None


def _parse(key: bytes) -> dict[str, str]:
    start = _START.match(key)
    assert start is not None  # noqa: S101 (every part is optional)
    labels: dict[str, str] = {}
    if start[1] is not None:
        labels[METRIC_NAME] = start[1].decode()
    at = start.end()
    if start[2] is not None:
        while (item := _ITEM.match(key, at)) is not None:
            at = item.end()
            if item[3] is None:
                if item[2] is None:
                    raise BadInput(f"expected = after the label name {shown(item[1])} in {shown(key)}")
                name, value = METRIC_NAME, unquote(item[2])
            else:
                name = item[1].decode() if item[1] is not None else unquote(item[2])
                value = unquote(item[3])
            if name in labels:
                what = "the metric name is set" if item[3] is None else f"label {name!r} occurs"
                raise BadInput(f"{what} twice in {shown(key)}")
            labels[name] = value
        end = _END.match(key, at)
        if end is None:
            raise BadInput(f"expected a label or }}, found {shown(key[at:])} in {shown(key)}")
        at = end.end()
    if at != len(key):
        raise BadInput(f"expected the end of the series, found {shown(key[at:])} in {shown(key)}")
    if METRIC_NAME not in labels:
        raise BadInput(f"no metric name in {shown(key)}")
    return labels


def series_key(name: str, labels: Mapping[str, str]) -> bytes:
    """The text of a series with this name and these labels, in their order."""
    pairs = [
        f"{label if LEGACY_LABEL.fullmatch(label) else quoted(label)}={quoted(value)}"
        for label, value in labels.items()
    ]
    return key_text(name, ",".join(pairs))


def key_text(name: str, labels: str) -> bytes:
    """As `series_key`, for labels that are a text already."""
    if _LEGACY_NAME.fullmatch(name):
        return (f"{name}{{{labels}}}" if labels else name).encode()
    return (f"{{{quoted(name)},{labels}}}" if labels else f"{{{quoted(name)}}}").encode()


def quoted(text: str) -> str:
    """A text as a label value or an unusual name is written."""
    return '"' + text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"') + '"'


def unquote(text: bytes) -> str:
    r"""The value of a quoted string; only `\\`, `\"` and `\n` are escapes, other backslashes stay."""
    value = text[1:-1].decode()
    return unescape(value) if "\\" in value else value


def unescape(value: str) -> str:
    return _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], value)


def shown(text: bytes) -> str:
    """A piece of input, short and printable, for messages."""
    cut = text[:80].decode("utf-8", "backslashreplace")
    return f"{cut!r}…" if len(text) > 80 else repr(cut)


def normalise_bounds(keys: list[bytes], family: str) -> list[bytes]:
    """Series texts with the `le` of a histogram or the `quantile` of a summary in Prometheus 3's form.

    Prometheus 3 stores "1" as "1.0" whatever the format, so that both forms of one bucket are one series. Texts that
    need no change are handed back as the very same objects.
    """
    word = b'le="' if family == "histogram" else b'quantile="'
    label = _LE if family == "histogram" else _QUANTILE
    normal = _normal_form
    out: list[bytes] = []
    for key in keys:
        before, found, after = key.rpartition(word)
        if found:
            # The usual place; should this be part of another label or of a value, then no number follows.
            bound, _, tail = after.partition(b'"')
            form = normal(bound)
            if form is None or before[-1:] not in _BEFORE_LABEL:
                key = _normalise(key, label)
            elif form != bound:
                key = b'%b%b%b"%b' % (before, word, form, tail)
        elif word[:-2] in key:
            key = _normalise(key, label)
        out.append(key)
    return out


def _normalise(key: bytes, label: re.Pattern[bytes]) -> bytes:
    for found in label.finditer(key):
        form = _normal_form(found[1])
        if form is not None:
            return key[: found.start(1)] + form + key[found.end(1) :]
    return key


@lru_cache(4096)
def _normal_form(text: bytes) -> bytes | None:
    return format_openmetrics_float(float(text)).encode() if is_float(text) else None
