"""YAML text into nodes, by libyaml's events: no recursion, bounded depth and size, duplicate keys refused.

Scalars follow the YAML 1.1 rules of the Go library that Prometheus, Alertmanager and Grafana use: `yes`, `on`, `no`,
`off` and their like are booleans where a boolean is wanted and stay texts where a text is wanted.
"""

import base64
import binascii
import re
from typing import Any

import yaml

from otero.errors import BadConfig, Problem
from otero.source.nodes import MAX_BYTES, MAX_DEPTH, MAX_NODES, List, Map, Node, Scalar

_INT = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[1-9][0-9_]*|0)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL_FLOATS = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"})
_FALSE = frozenset({"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"})
_MAX_DIGITS = 400
_MAX_PROBLEMS = 100
_TAG = "tag:yaml.org,2002:"

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_yaml(text: str | bytes, file: str = "") -> Node:
    """The one document of a YAML text; an empty text is a null. Raises BadConfig with file and line."""
    decoded = _decoded(text, file)
    try:
        return _Builder(file).build(decoded)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = ", ".join(part for part in (error.context, error.problem) if part)
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise BadConfig(Problem(f"not valid YAML: {message}", file, line, column)) from None
    except yaml.reader.ReaderError as error:
        line = decoded.count("\n", 0, max(error.position, 0)) + 1
        raise BadConfig(Problem(f"not valid YAML: {error.reason}", file, line)) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise BadConfig(Problem(f"not valid YAML: {error}", file)) from None


def _decoded(text: str | bytes, file: str) -> str:
    if len(text) > MAX_BYTES:
        raise BadConfig(Problem(f"larger than {MAX_BYTES >> 20} MiB", file))
    try:
        if isinstance(text, bytes):
            return text.decode("utf-8-sig")
        text.encode()
    except UnicodeDecodeError as error:
        line = bytes(error.object[: error.start]).count(b"\n") + 1
        raise BadConfig(Problem("not UTF-8 text", file, line)) from None
    except UnicodeEncodeError as error:
        line = str(error.object[: error.start]).count("\n") + 1
        raise BadConfig(Problem("not UTF-8 text", file, line)) from None
    return text.removeprefix("\ufeff")


class _Builder:
    """Builds the tree of one text. `_weights` counts the values below each anchored node, for the bound on aliases."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._problems: list[Problem] = []
        self._root: Node | None = None
        self._stack: list[tuple[List | Map, str | None, int]] = []
        self._key: tuple[str, int, int] | None = None
        self._keys: list[tuple[str, int, int] | None] = []
        self._merges: dict[int, list[tuple[int, Map]]] = {}
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._count = 0

    def build(self, text: str) -> Node:
        documents = 0
        for event in yaml.parse(text, Loader=_LOADER):
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        raise self._bad("more than one document in the file; it may hold only one", event)
                case yaml.ScalarEvent():
                    self._scalar(event)
                case yaml.AliasEvent():
                    self._alias(event)
                case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                    self._open(event)
                case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                    self._close()
                case _:
                    pass
        if self._problems:
            raise BadConfig(*self._problems[:_MAX_PROBLEMS])
        return self._root if self._root is not None else Scalar("", None, 1, 1)

    def _bad(self, message: str, event: Any) -> BadConfig:
        return BadConfig(*self._problems[:_MAX_PROBLEMS], Problem(message, self._file, *_place(event)))

    def _charge(self, count: int, event: Any) -> None:
        self._count += count
        if self._count > MAX_NODES:
            raise self._bad(f"more than {MAX_NODES:,} values (aliases count each time)", event)

    def _scalar(self, event: Any) -> None:
        self._charge(1, event)
        if self._awaits_key():
            text = event.value
            if event.tag == f"{_TAG}binary":
                text = self._binary(event)
            merge = text == "<<" and not event.style
            self._set_key("<<merge" if merge else text, event, merge=merge)
            return
        line, column = _place(event)
        node = Scalar(event.value, self._value(event), line, column)
        if event.tag == f"{_TAG}binary":
            node.text = str(node.value)
        if event.anchor:
            self._anchors[event.anchor] = (node, 1)
        self._attach(node, event)

    def _value(self, event: Any) -> str | int | float | bool | None:
        text: str = event.value
        tag: str | None = event.tag
        if tag is None or tag == "!":
            return resolve(text) if not event.style and tag is None else text
        match tag.removeprefix(_TAG) if tag.startswith(_TAG) else "":
            case "str":
                return text
            case "binary":
                return self._binary(event)
            case "null":
                return None
            case "int" | "float" | "bool" | "timestamp":
                return resolve(text)
        self._problems.append(Problem(f'unknown tag "{tag}"', self._file, *_place(event)))
        return text

    def _binary(self, event: Any) -> str:
        try:
            return base64.b64decode(event.value, validate=True).decode()
        except binascii.Error:
            problem = "!!binary value contains invalid base64 data"
        except ValueError:
            problem = "!!binary value is not valid UTF-8 text, which names and values must be"
        self._problems.append(Problem(problem, self._file, *_place(event)))
        return ""

    def _alias(self, event: Any) -> None:
        if self._awaits_key():
            raise self._bad("an alias cannot be a key", event)
        if event.anchor not in self._anchors:
            raise self._bad(f'unknown anchor "{event.anchor}" (or one that contains itself)', event)
        node, weight = self._anchors[event.anchor]
        self._charge(weight, event)
        if len(self._stack) + _depth(node) > MAX_DEPTH:
            raise self._bad(f"nested deeper than {MAX_DEPTH} levels", event)
        self._attach(node, event)

    def _open(self, event: Any) -> None:
        if self._awaits_key():
            raise self._bad("a key must be a text", event)
        if len(self._stack) >= MAX_DEPTH:
            raise self._bad(f"nested deeper than {MAX_DEPTH} levels", event)
        self._charge(1, event)
        line, column = _place(event)
        node = List(line, column) if isinstance(event, yaml.SequenceStartEvent) else Map(line, column)
        self._stack.append((node, event.anchor, self._count))
        self._keys.append(self._key)
        self._key = None

    def _close(self) -> None:
        node, anchor, count = self._stack.pop()
        self._key = self._keys.pop()
        for _, merged in self._merges.pop(id(node), ()):
            assert isinstance(node, Map)  # noqa: S101 (only a mapping has merges)
            for key, child in merged.entries.items():
                if key not in node.entries:
                    node.entries[key] = child
                    node.keys[key] = merged.keys[key]
        if anchor:
            self._anchors[anchor] = (node, self._count - count + 1)
        self._attach(node, node)

    def _awaits_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1][0], Map) and self._key is None

    def _set_key(self, key: str, event: Any, *, merge: bool) -> None:
        line, column = _place(event)
        parent = self._stack[-1][0]
        assert isinstance(parent, Map)  # noqa: S101 (see _awaits_key)
        if not merge:
            if key in parent.keys:
                first = parent.keys[key][0]
                self._problems.append(
                    Problem(f'key "{key}" is given twice; first on line {first}', self._file, line, column)
                )
            else:
                parent.keys[key] = (line, column)
        self._key = (key, line, column)

    def _attach(self, node: Node, event: Any) -> None:
        if not self._stack:
            self._root = node
            return
        parent = self._stack[-1][0]
        if isinstance(parent, List):
            parent.items.append(node)
            return
        assert self._key is not None  # noqa: S101 (a value follows its key)
        key = self._key[0]
        self._key = None
        if key != "<<merge":
            parent.entries.setdefault(key, node)
            return
        for source in node.items if isinstance(node, List) else [node]:
            if not isinstance(source, Map):
                raise self._bad("map merge requires a mapping or a list of mappings as the value", event)
            self._merges.setdefault(id(parent), []).append((len(self._stack), source))


def _depth(node: Node) -> int:
    depth = 0
    layer: list[Node] = [node]
    while layer and depth <= MAX_DEPTH:
        depth += 1
        below: dict[int, Node] = {}
        for part in layer:
            children = (
                part.items
                if isinstance(part, List)
                else part.entries.values()
                if isinstance(part, Map)
                else ()
            )
            below.update((id(child), child) for child in children)
        layer = list(below.values())
    return depth


def _place(event: Any) -> tuple[int, int]:
    mark = getattr(event, "start_mark", None)
    return (mark.line + 1, mark.column + 1) if mark is not None else (event.line, event.column)


def resolve(text: str) -> str | int | float | bool | None:
    """What an unquoted scalar stands for."""
    if text in _NULLS:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if text[0] not in "+-.0123456789" or len(text) > _MAX_DIGITS:
        return text
    if _INT.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    special = _SPECIAL_FLOATS.get(text.lower())
    return float(special) if special else text


def _integer(text: str) -> int | str:
    digits = text.replace("_", "")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        digits = "0o" + digits[1:]  # YAML 1.1's octal
    try:
        return sign * int(digits, 0)
    except ValueError:
        return text
