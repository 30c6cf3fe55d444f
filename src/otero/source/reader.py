"""Nodes into msgspec Structs, with every problem of a file collected and placed.

Texts go into text fields as they stand in the file (`true`, `1.10` and `yes` stay what was written), as the Go library
of the original tools does; a key without a value means the default.
"""

import difflib
import types
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from otero.errors import BadConfig, BadField, Problem
from otero.source.nodes import List, Map, Node, Scalar, kind, locate, plain

T = TypeVar("T")


class _Failed:
    """Stands for a value that could not be read; its problem is noted."""


FAILED: Final = _Failed()

MAX_PROBLEMS = 100
"""More problems or warnings of one file than this are not listed: nobody reads them, and hints cost time."""


@dataclass(frozen=True, slots=True)
class Unserved:
    """Marks a field (`Annotated[…, Unserved("…")]`) that is understood and checked but has no effect yet."""

    why: str = ""


@dataclass(frozen=True, slots=True)
class Present:
    """Marks an optional Struct (`Annotated[X | None, Present()]`) that a key without a value stands for too, with its
    defaults: `grpc:` alone opens that door, as the OpenTelemetry Collector has it."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    type: Any
    default: Any
    required: bool
    unserved: Unserved | None
    present: bool


class Reader:
    """Reads the nodes of one file. `folder` is where relative file paths in it start; `ignore_unknown` passes over
    fields that nobody knows."""

    def __init__(self, file: str = "", folder: Path | None = None, *, ignore_unknown: bool = False) -> None:
        self.file = file
        self.folder = folder
        self._ignores_unknown = ignore_unknown
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def read(self, node: Node, type_: type[T], path: str = "") -> T | _Failed:
        """The value as `type_`, or FAILED with its problems noted."""
        return self._read(node, type_, path)

    def require(self, node: Node, type_: type[T], path: str = "") -> T:
        """The value as `type_`; raises BadConfig with all problems noted so far when there are any."""
        value = self._read(node, type_, path)
        self.check()
        return value

    def check(self) -> None:
        """Raises BadConfig when problems were noted."""
        if self.problems:
            raise BadConfig(*self.problems)

    def problem(self, message: str, node: Node | None = None, path: str = "", at: str = "") -> _Failed:
        """Notes a problem of `node`, or of what `at` names below it."""
        if self._is_open(self.problems, "problems"):
            self.problems.append(self._placed(message, node, path, at))
        return FAILED

    def warn(self, message: str, node: Node | None = None, path: str = "", at: str = "") -> None:
        """Notes something that the user should know but that is no error."""
        if self._is_open(self.warnings, "warnings"):
            self.warnings.append(self._placed(message, node, path, at))

    def _is_open(self, noted: list[Problem], what: str) -> bool:
        if len(noted) == MAX_PROBLEMS:
            noted.append(Problem(f"more {what} follow; they are not listed", self.file))
        return len(noted) < MAX_PROBLEMS

    def _placed(self, message: str, node: Node | None, path: str, at: str) -> Problem:
        line, column = locate(node, at) if node is not None else (0, 0)
        full = path + at if at.startswith("[") or not path else f"{path}.{at}" if at else path
        return Problem(message, self.file, line, column, full or "")

    def _read(self, node: Node, type_: Any, path: str) -> Any:
        origin = get_origin(type_)
        if origin is Annotated:
            return self._read(node, get_args(type_)[0], path)
        if origin in (Union, types.UnionType):
            return self._union(node, get_args(type_), path)
        if origin is Literal:
            return self._literal(node, get_args(type_), path)
        if origin in (tuple, list):
            return self._list(node, type_, path)
        if origin is dict:
            return self._dict(node, get_args(type_)[1], path)
        if type_ is Any:
            return plain(node)
        if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
            return self._struct(node, type_, path)
        return self._scalar(node, type_, path)

    def _union(self, node: Node, members: tuple[Any, ...], path: str) -> Any:
        if isinstance(node, Scalar) and node.value is None and types.NoneType in members:
            return None
        members = tuple(member for member in members if member is not types.NoneType)
        if all(get_origin(member) is Literal for member in members):
            return self._literal(node, tuple(word for member in members for word in get_args(member)), path)
        if len(members) == 1:
            return self._read(node, members[0], path)
        for member in members:  # the first whose shape fits: a mapping for a Struct, a list, else a scalar
            if _fits(node, member):
                return self._read(node, member, path)
        return self.problem(f"{kind(node)} cannot stand here", node, path)

    def _literal(self, node: Node, words: tuple[Any, ...], path: str) -> Any:
        text = node.text if isinstance(node, Scalar) else None
        if isinstance(node, Scalar) and node.value is None and node.text not in words:
            return self.problem(f"{_last(path)} cannot be empty; use one of {_listed(words)}", node, path)
        if text in words:
            return text
        if text is None:
            return self.problem(f"expected one of {_listed(words)}, found {kind(node)}", node, path)
        if len(self.problems) > MAX_PROBLEMS:
            return FAILED
        hint = did_you_mean(text, [str(word) for word in words])
        return self.problem(
            f'unknown {_last(path)} "{_short(text)}"; use one of {_listed(words)}{hint}', node, path
        )

    def _list(self, node: Node, type_: Any, path: str) -> Any:
        make, member = get_origin(type_), get_args(type_)[0]
        if isinstance(node, Scalar) and node.value is None:
            return make()
        if not isinstance(node, List):
            return self.problem(f"expected a list, found {kind(node)}", node, path)
        values: list[Any] = []
        for index, item in enumerate(node.items):
            if isinstance(item, Scalar) and item.value is None and _is_struct(member):
                values.append(
                    self.problem(f"empty or null section in {_last(path)}", item, f"{path}[{index}]")
                )
            else:
                values.append(self._read(item, member, f"{path}[{index}]"))
        return FAILED if any(value is FAILED for value in values) else make(values)

    def _dict(self, node: Node, member: Any, path: str) -> Any:
        if isinstance(node, Scalar) and node.value is None:
            return {}
        if not isinstance(node, Map):
            return self.problem(f"expected a mapping, found {kind(node)}", node, path)
        values = {key: self._read(child, member, f"{path}.{key}") for key, child in node.entries.items()}
        return FAILED if any(value is FAILED for value in values.values()) else values

    def _struct(self, node: Node, type_: type[msgspec.Struct], path: str) -> Any:
        if isinstance(node, Scalar) and node.value is None:
            node = Map(node.line, node.column)
        if not isinstance(node, Map):
            return self.problem(f"expected a mapping, found {kind(node)}", node, path)
        fields = _fields(type_)
        values: dict[str, Any] = {}
        failed = False
        for key, child in node.entries.items():
            field = fields.get(key)
            if field is None and self._ignores_unknown:
                continue
            if field is None:
                self.problem(
                    f'unknown field "{_short(key)}"{did_you_mean(key, list(fields))}', node, path, key
                )
                failed = True
                continue
            if field.present and isinstance(child, Scalar) and child.value is None:
                child = Map(child.line, child.column)
            if _means_default(child, field):
                continue
            value = self._read(child, field.type, f"{path}.{key}" if path else key)
            if value is FAILED:
                failed = True
                continue
            values[field.name] = value
            if field.unserved is not None and value != field.default and value is not False:
                why = f": {field.unserved.why}" if field.unserved.why else ""
                self.warn(f"Otero cannot serve this yet{why}", node, path, key)
        for key, field in fields.items():
            if field.required and field.name not in values and key not in node.entries:
                self.problem(f'missing field "{key}"', node, path)
                failed = True
        if failed:
            return FAILED
        try:
            return type_(**values)
        except BadField as error:
            return self.problem(str(error), node, path, error.at)

    def _scalar(self, node: Node, type_: Any, path: str) -> Any:
        if not isinstance(node, Scalar):
            return self.problem(f"expected {_NAMES.get(type_, 'a text')}, found {kind(node)}", node, path)
        parse = getattr(type_, "parse", None)
        try:
            if parse is not None:
                value = parse("" if node.value is None else node.text)
                resolve_in = getattr(value, "resolve_in", None)
                return (
                    resolve_in(self.folder) if resolve_in is not None and self.folder is not None else value
                )
            if type_ is str:
                return "" if node.value is None else node.text
        except BadField as error:
            return self.problem(str(error), node, path)
        value = _number(node, type_)
        if value is None:
            shown = f' "{_short(node.text)}"' if isinstance(node.value, str) else ""
            return self.problem(
                f"expected {_NAMES.get(type_, 'a value')}, found {kind(node)}{shown}", node, path
            )
        return value


_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def _number(node: Scalar, type_: Any) -> int | float | bool | None:
    value = node.value
    if type_ is bool:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if type_ is int:
        in_range = abs(value) < 1 << 63
        return int(value) if in_range and (isinstance(value, int) or value.is_integer()) else None
    if type_ is float:
        try:
            return float(value)
        except OverflowError:
            return None
    return None


@lru_cache(maxsize=256)
def _fields(type_: type[msgspec.Struct]) -> dict[str, _Field]:
    fields: dict[str, _Field] = {}
    for info in msgspec.structs.fields(type_):
        marks = get_args(info.type)[1:] if get_origin(info.type) is Annotated else ()
        unserved = next((mark for mark in marks if isinstance(mark, Unserved)), None)
        present = any(isinstance(mark, Present) for mark in marks)
        default = info.default
        if default is msgspec.NODEFAULT and info.default_factory is not msgspec.NODEFAULT:
            default = info.default_factory()
        fields[info.encode_name] = _Field(info.name, info.type, default, info.required, unserved, present)
    return fields


def _means_default(node: Node, field: _Field) -> bool:
    """Whether it is a key without a value, of a field for which that means the default: not a text, not a choice."""
    if not isinstance(node, Scalar) or node.value is not None or field.required:
        return False
    type_ = field.type
    while get_origin(type_) is Annotated:
        type_ = get_args(type_)[0]
    if get_origin(type_) is Literal:
        return "" in get_args(type_)
    return not (isinstance(type_, type) and (issubclass(type_, str) or type_.__name__ == "Secret"))


def _is_struct(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def _fits(node: Node, type_: Any) -> bool:
    origin = get_origin(type_)
    if isinstance(node, Map):
        return origin is dict or _is_struct(type_)
    if isinstance(node, List):
        return origin in (tuple, list)
    return origin not in (dict, tuple, list) and not _is_struct(type_)


def _last(path: str) -> str:
    return path.rsplit(".", 1)[-1].split("[", 1)[0] or "value"


def _listed(words: tuple[Any, ...]) -> str:
    return ", ".join(str(word) for word in words if word != "")


def _short(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[:limit] + "…"


def did_you_mean(word: str, known: list[str]) -> str:
    """`, did you mean "…"?`, or nothing when no known word is near."""
    close = difflib.get_close_matches(word[:80], known, n=1, cutoff=0.6)
    return f', did you mean "{close[0]}"?' if close else ""
