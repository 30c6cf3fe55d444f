"""The syntax tree of templates. `at` is the offset of a node in its template's text, in characters."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Dot:
    at: int
    end: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: nil, bool, int, float or string."""

    value: Any
    at: int
    end: int


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    at: int
    end: int


@dataclass(frozen=True, slots=True)
class Field:
    """`.A.B` of dot, of a variable (`$x.A`; no names: the variable itself) or of a parenthesised pipeline."""

    base: "Dot | Variable | Operand"
    names: tuple[str, ...]
    at: int
    end: int


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    at: int
    end: int


@dataclass(frozen=True, slots=True)
class Command:
    """Operands next to each other: the first one is called with the others."""

    operands: "tuple[Operand, ...]"
    at: int
    end: int


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands, each getting the result of the one before as its last argument; `assigns` says `=` rather than `:=`."""

    commands: tuple[Command, ...]
    variables: tuple[str, ...]
    assigns: bool
    at: int
    end: int


Operand = Dot | Literal | Function | Field | Variable | Pipeline


@dataclass(frozen=True, slots=True)
class Action:
    pipeline: Pipeline
    at: int


@dataclass(frozen=True, slots=True)
class If:
    pipeline: Pipeline
    body: "tuple[Node, ...]"
    otherwise: "tuple[Node, ...]"
    at: int


@dataclass(frozen=True, slots=True)
class With:
    pipeline: Pipeline
    body: "tuple[Node, ...]"
    otherwise: "tuple[Node, ...]"
    at: int


@dataclass(frozen=True, slots=True)
class Range:
    pipeline: Pipeline
    body: "tuple[Node, ...]"
    otherwise: "tuple[Node, ...]"
    at: int


@dataclass(frozen=True, slots=True)
class Break:
    at: int


@dataclass(frozen=True, slots=True)
class Continue:
    at: int


@dataclass(frozen=True, slots=True)
class Call:
    """`{{ template "name" pipeline }}`."""

    name: str
    pipeline: Pipeline | None
    at: int
    end: int


Node = Text | Action | If | With | Range | Break | Continue | Call


@dataclass(frozen=True, slots=True)
class Template:
    """One named template: `source` is the text that it stands in, `file` what that text is called in errors."""

    name: str
    body: tuple[Node, ...]
    source: str = field(repr=False)
    file: str
