"""The tree that YAML and JSON texts become: plain values that know where they stand."""

import re
from dataclasses import dataclass, field
from typing import Any

MAX_BYTES = 16 << 20
"""Larger texts are refused."""
MAX_DEPTH = 100
"""Deeper nesting is refused."""
MAX_NODES = 1_000_000
"""More values than this, aliases counted each time they are used, are refused."""


@dataclass(slots=True, eq=False)
class Scalar:
    """A value without parts. `text` is what stands in the file, `value` what YAML makes of it."""

    text: str
    value: str | int | float | bool | None
    line: int
    column: int


@dataclass(slots=True, eq=False)
class List:
    line: int
    column: int
    items: list["Node"] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Map:
    """`entries` by key; `keys` holds line and column of each key."""

    line: int
    column: int
    entries: dict[str, "Node"] = field(default_factory=dict)
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)


Node = Scalar | List | Map


def kind(node: Node) -> str:
    """What it is, in the words of an error message."""
    match node:
        case List():
            return "a list"
        case Map():
            return "a mapping"
        case Scalar(value=None):
            return "nothing"
        case Scalar(value=bool()):
            return "true or false"
        case Scalar(value=int() | float()):
            return "a number"
        case _:
            return "a text"


def plain(node: Node) -> Any:
    """The value as dicts, lists and scalars."""
    match node:
        case Map():
            return {key: plain(child) for key, child in node.entries.items()}
        case List():
            return [plain(child) for child in node.items]
        case Scalar():
            return node.value


_STEP = re.compile(r"\[(\d+)\]|\.?([^.\[]+)")


def locate(node: Node, path: str) -> tuple[int, int]:
    """Line and column of a path such as `a.b[2].c`: of the key where the last step is one, else of the value.

    Where the path leads nowhere, the place of the last step that exists.
    """
    place = (node.line, node.column)
    rest = path
    while rest:
        whole = rest.removeprefix(".")
        if isinstance(node, Map) and whole in node.entries:  # a key may itself contain dots and brackets
            return node.keys[whole]
        step = _STEP.match(rest)
        if step is None:
            return place
        if step[1] is not None:
            index = int(step[1])
            if not isinstance(node, List) or index >= len(node.items):
                return place
            node = node.items[index]
            place = (node.line, node.column)
        else:
            if not isinstance(node, Map) or step[2] not in node.entries:
                return place
            place = node.keys[step[2]]
            node = node.entries[step[2]]
        rest = rest[step.end() :]
    return place
