"""label_replace and label_join. They look at each distinct value once, not at each series."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otero.errors import BadInput, ExecutionError
from otero.model.labels import METRIC_NAME, LabelColumn
from otero.model.matchers import compile_anchored
from otero.query.promql.functions.args import InstantArg, matrix, text
from otero.query.promql.functions.context import Context
from otero.query.series import StepMatrix

_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})")


def label_replace(args: Sequence[InstantArg], context: Context) -> StepMatrix:
    """Set a label from the groups of a pattern that matches the whole of another label."""
    given = matrix(args)
    target, template, source, pattern = (text(args, index) for index in range(1, 5))
    try:
        regex = compile_anchored(pattern)
    except BadInput:
        raise ExecutionError(f"invalid regular expression in label_replace(): {pattern}") from None
    _check_name("destination", target, "label_replace")
    column = given.labels.column(source)
    used = np.unique(column.codes)
    texts = [""] * len(column.values)
    matched = np.zeros(len(column.values), np.bool_)
    for code in used.tolist():
        match = regex.match(column.values[code])
        if match is not None:
            matched[code] = True
            texts[code] = _expand(template, match, regex)
    return _with_label(given, target, texts, column.codes, matched[column.codes])


def label_join(args: Sequence[InstantArg], context: Context) -> StepMatrix:
    """Set a label to the values of others with a separator between them."""
    given = matrix(args)
    target, separator = text(args, 1), text(args, 2)
    sources = [text(args, index) for index in range(3, len(args))]
    for name in sources:
        _check_name("source", name, "label_join")
    _check_name("destination", target, "label_join")
    groups, representatives = given.labels.keep(sources).group()
    columns = [given.labels.column(name).take(representatives).texts() for name in sources]
    texts = [separator.join(parts) for parts in zip(*columns, strict=True)] or [""] * len(representatives)
    return _with_label(given, target, texts, groups, np.ones(given.series_count, np.bool_))


def _check_name(role: str, name: str, function: str) -> None:
    try:
        usable = bool(name.encode())
    except UnicodeEncodeError:  # the parser keeps bytes that are no UTF-8 as surrogates
        usable = False
    if not usable:
        raise ExecutionError(f"invalid {role} label name in {function}(): {name}")


def _with_label(
    given: StepMatrix,
    target: str,
    texts: Sequence[str],
    codes: NDArray[np.integer[Any]],
    touched: NDArray[np.bool_],
) -> StepMatrix:
    """Give `touched` series the label `target` with the value texts[codes[s]]."""
    before = given.labels.column(target)
    index = {value: code for code, value in enumerate(before.values)}
    recoded = np.array([index.setdefault(value, len(index)) for value in texts], np.int32)
    after = np.where(touched, recoded[codes], before.codes) if len(recoded) else before.codes
    labels = given.labels.with_column(target, LabelColumn(tuple(index), after.astype(np.int32, copy=False)))
    drop = given.drop_name
    if drop is not None and target == METRIC_NAME:
        drop = drop & ~touched
    return replace(given, labels=labels, drop_name=drop)


def _expand(template: str, match: Any, regex: Any) -> str:
    """The template with `$1`, `${1}`, `$name` and `$$` filled in, as Go's regexp does; unknown groups are empty."""

    def fill(reference: "re.Match[str]") -> str:
        dollar, plain, braced = reference.groups()
        if dollar:
            return "$"
        name = plain or braced
        if name.isascii() and name.isdigit() and (name == "0" or name[0] != "0") and len(name) < 9:
            number = int(name)
        else:
            number = regex.groupindex.get(name, -1)
        if not 0 <= number <= regex.groups:
            return ""
        return match.group(number) or ""

    return _REFERENCE.sub(fill, template)
