"""Runs templates within bounds. What is run are closures that `program` made of the syntax tree.

Rules: https://pkg.go.dev/text/template. A missing key of a map gives the zero value of its kind (`missingkey=zero`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from otero.gotemplate import nodes
from otero.gotemplate.formatting import to_text
from otero.gotemplate.functions import Function
from otero.gotemplate.html import HtmlEscaper
from otero.gotemplate.lexer import TemplateError, complain
from otero.gotemplate.values import FunctionError, List, Map, Struct, methods_of, type_name


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one execution: characters written, nodes and calls evaluated, templates within templates."""

    output: int = 1 << 20
    steps: int = 1_000_000
    depth: int = 50


Frame = list[Any]
"""The variables of a template that runs, by the place that `program` gave them; `$` is the first."""

Body = Callable[["Execution", Frame, Any], None]
"""Writes what a list of nodes makes of dot."""

Value = Callable[["Execution", Frame, Any], Any]
"""Gives the value of a pipeline or of an operand."""


class Missing:
    """Stands where there is no value: a variable that was not set, an argument that was not given."""


MISSING: Any = Missing()


@dataclass(frozen=True, slots=True)
class Place:
    """A node and the template that it stands in: what an error tells."""

    template: nodes.Template
    node: Any

    def error(self, message: str) -> TemplateError:
        template, node = self.template, self.node
        end = getattr(node, "end", node.at)
        shown = template.source[node.at : end].strip()
        shown = f"{shown[:20]}..." if len(shown) > 20 else shown
        at = f" at <{shown}>" if shown else ""
        return complain(
            template.file, template.source, node.at, f'executing "{template.name}"{at}: {message}'
        )


@dataclass(frozen=True, slots=True)
class Program:
    """A template that can run: its body and how many variables it has."""

    template: nodes.Template
    body: Body
    variables: int


class Execution:
    """One execution of one template; makes the text in `run`."""

    __slots__ = ("_depth", "_limits", "_out", "_programs", "_steps", "_written", "escaper", "own")

    def __init__(
        self,
        programs: Mapping[str, Program],
        own: Mapping[str, Function],
        limits: Limits,
        *,
        html: bool,
    ) -> None:
        self._programs = programs
        self._limits = limits
        self._out: list[str] = []
        self._written = 0
        self._steps = 0
        self._depth = 0
        self.own = own
        self.escaper = HtmlEscaper() if html else None

    def run(self, name: str, data: Any) -> str:
        """The text that the named template makes of `data`. Raises TemplateError."""
        found = self._programs.get(name)
        if found is None:
            raise TemplateError(f'template: no template "{name}" is defined')
        found.body(self, _frame(found, data), data)
        return "".join(self._out)

    def step(self, place: Place, count: int) -> None:
        """Counts what is about to be done."""
        self._steps += count
        if self._steps > self._limits.steps:
            raise place.error(f"the template does more than {self._limits.steps:,} steps")

    def write(self, place: Place, text: str) -> None:
        self._written += len(text)
        if self._written > self._limits.output:
            raise place.error(f"the template writes more than {self._limits.output:,} characters")
        self._out.append(text)

    def print(self, place: Place, value: Any) -> None:
        """Writes a value as its place in the text wants it."""
        if self.escaper is not None:
            value = self.escaper.dynamic(value)
        elif type(value) is not str:
            value = "<no value>" if value is None else to_text(value)
        self.write(place, value)

    def call(self, place: Place, name: str, data: Any) -> None:
        """`{{ template "name" data }}`."""
        found = self._programs.get(name)
        if found is None:
            raise place.error(f'template "{name}" not defined')
        if self._depth >= self._limits.depth:
            raise place.error(f"templates call each other more than {self._limits.depth} levels deep")
        self._depth += 1
        found.body(self, _frame(found, data), data)
        self._depth -= 1


def _frame(program: Program, data: Any) -> Frame:
    return [data, *[MISSING] * program.variables]


# -- values -------------------------------------------------------------------------------------------------------------


def elements(place: Place, value: Any) -> Iterator[tuple[Any, Any]]:
    """What a range goes over: keys and elements."""
    if isinstance(value, List):
        return enumerate(value.items)
    if isinstance(value, Map):
        return iter(value.sorted_items())
    if isinstance(value, int) and not isinstance(value, bool):
        return ((at, at) for at in range(value))
    if value is None:
        return iter(())
    raise place.error(f"range can't iterate over {to_text(value)}")


def member(place: Place, value: Any, name: str, arguments: list[Any]) -> Any:
    """`.name` of a value: a method's result, a field, or what a map has under the name."""
    method = methods_of(value).get(name)
    if method is not None:
        try:
            return method(value, *arguments)
        except FunctionError as error:
            raise failed(place, name, error) from None
        except TypeError:
            raise place.error(f"wrong number of args for {name}: got {len(arguments)}") from None
    if isinstance(value, Struct) and name in value.fields:
        found = value.fields[name]
    elif isinstance(value, Map):
        found = value.entries.get(name, value.zero)
    elif value is None:
        raise place.error(f"nil pointer evaluating interface {{}}.{name}")
    else:
        raise place.error(f"can't evaluate field {name} in type {type_name(value)}")
    if not arguments:
        return found
    if not callable(found):
        raise place.error(f"{name} is not a method but has arguments")
    try:
        return found(*arguments)
    except FunctionError as error:
        raise failed(place, name, error) from None


def failed(place: Place, name: str, error: FunctionError) -> TemplateError:
    """The error of a function or method that was called."""
    text = str(error)
    if not text.startswith(("wrong number of args", "wrong type for value")):
        text = f"error calling {name}: {text}"
    return place.error(text)
