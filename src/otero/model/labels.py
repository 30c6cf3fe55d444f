"""Label sets, in the two forms that the whole product uses.

*Label bytes* are one label set as one immutable byte string: `name FF value FF name FF value FF`, names sorted, values
never empty, both UTF-8 (which never contains FF). They are the identity of a series: hashable, comparable, small.

A *label table* is many label sets as columns: per label name a dictionary of values and one code per row. The query
engine selects, groups and joins on codes and turns rows into dicts only to render them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NewType

import numpy as np
import xxhash
from numpy.typing import NDArray

METRIC_NAME = "__name__"

LabelBytes = NewType("LabelBytes", bytes)


def encode_labels(labels: Mapping[str, str]) -> LabelBytes:
    """Label bytes of a label set; labels with an empty value are left out, as an absent label equals an empty one."""
    return LabelBytes(
        b"".join(
            b"%b\xff%b\xff" % (name.encode(), labels[name].encode())
            for name in sorted(labels)
            if labels[name]
        )
    )


def decode_labels(data: LabelBytes) -> dict[str, str]:
    """The label set of label bytes, names in sorted order."""
    parts = data.decode("utf-8", "surrogateescape").split("\udcff")
    return dict(zip(parts[:-1:2], parts[1::2], strict=True))


def metric_name(data: LabelBytes) -> str:
    """The value of `__name__`, or an empty string."""
    parts = data.split(b"\xff")
    for name, value in zip(parts[:-1:2], parts[1::2], strict=True):
        if name == b"__name__":
            return value.decode()
    return ""


def series_id(data: LabelBytes) -> int:
    """The 64-bit identity under which a series is stored: XXH3 of its label bytes."""
    return xxhash.xxh3_64_intdigest(data)


@dataclass(frozen=True, slots=True, eq=False)
class LabelColumn:
    """One label of many label sets.

    `values` is the dictionary, `codes[i]` the index of row i's value in it; `values[0]` is always "" (label absent).
    Other entries are distinct, but the dictionary may hold values that no row uses. Arrays are never mutated.
    """

    values: tuple[str, ...]
    codes: NDArray[np.int32]

    @staticmethod
    def of(texts: Sequence[str]) -> "LabelColumn":
        """The column of one text per row."""
        index: dict[str, int] = {"": 0}
        codes = np.fromiter((index.setdefault(text, len(index)) for text in texts), np.int32, len(texts))
        return LabelColumn(tuple(index), codes)

    @staticmethod
    def constant(text: str, size: int) -> "LabelColumn":
        """The same text in each of `size` rows."""
        if not text:
            return LabelColumn(("",), np.zeros(size, np.int32))
        return LabelColumn(("", text), np.ones(size, np.int32))

    def take(self, rows: NDArray[np.intp]) -> "LabelColumn":
        """The column of the given rows, in their order."""
        return LabelColumn(self.values, self.codes[rows])

    def texts(self) -> list[str]:
        """One text per row."""
        values = self.values
        codes: list[int] = self.codes.tolist()
        return [values[code] for code in codes]


@dataclass(frozen=True, slots=True, eq=False)
class LabelTable:
    """`size` label sets as columns by label name (metric name included, as `__name__`), in sorted name order."""

    size: int
    columns: Mapping[str, LabelColumn]

    @staticmethod
    def of(rows: Sequence[Mapping[str, str]]) -> "LabelTable":
        """The table of label sets given as mappings."""
        names = sorted({name for row in rows for name in row})
        return LabelTable(
            len(rows), {name: LabelColumn.of([row.get(name, "") for row in rows]) for name in names}
        )

    def take(self, rows: NDArray[np.intp]) -> "LabelTable":
        """The table of the given rows, in their order."""
        return LabelTable(len(rows), {name: column.take(rows) for name, column in self.columns.items()})

    def keep(self, names: Iterable[str]) -> "LabelTable":
        """Only the named columns."""
        wanted = set(names)
        return LabelTable(self.size, {name: c for name, c in self.columns.items() if name in wanted})

    def drop(self, names: Iterable[str]) -> "LabelTable":
        """All but the named columns."""
        unwanted = set(names)
        return LabelTable(self.size, {name: c for name, c in self.columns.items() if name not in unwanted})

    def with_column(self, name: str, column: LabelColumn) -> "LabelTable":
        """This table with one column added or replaced."""
        return LabelTable(self.size, dict(sorted({**self.columns, name: column}.items())))

    def column(self, name: str) -> LabelColumn:
        """The named column; one of empty texts when no row has that label."""
        return self.columns.get(name) or LabelColumn.constant("", self.size)

    def group(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows with equal label sets share a group.

        Returns `(groups, representatives)`: the group of each row, numbered in order of first appearance, and the
        first row of each group.
        """
        combined = np.zeros(self.size, np.int64)
        span = 1
        for column in self.columns.values():
            width = len(column.values)
            if width == 1:
                continue
            if span * width >= 1 << 62:
                _, combined = np.unique(combined, return_inverse=True)
                span = int(combined.max(initial=0)) + 1
            combined = combined * width + column.codes
            span *= width
        if span <= 1 << 16 or span <= 8 * self.size:
            return _group_by_table(combined, span)
        _, first, inverse = np.unique(combined, return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        rank = np.empty(len(order), np.intp)
        rank[order] = np.arange(len(order))
        return rank[inverse], first[order].astype(np.intp)

    def row(self, index: int) -> dict[str, str]:
        """The label set of one row, names in sorted order, absent labels left out."""
        return {
            name: column.values[code]
            for name, column in self.columns.items()
            if (code := int(column.codes[index]))
        }

    def rows(self) -> list[dict[str, str]]:
        """Every label set, as `row`."""
        out: list[dict[str, str]] = [{} for _ in range(self.size)]
        for name, column in self.columns.items():
            values = column.values
            codes: list[int] = column.codes.tolist()
            for labels, code in zip(out, codes, strict=True):
                if code:
                    labels[name] = values[code]
        return out

    @staticmethod
    def concat(tables: Sequence["LabelTable"]) -> "LabelTable":
        """The rows of all tables, one table after the other."""
        if len(tables) == 1:
            return tables[0]
        size = sum(table.size for table in tables)
        columns: dict[str, LabelColumn] = {}
        for name in sorted({name for table in tables for name in table.columns}):
            shared = next((table.columns[name].values for table in tables if name in table.columns), ("",))
            index = dict(zip(shared, range(len(shared)), strict=True))
            codes = np.zeros(size, np.int32)
            at = 0
            for table in tables:
                column = table.columns.get(name)
                if column is not None and column.values is shared:
                    codes[at : at + table.size] = column.codes
                elif column is not None:
                    recode = np.fromiter(
                        (index.setdefault(value, len(index)) for value in column.values),
                        np.int32,
                        len(column.values),
                    )
                    codes[at : at + table.size] = recode[column.codes]
                at += table.size
            columns[name] = LabelColumn(tuple(index), codes)
        return LabelTable(size, columns)


def _group_by_table(codes: NDArray[np.int64], span: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """`LabelTable.group` for codes below a small `span`: a look-up table in place of a sort."""
    rows = np.arange(len(codes), dtype=np.intp)
    first = np.empty(span, np.intp)
    first[codes[::-1]] = rows[::-1]  # the last write wins: the first row of each code
    representatives = np.flatnonzero(first[codes] == rows)
    first[codes[representatives]] = rows[: len(representatives)]
    return first[codes], representatives
