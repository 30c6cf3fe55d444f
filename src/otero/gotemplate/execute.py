"""Runs templates: a walk over the tree that writes text, within bounds.

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
from otero.gotemplate.values import FunctionError, List, Map, Struct, is_true, methods_of, type_name


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one execution: characters written, nodes and calls evaluated, templates within templates."""

    output: int = 1 << 20
    steps: int = 1_000_000
    depth: int = 50


class _BreakError(Exception):
    """Leaves the innermost range."""


class _ContinueError(Exception):
    """Goes on with the next element of the innermost range."""


class _Missing:
    """What a chain finds where there is nothing, so that what follows can say so."""


_MISSING: Any = _Missing()


class Execution:
    """One execution of one template; makes the text in `run`."""

    def __init__(
        self,
        templates: Mapping[str, nodes.Template],
        functions: Mapping[str, Function],
        limits: Limits,
        own: Mapping[str, Function],
        *,
        html: bool,
    ) -> None:
        self._templates = templates
        self._functions = functions
        self._own = own
        self._limits = limits
        self._escaper = HtmlEscaper() if html else None
        self._out: list[str] = []
        self._written = 0
        self._steps = 0
        self._depth = 0
        self._template: nodes.Template
        self._variables: list[tuple[str, Any]] = []

    def run(self, name: str, data: Any) -> str:
        """The text that the named template makes of `data`. Raises TemplateError."""
        found = self._templates.get(name)
        if found is None:
            raise TemplateError(f'template: no template "{name}" is defined')
        self._template = found
        self._variables = [("$", data)]
        self._walk(found.body, data)
        return "".join(self._out)

    # -- errors and bounds ---------------------------------------------------------------------------------------

    def _error(self, node: Any, message: str) -> TemplateError:
        template = self._template
        end = getattr(node, "end", node.at)
        shown = template.source[node.at : end].strip()
        shown = f"{shown[:20]}..." if len(shown) > 20 else shown
        at = f" at <{shown}>" if shown else ""
        return complain(
            template.file, template.source, node.at, f'executing "{template.name}"{at}: {message}'
        )

    def _step(self, node: Any) -> None:
        self._steps += 1
        if self._steps > self._limits.steps:
            raise self._error(node, f"the template does more than {self._limits.steps:,} steps")

    def _write(self, node: Any, text: str) -> None:
        self._written += len(text)
        if self._written > self._limits.output:
            raise self._error(node, f"the template writes more than {self._limits.output:,} characters")
        self._out.append(text)

    # -- nodes ---------------------------------------------------------------------------------------------------

    def _walk(self, body: tuple[nodes.Node, ...], dot: Any) -> None:
        for node in body:
            self._step(node)
            match node:
                case nodes.Text():
                    self._write(node, self._escaper.static(node.text) if self._escaper else node.text)
                case nodes.Action():
                    value = self._pipeline(node.pipeline, dot)
                    if not node.pipeline.variables:
                        self._print(node.pipeline, value)
                case nodes.If():
                    mark = len(self._variables)
                    value = self._pipeline(node.pipeline, dot)
                    self._walk(node.body if is_true(value) else node.otherwise, dot)
                    del self._variables[mark:]
                case nodes.With():
                    mark = len(self._variables)
                    value = self._pipeline(node.pipeline, dot)
                    if is_true(value):
                        self._walk(node.body, value)
                    else:
                        self._walk(node.otherwise, dot)
                    del self._variables[mark:]
                case nodes.Range():
                    self._range(node, dot)
                case nodes.Call():
                    self._call_template(node, dot)
                case nodes.Break():
                    raise _BreakError
                case nodes.Continue():
                    raise _ContinueError

    def _print(self, node: Any, value: Any) -> None:
        if self._escaper is not None:
            self._write(node, self._escaper.dynamic(value))
        else:
            self._write(node, "<no value>" if value is None else to_text(value))

    def _range(self, node: nodes.Range, dot: Any) -> None:
        mark = len(self._variables)
        value = self._pipeline(node.pipeline, dot, declare=False)
        names, assigns = node.pipeline.variables, node.pipeline.assigns
        body_mark = len(self._variables)
        any_element = False
        for key, element in self._elements(node.pipeline, value):
            any_element = True
            self._step(node)
            pairs = (
                [(names[0], element)] if len(names) == 1 else list(zip(names, (key, element), strict=False))
            )
            for name, bound in pairs:
                if assigns:
                    self._assign(node.pipeline, name, bound)
                else:
                    self._variables.append((name, bound))
            try:
                self._walk(node.body, element)
            except _ContinueError:
                pass
            except _BreakError:
                break
            finally:
                del self._variables[body_mark:]
        if not any_element:
            self._walk(node.otherwise, dot)
        del self._variables[mark:]

    def _elements(self, node: nodes.Pipeline, value: Any) -> Iterator[tuple[Any, Any]]:
        if isinstance(value, List):
            return iter(enumerate(value.items))
        if isinstance(value, Map):
            return iter(value.sorted_items())
        if isinstance(value, int) and not isinstance(value, bool):
            return ((at, at) for at in range(value))
        if value is None:
            return iter(())
        raise self._error(node, f"range can't iterate over {to_text(value)}")

    def _call_template(self, node: nodes.Call, dot: Any) -> None:
        found = self._templates.get(node.name)
        if found is None:
            raise self._error(node, f'template "{node.name}" not defined')
        if self._depth >= self._limits.depth:
            raise self._error(node, f"templates call each other more than {self._limits.depth} levels deep")
        data = None if node.pipeline is None else self._pipeline(node.pipeline, dot)
        template, variables = self._template, self._variables
        self._template, self._variables = found, [("$", data)]
        self._depth += 1
        self._walk(found.body, data)
        self._depth -= 1
        self._template, self._variables = template, variables

    # -- values --------------------------------------------------------------------------------------------------

    def _pipeline(self, node: nodes.Pipeline, dot: Any, *, declare: bool = True) -> Any:
        value: Any = _MISSING
        for command in node.commands:
            value = self._command(command, dot, value)
        if declare:
            for name in node.variables:
                if node.assigns:
                    self._assign(node, name, value)
                else:
                    self._variables.append((name, value))
        return value

    def _assign(self, node: Any, name: str, value: Any) -> None:
        for at in range(len(self._variables) - 1, -1, -1):
            if self._variables[at][0] == name:
                self._variables[at] = (name, value)
                return
        raise self._error(node, f"undefined variable: {name}")

    def _command(self, node: nodes.Command, dot: Any, final: Any) -> Any:
        self._step(node)
        first, arguments = node.operands[0], node.operands[1:]
        if isinstance(first, nodes.Function):
            return self._function(first, arguments, dot, final)
        if isinstance(first, nodes.Field):
            return self._field(first, arguments, dot, final)
        if arguments or final is not _MISSING:
            raise self._error(first, "can't give argument to non-function")
        return self._operand(first, dot)

    def _operand(self, node: nodes.Operand, dot: Any) -> Any:
        match node:
            case nodes.Dot():
                return dot
            case nodes.Literal():
                return node.value
            case nodes.Variable():
                return self._variable(node)
            case nodes.Function():
                return self._function(node, (), dot, _MISSING)
            case nodes.Field():
                return self._field(node, (), dot, _MISSING)
            case nodes.Pipeline():
                self._step(node)
                mark = len(self._variables)
                value = self._pipeline(node, dot)
                del self._variables[mark:]
                return value

    def _variable(self, node: nodes.Variable) -> Any:
        for name, value in reversed(self._variables):
            if name == node.name:
                return value
        raise self._error(node, f"undefined variable: {node.name}")

    def _function(
        self, node: nodes.Function, arguments: tuple[nodes.Operand, ...], dot: Any, final: Any
    ) -> Any:
        if node.name in ("and", "or"):
            return self._short_circuit(node, arguments, dot, final)
        values = [self._operand(argument, dot) for argument in arguments]
        if final is not _MISSING:
            values.append(final)
        function = self._own.get(node.name) or self._functions[node.name]
        return self._run(node, node.name, lambda: function.run(node.name, values))

    def _short_circuit(
        self, node: nodes.Function, arguments: tuple[nodes.Operand, ...], dot: Any, final: Any
    ) -> Any:
        value: Any = _MISSING
        for argument in arguments:
            value = self._operand(argument, dot)
            if is_true(value) == (node.name == "or"):
                return value
        if final is not _MISSING:
            return final
        if value is _MISSING:
            raise self._error(node, f"wrong number of args for {node.name}: want at least 1 got 0")
        return value

    def _run(self, node: Any, name: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except FunctionError as error:
            text = str(error)
            if not text.startswith(("wrong number of args", "wrong type for value")):
                text = f"error calling {name}: {text}"
            raise self._error(node, text) from None

    def _field(self, node: nodes.Field, arguments: tuple[nodes.Operand, ...], dot: Any, final: Any) -> Any:
        value = self._operand(node.base, dot)
        for name in node.names[:-1]:
            value = self._member(node, value, name, None)
        values = [self._operand(argument, dot) for argument in arguments]
        if final is not _MISSING:
            values.append(final)
        return self._member(node, value, node.names[-1], values)

    def _member(self, node: nodes.Field, value: Any, name: str, arguments: list[Any] | None) -> Any:
        method = methods_of(value).get(name)
        if method is not None:
            try:
                return self._run(node, name, lambda: method(value, *(arguments or ())))
            except TypeError:
                count = len(arguments or ())
                raise self._error(node, f"wrong number of args for {name}: got {count}") from None
        if isinstance(value, Struct) and name in value.fields:
            found = value.fields[name]
        elif isinstance(value, Map):
            found = value.entries.get(name, value.zero)
        elif value is None:
            raise self._error(node, f"nil pointer evaluating interface {{}}.{name}")
        else:
            raise self._error(node, f"can't evaluate field {name} in type {type_name(value)}")
        if arguments:
            if callable(found):
                return self._run(node, name, lambda: found(*arguments))
            raise self._error(node, f"{name} is not a method but has arguments")
        return found
