"""Functions of templates: how a set of them is given, and those that every template has.

Rules: https://pkg.go.dev/text/template#hdr-Functions
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from otero.gotemplate.formatting import sprint, sprintf, to_text
from otero.gotemplate.times import Duration, Time
from otero.gotemplate.values import FunctionError, List, Map, is_true, type_name


@dataclass(frozen=True, slots=True)
class Function:
    """A function that templates may call.

    call      gets the arguments; raises FunctionError for what it cannot do.
    args      what each argument must be: "any", "string", "int", "float" (an int is taken too), "bool", "map", "list",
              "time", "duration". The last one repeats when `variadic`.
    """

    call: Callable[..., Any]
    args: tuple[str, ...] = ()
    variadic: bool = False

    def run(self, name: str, arguments: list[Any]) -> Any:
        """Check the arguments, in their list, and call. Raises FunctionError."""
        fixed = len(self.args) - self.variadic
        if len(arguments) < fixed or (len(arguments) > fixed and not self.variadic):
            wanted = f"at least {fixed}" if self.variadic else f"{fixed}"
            raise FunctionError(f"wrong number of args for {name}: want {wanted} got {len(arguments)}")
        last = len(self.args) - 1
        for at, argument in enumerate(arguments):
            kind = self.args[min(at, last)]
            if kind != "any" and type(argument) is not _PLAIN.get(kind):
                arguments[at] = _checked(argument, kind)
        return self.call(*arguments)


_PLAIN: Mapping[str, type] = {
    "string": str, "int": int, "float": float, "bool": bool, "map": Map, "list": List, "time": Time, "duration": Duration,
}  # fmt: skip
"""The types that need no closer look."""

_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "string": ("string", lambda v: isinstance(v, str)),
    "int": ("int", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    "float": ("float64", lambda v: isinstance(v, (int, float)) and not isinstance(v, bool)),
    "bool": ("bool", lambda v: isinstance(v, bool)),
    "map": ("map", lambda v: isinstance(v, Map)),
    "list": ("slice", lambda v: isinstance(v, List)),
    "time": ("time.Time", lambda v: isinstance(v, Time)),
    "duration": ("time.Duration", lambda v: isinstance(v, Duration)),
}


def _checked(value: Any, kind: str) -> Any:
    if kind == "any":
        return value
    name, fits = _KINDS[kind]
    if not fits(value):
        raise FunctionError(f"wrong type for value; expected {name}; got {type_name(value)}")
    return float(value) if kind == "float" else value


# -- comparing ---------------------------------------------------------------------------------------------------------


def _basic_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str):
        return "string"
    if value is None:
        return "nil"
    raise FunctionError(f"invalid type for comparison: {type_name(value)}")


def _equal(first: Any, *others: Any) -> bool:
    """Whether the first argument equals any of the others."""
    if not others:
        raise FunctionError("missing argument for comparison")
    if isinstance(first, (Time, Duration)):
        return any(type(first) is type(other) and first == other for other in others)
    kind = _basic_kind(first)
    for other in others:
        other_kind = _basic_kind(other)
        if kind != other_kind:
            if "nil" in (kind, other_kind):
                continue
            raise FunctionError("incompatible types for comparison")
        if first == other:
            return True
    return False


def _less(first: Any, second: Any) -> bool:
    if isinstance(first, (Time, Duration)) and type(first) is type(second):
        return first.ns < second.ns
    kind, other_kind = _basic_kind(first), _basic_kind(second)
    if kind != other_kind:
        raise FunctionError("incompatible types for comparison")
    if kind in ("bool", "nil"):
        raise FunctionError("invalid type for comparison")
    return first < second


def _less_or_equal(first: Any, second: Any) -> bool:
    return _less(first, second) or _equal(first, second)


# -- looking into ------------------------------------------------------------------------------------------------------


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, Map):
        return len(value.entries)
    if isinstance(value, List):
        return len(value.items)
    if value is None:
        raise FunctionError("len of nil pointer")
    raise FunctionError(f"len of type {type_name(value)}")


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = _indexed(value, key)
    return value


def _indexed(value: Any, key: Any) -> Any:
    if isinstance(value, Map):
        if not isinstance(key, str):
            raise FunctionError(f"value has type {type_name(key)}; should be string")
        return value.entries.get(key, value.zero)
    if value is None:
        raise FunctionError("index of untyped nil")
    if not isinstance(value, (List, str)):
        raise FunctionError(f"can't index item of type {type_name(value)}")
    items = value.items if isinstance(value, List) else value.encode()
    if not isinstance(key, int) or isinstance(key, bool):
        raise FunctionError(f"cannot index slice/array with type {type_name(key)}")
    if not 0 <= key < len(items):
        raise FunctionError(f"index out of range: {key}")
    return items[key]


def _slice(value: Any, *bounds: Any) -> Any:
    if not isinstance(value, (List, str)):
        raise FunctionError(f"can't slice item of type {type_name(value)}")
    if len(bounds) > 3 or (len(bounds) == 3 and isinstance(value, str)):
        raise FunctionError("too many slice indexes")
    items = value.items if isinstance(value, List) else value.encode()
    for bound in bounds:
        if not isinstance(bound, int) or isinstance(bound, bool) or not 0 <= bound <= len(items):
            raise FunctionError(f"index out of range: {to_text(bound)}")
    low = bounds[0] if bounds else 0
    high = bounds[1] if len(bounds) > 1 else len(items)
    if low > high:
        raise FunctionError(f"invalid slice index: {low} > {high}")
    part = items[low:high]
    return (
        part.decode(errors="replace")
        if isinstance(part, bytes)
        else List(part, getattr(value, "type_name", ""))
    )


def _call(callee: Any, *arguments: Any) -> Any:
    if not callable(callee):
        raise FunctionError(f"non-function of type {type_name(callee)}")
    return callee(*arguments)


# -- escaping ----------------------------------------------------------------------------------------------------------

_HTML = str.maketrans({'"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;", "\0": "\ufffd"})
_JS = {
    **{code: f"\\u{code:04X}" for code in range(32)},
    **{ord(char): f"\\u{ord(char):04X}" for char in "<>&="},
    0x2028: "\\u2028", 0x2029: "\\u2029", ord("\\"): "\\\\", ord("'"): "\\'", ord('"'): '\\"',
}  # fmt: skip


def html_escape(text: str) -> str:
    """Text for HTML and for quoted attributes, as `html` of text/template writes it."""
    return text.translate(_HTML)


def js_escape(text: str) -> str:
    """Text within a JavaScript string, as `js` writes it."""
    escaped = text.translate(_JS)
    if escaped.isprintable():
        return escaped
    return "".join(char if char.isprintable() else f"\\u{ord(char):04X}" for char in escaped)


def _all_text(arguments: Sequence[Any]) -> str:
    return arguments[0] if len(arguments) == 1 and isinstance(arguments[0], str) else sprint(arguments)


BUILTINS: Mapping[str, Function] = {
    "and": Function(lambda *args: next((a for a in args if not is_true(a)), args[-1]), ("any", "any"), True),
    "or": Function(lambda *args: next((a for a in args if is_true(a)), args[-1]), ("any", "any"), True),
    "not": Function(lambda value: not is_true(value), ("any",)),
    "eq": Function(_equal, ("any", "any"), True),
    "ne": Function(lambda a, b: not _equal(a, b), ("any", "any")),
    "lt": Function(_less, ("any", "any")),
    "le": Function(_less_or_equal, ("any", "any")),
    "gt": Function(lambda a, b: not _less_or_equal(a, b), ("any", "any")),
    "ge": Function(lambda a, b: not _less(a, b), ("any", "any")),
    "len": Function(_length, ("any",)),
    "index": Function(_index, ("any", "any"), True),
    "slice": Function(_slice, ("any", "any"), True),
    "call": Function(_call, ("any", "any"), True),
    "print": Function(lambda *args: sprint(args), ("any",), True),
    "printf": Function(lambda layout, *args: sprintf(layout, args), ("string", "any"), True),
    "println": Function(lambda *args: " ".join(map(to_text, args)) + "\n", ("any",), True),
    "html": Function(lambda *args: html_escape(_all_text(args)), ("any",), True),
    "js": Function(lambda *args: js_escape(_all_text(args)), ("any",), True),
    "urlquery": Function(lambda *args: quote_plus(_all_text(args), safe="~"), ("any",), True),
}
"""What text/template brings along. `and` and `or` stop early when the executor calls them."""
