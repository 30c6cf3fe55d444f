"""Go's text/template, with the HTML escaping of html/template.

    Templates(functions).add(text, "mail.tmpl").text('{{ template "mail.subject" . }}', data)

Texts are parsed once and kept; function sets are passed in by those who know what they speak of (rules, alerting). Every
execution is bounded in steps, output and depth, so that no template of a user holds up anything else.
"""

from collections.abc import Mapping
from typing import Any

from otero.gotemplate.execute import Execution, Limits, Program
from otero.gotemplate.functions import BUILTINS, Function
from otero.gotemplate.lexer import TemplateError
from otero.gotemplate.parser import called, is_blank, parse
from otero.gotemplate.program import compiled
from otero.gotemplate.values import FunctionError, List, Map, SafeHtml, SafeUrl, Struct

__all__ = [
    "Function",
    "FunctionError",
    "Limits",
    "List",
    "Map",
    "SafeHtml",
    "SafeUrl",
    "Struct",
    "TemplateError",
    "Templates",
]

_KEPT_TEXTS = 1024
NONE: Mapping[str, Function] = {}


class Templates:
    """A set of named templates and the functions that they may call. Adding makes a new set; sets are never mutated,
    but for the texts that they remember as parsed."""

    def __init__(
        self,
        functions: Mapping[str, Function],
        *,
        limits: Limits | None = None,
        _defined: Mapping[str, Program] | None = None,
    ) -> None:
        self._functions = {**BUILTINS, **functions}
        self._limits = limits or Limits()
        self._defined = dict(_defined or {})
        self._parsed: dict[tuple[str, str], Mapping[str, Program]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the templates of this set, sorted, without files that but define others."""
        return tuple(
            sorted(
                name
                for name, found in self._defined.items()
                if name != found.template.file or not is_blank(found.template.body)
            )
        )

    def add(self, text: str, file: str) -> "Templates":
        """This set with the templates that a text defines; `file` is its name in errors. Raises TemplateError."""
        defined = self._merged(self._programs(text, file))
        return Templates(self._functions, limits=self._limits, _defined=defined)

    def check(self, text: str, file: str = "") -> None:
        """Parse a text without running it. Raises TemplateError."""
        self._with(text, file)

    def undefined(self, text: str, file: str = "") -> tuple[str, ...]:
        """The names of templates that a text calls, itself or through others, and that are not defined.

        Raises TemplateError where the text cannot be parsed.
        """
        templates = self._with(text, file)
        seen = {file}
        missing: set[str] = set()
        waiting = [templates[file]]
        while waiting:
            for name in called(waiting.pop().template.body):
                if name not in templates:
                    missing.add(name)
                elif name not in seen:
                    seen.add(name)
                    waiting.append(templates[name])
        return tuple(sorted(missing))

    def text(self, text: str, data: Any, *, file: str = "", own: Mapping[str, Function] = NONE) -> str:
        """What a text makes of `data`. Raises TemplateError.

        `own` are functions of this one execution, which stand for those of the set by the same names.
        """
        return self._run(text, data, file, own, html=False)

    def html(self, text: str, data: Any, *, file: str = "", own: Mapping[str, Function] = NONE) -> str:
        """As `text`, what is filled in being escaped for its place in HTML."""
        return self._run(text, data, file, own, html=True)

    def _run(self, text: str, data: Any, file: str, own: Mapping[str, Function], *, html: bool) -> str:
        if "{{" not in text and not html:
            return text
        programs = self._with(text, file)
        try:
            return Execution(programs, own, self._limits, html=html).run(file, data)
        except RecursionError:
            raise TemplateError(f"template: {file}: it nests too deeply") from None

    def _with(self, text: str, file: str) -> Mapping[str, Program]:
        """The programs that a text may call, itself under the name `file`."""
        found = self._parsed.get((text, file))
        if found is None:
            if len(self._parsed) >= _KEPT_TEXTS:
                self._parsed.clear()
            own = self._programs(text, file)
            found = self._parsed[text, file] = {**self._merged(own), file: own[file]}
        return found

    def _programs(self, text: str, file: str) -> dict[str, Program]:
        return {
            name: compiled(template, self._functions)
            for name, template in parse(text, file, self._functions).items()
        }

    def _merged(self, own: Mapping[str, Program]) -> dict[str, Program]:
        """The templates of the set with others put over them; one that says nothing replaces none."""
        said = {
            name: found
            for name, found in own.items()
            if name not in self._defined or not is_blank(found.template.body)
        }
        return {**self._defined, **said}
