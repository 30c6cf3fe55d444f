"""Reads the plain-text test language of PromQL (`load`, `clear`, `eval` and their indented lines), as Prometheus 3.14 defines it."""

import re
from dataclasses import dataclass, field

from otero.query.promql.spec_series import (
    SeriesLine,
    SpecError,
    read_ms,
    read_number,
    read_series,
    read_starts,
)
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
        except _PlacedError:
            raise
        except SpecError as error:
            raise _PlacedError(at + 1, error) from None
        at = end
    return commands


class _PlacedError(SpecError):
    """An error with its line."""

    def __init__(self, line: int, error: SpecError) -> None:
        super().__init__(f"line {line}: {error}")


def _closes(line: str) -> bool:
    """Whether this line ends an evaluation, so that the next command needs no empty line before it."""
    return line.startswith("expected_fail_") or read_number(line) is not None


def _load(at: int, lines: list[str]) -> Load:
    head = _LOAD.fullmatch(lines[0])
    if head is None:
        raise SpecError("invalid load command. (load[_with_nhcb] <step:duration>)")
    command = Load(at + 1, read_ms(head["step"]), [], head["nhcb"] is not None)
    default: list[int | None] | None = None
    own: tuple[dict[str, str], list[int | None]] | None = None
    for number, line in enumerate(lines[1:], at + 2):
        try:
            first, _, rest = line.replace("\t", " ").partition(" ")
            if first == "@st":
                default = read_starts(rest)
            elif first.endswith("@st"):
                if own is not None:
                    raise SpecError("the @st line before has no sample line")
                own = (read_series(first.removesuffix("@st")).labels, read_starts(rest))
            else:
                command.series.append(_with_starts(read_series(line), own, default))
                own = None
        except SpecError as error:
            raise _PlacedError(number, error) from None
    if own is not None:
        raise SpecError("an @st line has no sample line")
    return command


def _with_starts(
    line: SeriesLine, own: tuple[dict[str, str], list[int | None]] | None, default: list[int | None] | None
) -> SeriesLine:
    size = len(line.items)
    if own is not None:
        labels, starts = own
        if labels != line.labels:
            raise SpecError("the @st line before is of another series")
        if len(starts) != size:
            raise SpecError(f"@st line has {len(starts)} values but sample line has {size}")
    elif default:
        starts = [default[index % len(default)] for index in range(size)]
    else:
        return line
    return SeriesLine(line.labels, line.items, line.stale, starts)


def _eval(at: int, lines: list[str]) -> Eval:
    head = _EVAL.fullmatch(lines[0])
    if head is None:
        raise SpecError(f'invalid evaluation command "{lines[0]}"')
    if head["step"] is not None:
        command = Eval(
            at + 1, head["expr"], read_ms(head["from"]), read_ms(head["to"]), read_ms(head["step"])
        )
        if command.step_ms <= 0:
            raise SpecError("the step of a range must be above zero")
    else:
        time_ms = read_ms(head["at"] or "0")
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
    if command.end_ms < command.start_ms:
        raise SpecError("invalid test definition, the end is before the start")
    for number, line in enumerate(lines[1:], at + 2):
        try:
            _expectation(command, line)
        except SpecError as error:
            raise _PlacedError(number, error) from None
    return command


def _expectation(command: Eval, line: str) -> None:
    if (found := _EXPECT_RANGE.fullmatch(line)) is not None:
        command.range_vector = (read_ms(found[1]), read_ms(found[2]), read_ms(found[3]))
    elif line.startswith("expect string"):
        literal = line.removeprefix("expect string").strip()
        end, complaint = scan_string(literal, 0) if literal[:1] in ('"', "`") else (0, "no string literal")
        if complaint or end != len(literal):
            raise SpecError("expected string literal not valid - check that the string is correctly quoted")
        command.string = unquote(literal)
    elif (found := _EXPECT.fullmatch(line)) is not None:
        text = found["text"].strip() if found["text"] is not None else None
        _expect(command, found["what"], _expectation_of(text, found["how"] == "regex"))
    elif line.startswith("expected_fail_message") and command.fail is not None:
        command.fail = Expectation(line.removeprefix("expected_fail_message").strip())
    elif line.startswith("expected_fail_regexp") and command.fail is not None:
        command.fail = _expectation_of(line.removeprefix("expected_fail_regexp").strip(), True)
    elif line.split(" ")[0] == "expect":
        raise SpecError(f'invalid expect statement "{line}"')
    elif (number := read_number(line)) is not None:
        command.scalar = number
    else:
        _expect_series(command, read_series(line))


def _expect_series(command: Eval, line: SeriesLine) -> None:
    if any(line.labels == other.labels for other in command.series):
        raise SpecError("a series is expected twice")
    if command.instant and command.range_vector is None and len(line.items) != 1:
        raise SpecError(
            "an instant query gives one value for each series; put 'expect range vector' before them for more"
        )
    command.series.append(line)


def _expectation_of(text: str | None, regex: bool) -> Expectation:
    if regex:
        try:
            re.compile(text or "")
        except re.error as error:
            raise SpecError(f"not a regular expression: {text} ({error})") from None
    return Expectation(text, regex)


def _expect(command: Eval, what: str, expectation: Expectation) -> None:
    match what:
        case "ordered":
            command.ordered = True
        case "fail":
            if command.fail is not None:
                raise SpecError("a query fails once: one 'expect fail' is enough")
            command.fail = expectation
        case "warn":
            command.warn.append(expectation)
        case "info":
            command.info.append(expectation)
        case "no_warn":
            command.no_warn = True
        case _:
            command.no_info = True
    if (command.no_warn and command.warn) or (command.no_info and command.info):
        raise SpecError("annotations cannot be expected and forbidden at once")
