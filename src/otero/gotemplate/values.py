"""What templates compute with: Go's values as Python's.

    nil, bool, int, float64, string   None, bool, int, float, str
    a map                             Map     ordered by key whenever it is printed or ranged over
    a slice                           List
    a struct                          Struct  with its fields in order
    time.Time, time.Duration          Time, Duration (`gotemplate.times`)

Types may have methods: Python functions that take the value and the arguments of the call, and may raise
`FunctionError`; one named `String` says how the value prints. What is a named type of string in Go (a text that is safe
HTML) is a subclass of str.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Method = Callable[..., Any]

NO_METHODS: Mapping[str, Method] = {}


class FunctionError(Exception):
    """Raised by functions and methods; the text is what the template's author reads."""


class SafeHtml(str):
    """Text that is HTML already and is not escaped where HTML is made."""

    __slots__ = ()


class SafeUrl(str):
    """An address that is known to be harmless, whatever its scheme."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Map:
    """A map with string keys. `zero` is what a missing key gives: "" for map[string]string, None where anything may be."""

    entries: Mapping[str, Any]
    zero: Any = ""
    type_name: str = "map[string]string"
    methods: Mapping[str, Method] = field(default_factory=lambda: NO_METHODS)

    def sorted_items(self) -> list[tuple[str, Any]]:
        """Pairs by ascending key, as Go ranges over maps."""
        return sorted(self.entries.items())


@dataclass(frozen=True, slots=True)
class List:
    """A slice."""

    items: Sequence[Any]
    type_name: str = "[]interface {}"
    methods: Mapping[str, Method] = field(default_factory=lambda: NO_METHODS)


@dataclass(frozen=True, slots=True)
class Struct:
    """A struct: fields in the order in which they print; `json_names` where JSON calls them otherwise."""

    type_name: str
    fields: Mapping[str, Any]
    methods: Mapping[str, Method] = field(default_factory=lambda: NO_METHODS)
    json_names: Mapping[str, str] = field(default_factory=dict)


def methods_of(value: Any) -> Mapping[str, Method]:
    """The methods of a value's type; none for plain ones."""
    return getattr(value, "methods", NO_METHODS)


def type_name(value: Any) -> str:
    """The name of a value's Go type, for error messages."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, SafeHtml):
        return "template.HTML"
    if isinstance(value, SafeUrl):
        return "template.URL"
    if isinstance(value, str):
        return "string"
    return getattr(value, "type_name", type(value).__name__)


def is_true(value: Any) -> bool:
    """Go's truth of templates: false, 0, nil and whatever is empty are false; a struct is true."""
    if isinstance(value, Map):
        return bool(value.entries)
    if isinstance(value, List):
        return bool(value.items)
    if value is None or isinstance(value, (bool, int, float, str)):
        return bool(value)
    return True
