"""The templates of alert labels and annotations: Prometheus' function set over Go's language.

Functions: https://prometheus.io/docs/prometheus/latest/configuration/template_reference/
"""

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_plus

from otero.errors import BadField, OteroError
from otero.fields import Duration as PrometheusDuration
from otero.gotemplate import Function, FunctionError, Map, SafeHtml, Struct, TemplateError, Templates
from otero.gotemplate import List as Slice
from otero.gotemplate.formatting import sprintf
from otero.gotemplate.prometheus import FUNCTIONS as PROMETHEUS_FUNCTIONS
from otero.gotemplate.prometheus import number, short, shrunk
from otero.gotemplate.times import Duration, Time
from otero.gotemplate.values import type_name

Samples = list[tuple[dict[str, str], float]]
"""What a query of a template gives: label sets and values."""

EXPANSION_FAILED = "<error expanding template:"
"""How the text begins that stands for one whose template failed."""

Ask = Callable[[str, int], Samples]
"""Answers the function `query`: text, time in milliseconds. Raises OteroError."""

_PRELUDE = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"
_MAX_DEPTH = 10
_LARGE = ("k", "M", "G", "T", "P", "E", "Z", "Y")
_MAX_NANOSECONDS = float(1 << 63)


def check_template(alert: str, text: str) -> None:
    """Parse a label or annotation of an alert without running it. Raises TemplateError."""
    if "{{" in text:
        _CHECKER.check(_PRELUDE + text, f"__alert_{alert}")


class AlertTemplates:
    """The templates of one alerting rule; `expand` is called by one thread at a time.

    external_url is where this server is reached, without a slash at its end.
    """

    def __init__(self, alert: str, external_labels: Mapping[str, str], external_url: str) -> None:
        self._file = f"__alert_{alert}"
        self._external_labels = Map(dict(external_labels))
        self._external_url = external_url
        self._ask: Ask = _no_queries
        self._time_ms = 0
        self._depth = 0
        self._text = ""
        self._templates = Templates({**_PURE, **self._bound()})

    def expand(self, text: str, labels: Mapping[str, str], value: float | str, time_ms: int, ask: Ask) -> str:
        """What a text makes of an element of the rule's result; what fails stands in the text, as in Prometheus.

        `value` is the text of a native histogram where the element is one.
        """
        if "{{" not in text:
            return text
        self._ask, self._time_ms, self._text = ask, time_ms, _PRELUDE + text
        data = Struct(
            "struct",
            {
                "Labels": Map(labels),
                "ExternalLabels": self._external_labels,
                "ExternalURL": self._external_url,
                "Value": value,
            },
        )
        try:
            return self._templates.text(self._text, data, file=self._file)
        except TemplateError as error:
            return f"{EXPANSION_FAILED} error executing template {self._file}: {error}>"

    def _bound(self) -> Mapping[str, Function]:
        path = re.sub(r"^[a-z]+://[^/]*", "", self._external_url)
        return {
            "query": Function(self._query, ("string",)),
            "now": Function(lambda: self._time_ms / 1000),
            "tmpl": Function(self._run, ("string", "any")),
            "externalURL": Function(lambda: self._external_url),
            "pathPrefix": Function(lambda: path),
        }

    def _query(self, text: str) -> Slice:
        try:
            found = self._ask(text, self._time_ms)
        except OteroError as error:
            raise FunctionError(str(error)) from None
        return _vector([_sample(labels, value) for labels, value in found])

    def _run(self, name: str, data: Any) -> SafeHtml:
        """The function `tmpl`: a template by a name that was computed."""
        if self._depth >= _MAX_DEPTH:
            raise FunctionError("templates call each other too deeply")
        self._depth += 1
        try:
            defined = self._templates.add(self._text, self._file)
            return SafeHtml(defined.text(sprintf("{{template %q .}}", (name,)), data, file=self._file))
        except TemplateError as error:
            raise FunctionError(str(error)) from None
        finally:
            self._depth -= 1


def _no_queries(_text: str, _time_ms: int) -> Samples:
    return []


# -- results of queries -------------------------------------------------------------------------------------------------


def _sample(labels: dict[str, str], value: float) -> Struct:
    return Struct("*template.sample", {"Labels": Map(labels), "Value": value})


def _vector(samples: list[Struct]) -> Slice:
    return Slice(samples, "template.queryResult")


def _first(vector: Slice) -> Any:
    if not vector.items:
        raise FunctionError("first() called on vector with no elements")
    return vector.items[0]


def _field(sample: Any, name: str) -> Any:
    if not isinstance(sample, Struct) or name not in sample.fields:
        raise FunctionError(f"wrong type for value; expected *template.sample; got {type_name(sample)}")
    return sample.fields[name]


def _label(name: str, sample: Any) -> str:
    return _field(sample, "Labels").entries.get(name, "")


def _sorted_by(label: str, vector: Slice) -> Slice:
    return _vector(sorted(vector.items, key=lambda sample: _label(label, sample)))


# -- numbers ------------------------------------------------------------------------------------------------------------


def _humanize(given: Any) -> str:
    value = number(given)
    if value == 0 or not math.isfinite(value):
        return short(value)
    return _scaled(value, _LARGE, 1000) if abs(value) >= 1 else shrunk(value)


def _humanize1024(given: Any) -> str:
    value = number(given)
    if abs(value) <= 1 or not math.isfinite(value):
        return short(value)
    return _scaled(value, ("ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"), 1024)


def _scaled(value: float, units: tuple[str, ...], base: int) -> str:
    unit = ""
    for larger in units:
        if abs(value) < base:
            break
        unit, value = larger, value / base
    return short(value, unit)


def _moment(value: float) -> Time:
    """A time of Unix seconds, to the millisecond."""
    nanoseconds = value * 1e9
    if not -_MAX_NANOSECONDS <= nanoseconds < _MAX_NANOSECONDS:
        text = sprintf("%v", (value,))
        raise FunctionError(
            f"{text} cannot be represented as a nanoseconds timestamp since it overflows int64"
        )
    whole = int(nanoseconds)
    return Time((whole // 1_000_000 if whole >= 0 else -(-whole // 1_000_000)) * 1_000_000)


def _humanize_timestamp(given: Any) -> str:
    value = number(given)
    return str(_moment(value)) if math.isfinite(value) else short(value)


def _to_time(given: Any) -> Time:
    value = number(given)
    if not math.isfinite(value):
        raise FunctionError("value is NaN or Inf")
    return _moment(value)


def _to_duration(given: Any) -> Duration:
    value = number(given)
    if not math.isfinite(value):
        raise FunctionError("value is NaN or Inf")
    return Duration(int(value * 1e9))


def _parse_duration(text: str) -> float:
    try:
        return PrometheusDuration.parse(text).seconds
    except BadField as error:
        raise FunctionError(str(error)) from None


# -- texts --------------------------------------------------------------------------------------------------------------


def _split_host_port(text: str) -> tuple[str, str] | None:
    """Host and port as Go's net.SplitHostPort takes them apart; None where it refuses."""
    found = re.fullmatch(r"\[([^\[\]]*)\]:([^:\[\]]*)|([^:\[\]]*):([^:\[\]]*)", text)
    if found is None:
        return None
    return (found[1], found[2]) if found[1] is not None else (found[3], found[4])


def _strip_port(text: str) -> str:
    parts = _split_host_port(text)
    return text if parts is None else parts[0]


def _strip_domain(text: str) -> str:
    host, port = _split_host_port(text) or (text, "")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        host = host.split(".")[0]
        return f"{host}:{port}" if port else host
    return text


def _link(tab: int, expression: str) -> str:
    return f"/graph?g0.expr={quote_plus(expression, safe='~')}&g0.tab={tab}"


def graph_link(expression: str) -> str:
    """The path of an expression's graph in Prometheus' pages."""
    return _link(0, expression)


def table_link(expression: str) -> str:
    """The path of an expression's table in Prometheus' pages."""
    return _link(1, expression)


def _title(text: str) -> str:
    return re.sub(r"(?<![\w'’])[^\W\d_]", lambda found: found[0].title(), text)


def _args(*values: Any) -> Map:
    return Map({f"arg{at}": value for at, value in enumerate(values)}, None, "map[string]interface {}")


_PURE: Mapping[str, Function] = {
    **PROMETHEUS_FUNCTIONS,
    "first": Function(_first, ("list",)),
    "label": Function(_label, ("string", "any")),
    "value": Function(lambda sample: _field(sample, "Value"), ("any",)),
    "strvalue": Function(lambda sample: _label("__value__", sample), ("any",)),
    "args": Function(_args, ("any",), True),
    "title": Function(_title, ("string",)),
    "graphLink": Function(graph_link, ("string",)),
    "tableLink": Function(table_link, ("string",)),
    "sortByLabel": Function(_sorted_by, ("string", "list")),
    "stripPort": Function(_strip_port, ("string",)),
    "stripDomain": Function(_strip_domain, ("string",)),
    "humanize": Function(_humanize, ("any",)),
    "humanize1024": Function(_humanize1024, ("any",)),
    "humanizePercentage": Function(lambda value: short(number(value) * 100, "%"), ("any",)),
    "humanizeTimestamp": Function(_humanize_timestamp, ("any",)),
    "toTime": Function(_to_time, ("any",)),
    "toDuration": Function(_to_duration, ("any",)),
    "parseDuration": Function(_parse_duration, ("string",)),
    "urlQueryEscape": Function(lambda text: quote_plus(text, safe="~"), ("string",)),
}
_LATE = ("query", "now", "tmpl", "externalURL", "pathPrefix")
FUNCTIONS = (*_PURE, *_LATE)
"""The names of all functions beside those of the language."""

_CHECKER = Templates({**_PURE, **{name: Function(lambda *_: "", ("any",), True) for name in _LATE}})
