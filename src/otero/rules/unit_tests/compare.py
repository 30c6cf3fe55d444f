"""What was expected beside what came: what differs, in words, and both in whole."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from otero.gotemplate.formatting import float_text
from otero.model.histograms import ResetHint
from otero.query.promql.spec_compare import show
from otero.query.promql.spec_histograms import Histogram, agree

Labels = Mapping[str, str]

Alert = tuple[Labels, Labels]
"""Labels and annotations."""

Value = float | Histogram

Sample = tuple[Labels, Value]

Close = Callable[[float, float], bool]
"""Whether two numbers are the same."""

T = TypeVar("T", Alert, Sample)


@dataclass(frozen=True, slots=True)
class Differences:
    """What differs, one text each, perhaps of several lines; and all that was expected and all that came, sorted."""

    findings: tuple[str, ...]
    expected: tuple[str, ...] = ()
    got: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.findings)


def compare_alerts(expected: Sequence[Alert], got: Sequence[Alert]) -> Differences:
    """As sets in which one may be twice. Those that are not as expected stand beside the expected ones they resemble."""

    def differs(wanted: Alert, other: Alert) -> list[str]:
        return [*_labels("label", wanted[0], other[0]), *_labels("annotation", wanted[1], other[1])]

    return _compare(expected, got, lambda a, b: not differs(a, b), differs, _alert_text)


def compare_samples(expected: Sequence[Sample], got: Sequence[Sample], close: Close) -> Differences:
    """As `compare_alerts`."""

    def differs(wanted: Sample, other: Sample) -> list[str]:
        values = (
            []
            if _same(wanted[1], other[1], close)
            else [f"value: expected {_value_text(wanted[1])}, got {_value_text(other[1])}"]
        )
        return [*_labels("label", wanted[0], other[0]), *values]

    return _compare(expected, got, lambda a, b: not differs(a, b), differs, _sample_text)


def _compare(
    expected: Sequence[T],
    got: Sequence[T],
    same: Callable[[T, T], bool],
    differs: Callable[[T, T], list[str]],
    text: Callable[[T], str],
) -> Differences:
    missing: list[T] = []
    extra = list(got)
    for wanted in expected:
        found = next((at for at, other in enumerate(extra) if same(wanted, other)), None)
        if found is None:
            missing.append(wanted)
        else:
            del extra[found]
    findings: list[str] = []
    for wanted in list(missing):
        near = min(extra, key=lambda other: len(_labels("", wanted[0], other[0])), default=None)
        if near is None or not _resemble(wanted[0], near[0]):
            continue
        missing.remove(wanted)
        extra.remove(near)
        findings.append("\n  ".join([f"wrong: {_name(near[0])}", *differs(wanted, near)]))
    findings += [f"missing: {text(wanted)}" for wanted in missing]
    findings += [f"unexpected: {text(other)}" for other in extra]
    return Differences(tuple(findings), tuple(sorted(map(text, expected))), tuple(sorted(map(text, got))))


def _resemble(a: Labels, b: Labels) -> bool:
    """Whether at least half of all labels are the same."""
    return 2 * len(_labels("", a, b)) <= len(a.keys() | b.keys())


def _name(labels: Labels) -> str:
    text = show(dict(labels))
    return text if text == "{}" else text.removesuffix("{}")


def _labels(what: str, expected: Labels, got: Labels) -> list[str]:
    out: list[str] = []
    for name in sorted(expected.keys() | got.keys()):
        wanted, other = expected.get(name), got.get(name)
        if wanted != other:
            out.append(f"{what} {name}: expected {_quoted(wanted)}, got {_quoted(other)}")
    return out


def _quoted(text: str | None) -> str:
    return "none" if text is None else json.dumps(text, ensure_ascii=False)


def _same(wanted: Value, got: Value, close: Close) -> bool:
    if isinstance(wanted, Histogram):
        unknown = replace(wanted, hint=wanted.hint or ResetHint.UNKNOWN)
        return isinstance(got, Histogram) and agree(unknown, got, close)
    return not isinstance(got, Histogram) and close(wanted, got)


def _value_text(value: Value) -> str:
    if isinstance(value, Histogram):
        return str(value if value.hint else value.without_hint())  # unknown needs no word
    return float_text(value)


def _alert_text(alert: Alert) -> str:
    labels, annotations = alert
    told = ", ".join(f"{name}={_quoted(annotations[name])}" for name in sorted(annotations))
    return _name(labels) + (f" with {told}" if told else "")


def _sample_text(sample: Sample) -> str:
    return f"{_name(sample[0])} {_value_text(sample[1])}"
