"""Reads the plain-text test language of PromQL (`load`, `clear`, `eval` and their indented lines), as Prometheus 3.14 defines it."""

import math
import re
from dataclasses import dataclass, field

from otero.errors import BadInput
from otero.model.labels import METRIC_NAME
from otero.query.promql.durations import parse_duration
from otero.query.promql.spec_histograms import Histogram, HistogramError, read_histogram, repeated
from otero.query.syntax import scan_string, unquote

_EVAL = re.compile(
    r"eval(?:_(?P<mode>fail|warn|ordered|info))?\s+"
    r"(?:instant(?:\s+at\s+(?P<at>\S+))?|range\s+from\s+(?P<from>\S+)\s+to\s+(?P<to>\S+)\s+step\s+(?P<step>\S+))"
    r"\s+(?P<expr>.+)"
)
_LOAD = re.compile(r"load(?P<nhcb>_with_nhcb)?\s+(?P<step>\S+)")
_EXPECT = re.compile(
    r"expect\s+(?P<what>ordered|fail|warn|no_warn|info|no_info)(?:\s+(?P<how>msg|regex):(?P<text>.*))?"
)
_EXPECT_RANGE = re.compile(r"expect range vector\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)")
_NUMBER = r"(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[iI]nf|[nN]a[nN])"
_ITEM = re.compile(rf"([-+]?{_NUMBER})(?:([-+]{_NUMBER}))?(?:x([0-9]+))?")
_HISTOGRAM = re.compile(r"\{\{([^{}]*)\}\}(?:(?:([-+])\{\{([^{}]*)\}\})?x([0-9]+))?")
_ST_ITEM = re.compile(r"(\*|[-+]?[0-9]+(?:ms|[smhdwy])?)(?:([-+][0-9]+(?:ms|[smhdwy])?))?(?:x([0-9]+))?")
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


@dataclass(frozen=True, slots=True)
class Load:
    line: int
    step_ms: int
    series: list[SeriesLine]
    with_nhcb: bool = False


@dataclass(frozen=True, slots=True)
class Clear:
    line: int


@dataclass(frozen=True, slots=True)
class Expectation:
    """An `expect` line: a message that must equal `text`, or match it when `regex`; any message when text is None."""

    text: str | None = None
    regex: bool = False

    def fits(self, message: str) -> bool:
        if self.text is None:
            return True
        return re.search(self.text, message) is not None if self.regex else self.text == message

    def __str__(self) -> str:
        return "any" if self.text is None else f"/{self.text}/" if self.regex else self.text


@dataclass(slots=True)
class Eval:
    """One evaluation and what it must give. An instant query has step_ms 0 and start_ms == end_ms."""

    line: int
    expr: str
    start_ms: int
    end_ms: int
    step_ms: int
    ordered: bool = False
    fail: Expectation | None = None
    warn: list[Expectation] = field(default_factory=list)
    info: list[Expectation] = field(default_factory=list)
    no_warn: bool = False
    no_info: bool = False
    scalar: float | None = None
    string: str | None = None
    range_vector: tuple[int, int, int] | None = None
    series: list[SeriesLine] = field(default_factory=list)

    @property
    def instant(self) -> bool:
        return self.step_ms == 0


Command = Load | Clear | Eval


def read_commands(text: str) -> list[Command]:
    """The commands of a test file. Raises SpecError with the line."""
    lines = [line.strip() for line in text.split("\n")]
    lines = ["" if line.startswith("#") else line for line in lines]
    commands: list[Command] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line:
            at += 1
            continue
        word = line.split(None, 1)[0].lower()
        end = at + 1
        while end < len(lines) and lines[end]:
            end += 1
            if word.startswith("eval") and _closes(lines[end - 1]):
                break
        try:
            if word == "clear":
                commands.append(Clear(at + 1))
                end = at + 1
            elif word.startswith("load"):
                commands.append(_load(at, lines[at:end]))
            elif word.startswith("eval"):
                commands.append(_eval(at, lines[at:end]))
            else:
                raise SpecError(f'invalid command "{line}"')
        except SpecError as error:
            raise SpecError(f"line {at + 1}: {error}") from None
        at = end
    return commands


def _closes(line: str) -> bool:
    """Whether this line ends an evaluation, so that the next command needs no empty line before it."""
    return line.startswith("expected_fail_") or _number(line) is not None


def _ms(text: str) -> int:
    negative = text.startswith("-")
    ms = parse_duration(text.lstrip("-"))
    if ms is None:
        raise SpecError(f'not a valid duration string: "{text}"')
    return -ms if negative else ms


def _load(at: int, lines: list[str]) -> Load:
    head = _LOAD.fullmatch(lines[0])
    if head is None:
        raise SpecError("invalid load command. (load[_with_nhcb] <step:duration>)")
    series: list[SeriesLine] = []
    starts: list[int | None] | None = None
    default: list[int | None] | None = None
    for line in lines[1:]:
        first, _, rest = line.replace("\t", " ").partition(" ")
        if first.endswith("@st"):
            offsets = _start_offsets(rest)
            if first == "@st":
                default = offsets
            else:
                starts = offsets
            continue
        read = read_series(line)
        if starts is None and default:
            starts = [default[index % len(default)] for index in range(len(read.items))]
        if starts is not None and len(starts) != len(read.items):
            raise SpecError(f"@st line has {len(starts)} values but sample line has {len(read.items)}")
        series.append(SeriesLine(read.labels, read.items, read.stale, starts))
        starts = None
    return Load(at + 1, _ms(head["step"]), series, head["nhcb"] is not None)


def _start_offsets(text: str) -> list[int | None]:
    out: list[int | None] = []
    last = 0
    for item in text.split():
        if item == "_" or item.startswith("_x"):
            out += [None] * _count(item[2:] or "1")
            continue
        found = _ST_ITEM.fullmatch(item)
        if found is None:
            raise SpecError(f'invalid @st item "{item}"')
        offset = last if found[1] == "*" else _signed(found[1])
        step = _signed(found[2]) if found[2] else 0
        for _ in range(_count(found[3] or "0") + 1):
            out.append(offset)
            last = offset
            offset += step
    return out


def _signed(text: str) -> int:
    return -_ms(text[1:]) if text.startswith("-") else _ms(text.lstrip("+"))


def _eval(at: int, lines: list[str]) -> Eval:
    head = _EVAL.fullmatch(lines[0])
    if head is None:
        raise SpecError(f'invalid evaluation command "{lines[0]}"')
    if head["step"] is not None:
        command = Eval(at + 1, head["expr"], _ms(head["from"]), _ms(head["to"]), _ms(head["step"]))
    else:
        time_ms = _ms(head["at"] or "0")
        command = Eval(at + 1, head["expr"], time_ms, time_ms, 0)
    match head["mode"]:
        case "ordered":
            command.ordered = True
        case "fail":
            command.fail = Expectation()
        case "warn":
            command.warn.append(Expectation(".*", regex=True))
        case "info":
            command.info.append(Expectation(".*", regex=True))
        case _:
            pass
    for line in lines[1:]:
        _expectation(command, line)
    return command


def _expectation(command: Eval, line: str) -> None:
    if (found := _EXPECT_RANGE.fullmatch(line)) is not None:
        command.range_vector = (_ms(found[1]), _ms(found[2]), _ms(found[3]))
    elif line.startswith("expect string"):
        literal = line.removeprefix("expect string").strip()
        end, complaint = scan_string(literal, 0) if literal[:1] in ('"', "`") else (0, "no string literal")
        if complaint or end != len(literal):
            raise SpecError("expected string literal not valid - check that the string is correctly quoted")
        command.string = unquote(literal)
    elif (found := _EXPECT.fullmatch(line)) is not None:
        text = found["text"].strip() if found["text"] is not None else None
        _expect(command, found["what"], Expectation(text, found["how"] == "regex"))
    elif line.startswith("expected_fail_message") and command.fail is not None:
        command.fail = Expectation(line.removeprefix("expected_fail_message").strip())
    elif line.startswith("expected_fail_regexp") and command.fail is not None:
        command.fail = Expectation(line.removeprefix("expected_fail_regexp").strip(), regex=True)
    elif line.split(" ")[0] == "expect":
        raise SpecError(f'invalid expect statement "{line}"')
    elif (number := _number(line)) is not None:
        command.scalar = number
    else:
        command.series.append(read_series(line))


def _expect(command: Eval, what: str, expectation: Expectation) -> None:
    match what:
        case "ordered":
            command.ordered = True
        case "fail":
            command.fail = expectation
        case "warn":
            command.warn.append(expectation)
        case "info":
            command.info.append(expectation)
        case "no_warn":
            command.no_warn = True
        case _:
            command.no_info = True


def _number(text: str) -> float | None:
    try:
        return float(int(text, 16)) if text.lower().startswith("0x") else float(text)
    except ValueError:
        return None


def read_series(line: str) -> SeriesLine:
    """A series description: `name{label="value"} 0+10x5 _ stale NaN {{sum:1}}`."""
    labels, rest = _labels(line)
    items: list[Item] = []
    stale: list[bool] = []
    for item in re.findall(r"(?:\{\{.*?\}\}|[^\s{])+", rest):
        values = _items(item)
        items += values
        stale += [item == "stale"] * len(values)
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
