"""The syntax tree into closures: what can be decided once, of names, places and kinds of nodes, is decided here."""

from collections.abc import Mapping
from typing import Any

from otero.gotemplate import nodes
from otero.gotemplate.execute import (
    MISSING,
    Body,
    Execution,
    Frame,
    Place,
    Program,
    Value,
    elements,
    failed,
    member,
)
from otero.gotemplate.functions import Function
from otero.gotemplate.values import FunctionError, is_true


class _BreakError(Exception):
    """Leaves the innermost range."""


class _ContinueError(Exception):
    """Goes on with the next element of the innermost range."""


def compiled(template: nodes.Template, functions: Mapping[str, Function]) -> Program:
    """A template made ready to run. All functions that it calls are among `functions`."""
    compiler = _Compiler(template, functions)
    body = compiler.body(template.body)
    return Program(template, body, compiler.variables)


class _Compiler:
    """Variables get places in a frame: the scopes of the text are known here, and gone when it runs."""

    def __init__(self, template: nodes.Template, functions: Mapping[str, Function]) -> None:
        self._template = template
        self._functions = functions
        self._scope: list[tuple[str, int]] = [("$", 0)]
        self.variables = 0

    def _place(self, node: Any) -> Place:
        return Place(self._template, node)

    def _declare(self, name: str) -> int:
        self.variables += 1
        self._scope.append((name, self.variables))
        return self.variables

    def _known(self, name: str) -> int:
        return next(at for known, at in reversed(self._scope) if known == name)

    # -- nodes ---------------------------------------------------------------------------------------------------

    def body(self, body: tuple[nodes.Node, ...]) -> Body:
        parts = tuple(self._node(node) for node in body)
        if not parts:
            return _nothing
        place, count = self._place(body[0]), len(parts)

        def run(to: Execution, frame: Frame, dot: Any) -> None:
            to.step(place, count)
            for part in parts:
                part(to, frame, dot)

        return run

    def _node(self, node: nodes.Node) -> Body:
        match node:
            case nodes.Text():
                return self._text(node)
            case nodes.Action():
                return self._action(node)
            case nodes.If() | nodes.With():
                return self._choice(node)
            case nodes.Range():
                return self._range(node)
            case nodes.Call():
                return self._call(node)
            case nodes.Break():
                return _break
            case nodes.Continue():
                return _continue

    def _text(self, node: nodes.Text) -> Body:
        place, text = self._place(node), node.text

        def run(to: Execution, _frame: Frame, _dot: Any) -> None:
            to.write(place, text if to.escaper is None else to.escaper.static(text))

        return run

    def _action(self, node: nodes.Action) -> Body:
        place, value = self._place(node.pipeline), self._pipeline(node.pipeline)
        if node.pipeline.variables:
            return value

        def run(to: Execution, frame: Frame, dot: Any) -> None:
            to.print(place, value(to, frame, dot))

        return run

    def _choice(self, node: nodes.If | nodes.With) -> Body:
        mark = len(self._scope)
        value = self._pipeline(node.pipeline)
        inner = len(self._scope)
        body = self.body(node.body)
        del self._scope[inner:]
        otherwise = self.body(node.otherwise)
        del self._scope[mark:]
        moves_dot = isinstance(node, nodes.With)

        def run(to: Execution, frame: Frame, dot: Any) -> None:
            found = value(to, frame, dot)
            if is_true(found):
                body(to, frame, found if moves_dot else dot)
            else:
                otherwise(to, frame, dot)

        return run

    def _range(self, node: nodes.Range) -> Body:
        mark = len(self._scope)
        place = self._place(node.pipeline)
        value = self._commands(node.pipeline)
        names = node.pipeline.variables
        places = [self._known(name) if node.pipeline.assigns else self._declare(name) for name in names]
        fresh = [] if node.pipeline.assigns else places
        at_key, at_element = (None, None, *places)[-2:]
        inner = len(self._scope)
        body = self.body(node.body)
        del self._scope[inner:]
        otherwise = self.body(node.otherwise)
        del self._scope[mark:]

        def run(to: Execution, frame: Frame, dot: Any) -> None:
            is_empty = True
            for key, element in elements(place, value(to, frame, dot)):
                is_empty = False
                to.step(place, 1)
                if at_key is not None:
                    frame[at_key] = key
                if at_element is not None:
                    frame[at_element] = element
                try:
                    body(to, frame, element)
                except _ContinueError:
                    continue
                except _BreakError:
                    break
            if is_empty:
                for at in fresh:
                    frame[at] = MISSING
                otherwise(to, frame, dot)

        return run

    def _call(self, node: nodes.Call) -> Body:
        place, name = self._place(node), node.name
        value = None if node.pipeline is None else self._pipeline(node.pipeline)

        def run(to: Execution, frame: Frame, dot: Any) -> None:
            to.call(place, name, None if value is None else value(to, frame, dot))

        return run

    # -- values --------------------------------------------------------------------------------------------------

    def _pipeline(self, node: nodes.Pipeline) -> Value:
        value = self._commands(node)
        if not node.variables:
            return value
        at = [self._known(name) if node.assigns else self._declare(name) for name in node.variables]

        def run(to: Execution, frame: Frame, dot: Any) -> Any:
            found = value(to, frame, dot)
            for one in at:
                frame[one] = found
            return found

        return run

    def _commands(self, node: nodes.Pipeline) -> Value:
        """A pipeline without its declarations."""
        value = self._command(node.commands[0], None)
        for command in node.commands[1:]:
            value = self._command(command, value)
        return value

    def _command(self, node: nodes.Command, final: Value | None) -> Value:
        """A command; `final` gives its last argument."""
        first = node.operands[0]
        arguments = [*map(self._operand, node.operands[1:]), *([] if final is None else [final])]
        if isinstance(first, nodes.Function):
            return self._function(first, arguments)
        if isinstance(first, nodes.Field):
            return self._field(first, arguments)
        if arguments:
            return self._refused(first, "can't give argument to non-function")
        return self._operand(first)

    def _refused(self, node: Any, message: str) -> Value:
        place = self._place(node)

        def run(_to: Execution, _frame: Frame, _dot: Any) -> Any:
            raise place.error(message)

        return run

    def _operand(self, node: nodes.Operand) -> Value:
        match node:
            case nodes.Dot():
                return lambda _to, _frame, dot: dot
            case nodes.Literal():
                value = node.value
                return lambda _to, _frame, _dot: value
            case nodes.Variable():
                return self._variable(node)
            case nodes.Function():
                return self._function(node, [])
            case nodes.Field():
                return self._field(node, [])
            case nodes.Pipeline():
                return self._pipeline(node)

    def _variable(self, node: nodes.Variable) -> Value:
        place, at = self._place(node), self._known(node.name)

        def run(_to: Execution, frame: Frame, _dot: Any) -> Any:
            value = frame[at]
            if value is MISSING:
                raise place.error(f"undefined variable: {node.name}")
            return value

        return run

    def _function(self, node: nodes.Function, arguments: list[Value]) -> Value:
        place, name = self._place(node), node.name
        if name in ("and", "or"):
            return self._short_circuit(node, arguments)
        function = self._functions[name]

        def run(to: Execution, frame: Frame, dot: Any) -> Any:
            to.step(place, 1)
            values = [argument(to, frame, dot) for argument in arguments]
            try:
                return (to.own.get(name) or function).run(name, values)
            except FunctionError as error:
                raise failed(place, name, error) from None

        return run

    def _short_circuit(self, node: nodes.Function, arguments: list[Value]) -> Value:
        if not arguments:
            return self._refused(node, f"wrong number of args for {node.name}: want at least 1 got 0")
        stops_at, place = node.name == "or", self._place(node)

        def run(to: Execution, frame: Frame, dot: Any) -> Any:
            to.step(place, 1)
            value: Any = None
            for argument in arguments:
                value = argument(to, frame, dot)
                if is_true(value) == stops_at:
                    break
            return value

        return run

    def _field(self, node: nodes.Field, arguments: list[Value]) -> Value:
        place, base = self._place(node), self._operand(node.base)
        *through, last = node.names

        def run(to: Execution, frame: Frame, dot: Any) -> Any:
            value = base(to, frame, dot)
            for name in through:
                value = member(place, value, name, [])
            return member(place, value, last, [argument(to, frame, dot) for argument in arguments])

        return run


def _nothing(_to: Execution, _frame: Frame, _dot: Any) -> None:
    pass


def _break(_to: Execution, _frame: Frame, _dot: Any) -> None:
    raise _BreakError


def _continue(_to: Execution, _frame: Frame, _dot: Any) -> None:
    raise _ContinueError
