"""Which series carry which labels: columns of codes per metric name, dictionaries shared by all metrics.

Every label name has one dictionary of values for the whole process; a metric's rows are one small code array per label
name. Conditions are decided on dictionaries, regular expressions included, and rows are then picked with look-up tables.
Readers never see a half-written row: arrays are appended to beyond the published count and replaced when they grow.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otero.model.labels import METRIC_NAME, LabelColumn, LabelTable
from otero.model.matchers import Matcher, MatchOp, compile_anchored

_LITERALS = re.compile(r"[^\\.+*?()\[\]{}^$|]*(?:\|[^\\.+*?()\[\]{}^$|]*)*")
_CACHED_REGEXES = 256


class Dictionary:
    """The values of one label name, numbered in order of appearance; 0 is the empty text."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {"": 0}
        self._values: tuple[str, ...] = ("",)
        self._regexes: dict[str, NDArray[np.bool_]] = {}

    def code(self, text: str) -> int:
        """The number of a text, given to it now when it is new."""
        return self.codes.setdefault(text, len(self.codes))

    def values(self) -> tuple[str, ...]:
        """All texts by number."""
        if len(self._values) != len(self.codes):
            self._values = tuple(self.codes)
        return self._values

    def matching(self, matcher: Matcher) -> NDArray[np.bool_]:
        """bool [len(values)]: whether each text satisfies the condition. Raises BadInput for a bad pattern."""
        values = self.values()
        match matcher.op:
            case MatchOp.EQUAL | MatchOp.NOT_EQUAL:
                hits = self._one_of((matcher.value,), len(values))
            case MatchOp.REGEX | MatchOp.NOT_REGEX if _LITERALS.fullmatch(matcher.value):
                hits = self._one_of(matcher.value.split("|"), len(values))
            case _:
                hits = self._by_regex(matcher.value, values)
        return ~hits if matcher.op in (MatchOp.NOT_EQUAL, MatchOp.NOT_REGEX) else hits

    def _one_of(self, texts: Iterable[str], size: int) -> NDArray[np.bool_]:
        hits = np.zeros(size, np.bool_)
        for text in texts:
            code = self.codes.get(text, size)
            if code < size:
                hits[code] = True
        return hits

    def _by_regex(self, pattern: str, values: tuple[str, ...]) -> NDArray[np.bool_]:
        known = self._regexes.pop(pattern, np.zeros(0, np.bool_))
        if len(known) < len(values):
            match = compile_anchored(pattern).match
            fresh = [match(value) is not None for value in values[len(known) :]]
            known = np.concatenate([known, np.array(fresh, np.bool_)])
        self._regexes[pattern] = known
        if len(self._regexes) > _CACHED_REGEXES:
            self._regexes.pop(next(iter(self._regexes)), None)
        return known[: len(values)]


class MetricRows:
    """The series of one metric name: their references and their label codes, one row each."""

    def __init__(self) -> None:
        self.size = 0
        self.refs: NDArray[np.int64] = np.zeros(1, np.int64)
        self.alive: NDArray[np.bool_] = np.zeros(1, np.bool_)
        self.columns: dict[str, NDArray[Any]] = {}

    def append(self, ref: int, codes: Iterable[tuple[str, int]]) -> int:
        """Add a series and return its row."""
        row = self.size
        if row == len(self.refs):
            room = max(row * 3 // 2, 4)
            self.refs = _grown(self.refs, room)
            self.alive = _grown(self.alive, room)
            for name, column in self.columns.items():
                self.columns[name] = _grown(column, room)
        for name, code in codes:
            column = self.columns.get(name)
            if column is None:
                column = np.zeros(len(self.refs), np.uint8)
                self.columns = {**self.columns, name: column}
            if code >> (8 * column.itemsize):
                column = column.astype(np.uint16 if code <= 0xFFFF else np.uint32)
                self.columns[name] = column
            column[row] = code
        self.refs[row] = ref
        self.alive[row] = True
        self.size = row + 1
        return row

    def keep(self, rows: NDArray[np.intp], recode: dict[str, NDArray[np.int64]]) -> "MetricRows":
        """Only the given rows, their codes renumbered by `recode`."""
        out = MetricRows()
        out.size = len(rows)
        out.refs = self.refs[rows]
        out.alive = np.ones(len(rows), np.bool_)
        for name, column in self.columns.items():
            codes = recode[name][column[rows]]
            if codes.any():
                out.columns[name] = codes.astype(_code_type(int(codes.max())))
        return out


class Index:
    """All series by metric name. Not locked: the registry locks around it."""

    def __init__(self) -> None:
        self.dictionaries: dict[str, Dictionary] = {METRIC_NAME: Dictionary()}
        self.metrics: dict[int, MetricRows] = {}
        """Rows by the code of their metric name."""
        self._metric_of: NDArray[np.int32] = np.zeros(1024, np.int32)
        self._row_of: NDArray[np.int32] = np.full(1024, -1, np.int32)
        self.size = 0
        self.dead = 0

    def add(self, ref: int, labels: dict[str, str]) -> None:
        """Add a series under its reference."""
        codes: list[tuple[str, int]] = []
        name_code = 0
        for name, value in labels.items():
            dictionary = self.dictionaries.get(name)
            if dictionary is None:
                dictionary = self.dictionaries[name] = Dictionary()
            code = dictionary.code(value)
            if name == METRIC_NAME:
                name_code = code
            else:
                codes.append((name, code))
        rows = self.metrics.get(name_code)
        if rows is None:
            rows = self.metrics[name_code] = MetricRows()
        if ref >= len(self._row_of):
            room = max(ref + 1, len(self._row_of) * 3 // 2)
            self._metric_of = _grown(self._metric_of, room)
            self._row_of = _grown(self._row_of, room, fill=-1)
        self._metric_of[ref] = name_code
        self._row_of[ref] = rows.append(ref, codes)
        self.size += 1

    def remove(self, refs: NDArray[np.int64]) -> None:
        """Take series out; their rows go when half of all rows are dead."""
        for ref in refs.tolist():
            row = int(self._row_of[ref])
            if row >= 0:
                self.metrics[int(self._metric_of[ref])].alive[row] = False
                self._row_of[ref] = -1
                self.size -= 1
                self.dead += 1
        if self.dead > max(self.size, 1000):
            self._compact()

    def _compact(self) -> None:
        kept = {code: (rows, np.flatnonzero(rows.alive[: rows.size])) for code, rows in self.metrics.items()}
        used = {name: np.zeros(len(d.codes), np.bool_) for name, d in self.dictionaries.items()}
        for code, (rows, alive) in kept.items():
            used[METRIC_NAME][code] |= len(alive) > 0
            for name, column in rows.columns.items():
                used[name][column[alive]] = True
        recode: dict[str, NDArray[np.int64]] = {}
        dictionaries: dict[str, Dictionary] = {}
        for name, flags in used.items():
            flags[0] = True
            recode[name] = np.cumsum(flags) - 1
            if name == METRIC_NAME or flags[1:].any():
                dictionaries[name] = Dictionary()
                values = self.dictionaries[name].values()
                for at in np.flatnonzero(flags).tolist():
                    dictionaries[name].code(values[at])
        metrics: dict[int, MetricRows] = {}
        for code, (rows, alive) in kept.items():
            if len(alive):
                new_code = int(recode[METRIC_NAME][code])
                metrics[new_code] = fresh = rows.keep(alive, recode)
                self._metric_of[fresh.refs] = new_code
                self._row_of[fresh.refs] = np.arange(fresh.size)
        self.dictionaries, self.metrics, self.dead = dictionaries, metrics, 0

    def metric_codes(self, refs: NDArray[np.int64]) -> NDArray[np.int32]:
        """A number per metric name, for sorting series by metric."""
        return self._metric_of[refs]

    def select(self, matchers: Sequence[Matcher]) -> NDArray[np.int64]:
        """References of the series that satisfy every condition, ascending."""
        names = self.dictionaries[METRIC_NAME]
        others = [m for m in matchers if m.name != METRIC_NAME]
        codes = self._metrics_matching([m for m in matchers if m.name == METRIC_NAME], names)
        lookups: list[tuple[str, NDArray[np.bool_]]] = []
        for matcher in others:
            dictionary = self.dictionaries.get(matcher.name)
            hits = (dictionary or Dictionary()).matching(matcher)
            if not hits.any():
                return np.zeros(0, np.int64)
            if not hits.all():
                lookups.append((matcher.name, hits))
        found: list[NDArray[np.int64]] = []
        for code in codes:
            rows = self.metrics.get(code)
            if rows is None:
                continue
            mask = rows.alive[: rows.size]
            for name, hits in lookups:
                column = rows.columns.get(name)
                if column is not None:
                    mask = mask & hits.take(column[: rows.size])
                elif not hits[0]:
                    break
            else:
                found.append(rows.refs[: rows.size][mask])
        if not found:
            return np.zeros(0, np.int64)
        return np.sort(np.concatenate(found))

    def _metrics_matching(self, matchers: Sequence[Matcher], names: Dictionary) -> Iterable[int]:
        if not matchers:
            return list(self.metrics)
        if len(matchers) == 1 and matchers[0].op is MatchOp.EQUAL:
            code = names.codes.get(matchers[0].value)
            return () if code is None else (code,)
        hits = np.logical_and.reduce([names.matching(matcher) for matcher in matchers])
        return np.flatnonzero(hits).tolist()

    def table(self, refs: NDArray[np.int64]) -> LabelTable:
        """The label sets of series, in the given order; a series that was taken out has no labels."""
        size = len(refs)
        rows_of = self._row_of[refs]
        metrics_of = self._metric_of[refs]
        columns: dict[str, NDArray[np.int32]] = {METRIC_NAME: np.where(rows_of < 0, 0, metrics_of)}
        distinct = np.unique(metrics_of)
        for code in distinct.tolist():
            rows = self.metrics.get(code)
            if rows is None:
                continue
            if len(distinct) == 1 and (not size or rows_of.min() >= 0):
                for name, column in rows.columns.items():
                    columns[name] = column[rows_of].astype(np.int32)
                continue
            at = np.flatnonzero((metrics_of == code) & (rows_of >= 0))
            picked = rows_of[at]
            for name, column in rows.columns.items():
                out = columns.get(name)
                if out is None:
                    out = columns[name] = np.zeros(size, np.int32)
                out[at] = column[picked]
        table: dict[str, LabelColumn] = {}
        for name in sorted(columns):
            column = _small(self.dictionaries[name].values(), columns[name])
            if column is not None:
                table[name] = column
        return LabelTable(size, table)

    def label_names(self) -> list[str]:
        """Label names that some series carries, sorted."""
        return sorted(name for name in self.dictionaries if len(self.label_counts(name)))

    def label_counts(self, name: str) -> dict[str, int]:
        """Number of series by value of one label, without the empty value."""
        dictionary = self.dictionaries.get(name)
        if dictionary is None:
            return {}
        counts = np.zeros(len(dictionary.codes), np.int64)
        for code, rows in self.metrics.items():
            alive = rows.alive[: rows.size]
            if name == METRIC_NAME:
                counts[code] += np.count_nonzero(alive)
            elif (column := rows.columns.get(name)) is not None:
                counts += np.bincount(column[: rows.size][alive], minlength=len(counts))
        values = dictionary.values()
        return {values[code]: int(counts[code]) for code in np.flatnonzero(counts).tolist() if code}


def _small(values: tuple[str, ...], codes: NDArray[np.int32]) -> LabelColumn | None:
    """A column whose dictionary is not much larger than its rows; None when every row is empty."""
    if not codes.any():
        return None
    if len(values) <= 2 * len(codes) + 64:
        return LabelColumn(values, codes)
    used, inverse = np.unique(codes, return_inverse=True)
    if used[0] == 0:
        return LabelColumn(tuple(values[code] for code in used.tolist()), inverse.astype(np.int32))
    return LabelColumn(("", *(values[code] for code in used.tolist())), (inverse + 1).astype(np.int32))


def _grown(array: NDArray[Any], room: int, fill: int = 0) -> NDArray[Any]:
    out = np.full(room, fill, array.dtype) if fill else np.zeros(room, array.dtype)
    out[: len(array)] = array
    return out


def _code_type(largest: int) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if largest <= 0xFF else np.uint16 if largest <= 0xFFFF else np.uint32
