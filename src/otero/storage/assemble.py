"""From sealed frames, open rows and side rows to blocks in which each series occurs once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from otero.model.budget import Budget
from otero.model.labels import LabelTable
from otero.model.samples import ABSENT, ABSENT_BITS, NO_TIME, SampleBlock, bits
from otero.storage.blocks import build_columns, is_clean
from otero.storage.chunks import Layout
from otero.storage.sidelog import SideRows
from otero.storage.startlog import starts_at

Starts = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


class Piece(Protocol):
    """A stretch of time of many series: a sealed frame, or a copy of open rows."""

    @property
    def layout(self) -> Layout: ...
    @property
    def height(self) -> int: ...
    @property
    def times_ms(self) -> NDArray[np.int64]: ...
    @property
    def first_ms(self) -> int: ...

    def read_into(
        self, out: NDArray[np.float64], columns: NDArray[np.intp], places: NDArray[np.intp]
    ) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class OpenRows:
    """A copy of rows that are not sealed yet: values [T, S] in the order of its layout."""

    layout: Layout
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    first_ms: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.times_ms.shape[0]

    def read_into(
        self, out: NDArray[np.float64], columns: NDArray[np.intp], places: NDArray[np.intp]
    ) -> None:
        """Write `columns` to out[:, places]."""
        out[:, places] = self.values[:, columns]


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    piece: Piece
    columns: NDArray[np.intp]
    places: NDArray[np.intp]


def assemble(
    refs: NDArray[np.int64],
    labels: LabelTable,
    pieces: Sequence[Piece],
    side: SideRows,
    starts: Starts | None,
    bound: int,
    budget: Budget,
) -> tuple[list[SampleBlock], list[NDArray[np.int64]]]:
    """Blocks of the series `refs` (rows of `labels`), and the references of each block's series.

    `side` holds rows of these series only and overrides the pieces. Charges the budget before it decodes.
    """
    place_of = np.full(bound, -1, np.intp)
    place_of[refs] = np.arange(len(refs))
    parts = _parts(pieces, place_of)
    chains = _chains(parts, len(refs))
    disturbed = np.zeros(len(refs), np.bool_)
    disturbed[place_of[side.refs]] = True
    blocks: list[SampleBlock] = []
    block_refs: list[NDArray[np.int64]] = []
    loose: list[SideRows] = []

    def finish(
        members: NDArray[np.intp],
        times_ms: NDArray[np.int64],
        group: NDArray[np.intp],
        values: NDArray[np.float64],
        start_ms: NDArray[np.int64] | None,
    ) -> None:
        everything = len(members) == len(refs) and bool((members == np.arange(len(refs))).all())
        table = labels if everything else labels.take(members)
        blocks.append(SampleBlock(table, times_ms, group, values, is_clean(values), start_ms))
        block_refs.append(refs[members])

    for family in _families(chains):
        members = np.concatenate([_members(chain) for chain in family])
        budget.charge(max(_height(chain) for chain in family) * len(members))
        times_ms, group, values = _read_family(members, family, len(refs), budget)
        rising = _fill_gaps(times_ms)
        start_ms = None
        if starts is not None and np.isin(refs[members], starts[0]).any():
            start_ms = starts_at(starts, refs[members], times_ms[:, group])
        # A strip that was opened while another one of its series still ran makes times go back: sort those by hand.
        out = disturbed[members] | ~rising[group]
        if out.any():
            loose.append(_rows(refs, members, times_ms, group, values, start_ms, np.flatnonzero(out)))
            kept = np.flatnonzero(~out)
            if not len(kept):
                continue
            used, group = np.unique(group[kept], return_inverse=True)
            members, values = members[kept], values[:, kept]
            times_ms = times_ms[:, used]
            start_ms = None if start_ms is None else start_ms[:, kept]
        finish(members, times_ms, group.astype(np.intp), values, start_ms)
    if len(side):
        loose.append(side)
    if loose:
        all_starts = np.concatenate([rows.start_ms for rows in loose])
        for c in build_columns(
            place_of[np.concatenate([rows.refs for rows in loose])],
            np.concatenate([rows.times_ms for rows in loose]),
            np.concatenate([rows.values for rows in loose]),
            all_starts if all_starts.any() else None,
        ):
            budget.charge(c.values.size)
            finish(c.series, c.times_ms, c.group, c.values, c.start_ms)
    return blocks, block_refs


def _parts(pieces: Sequence[Piece], place_of: NDArray[np.intp]) -> list[_Part]:
    known: dict[int, tuple[NDArray[np.intp], NDArray[np.intp]]] = {}
    parts: list[_Part] = []
    for piece in pieces:
        layout = piece.layout
        found = known.get(id(layout))
        if found is None:
            places = place_of[layout.refs]
            columns = np.flatnonzero(places >= 0)
            found = known[id(layout)] = (columns, places[columns])
        if len(found[0]):
            parts.append(_Part(piece, *found))
    parts.sort(key=lambda part: part.piece.first_ms)
    return parts


def _chains(parts: Sequence[_Part], size: int) -> list[list[_Part]]:
    """Series that lie in the same pieces form a chain: the parts of each chain, in order of time."""
    marks = np.random.default_rng(0x07E0).integers(1, 1 << 63, len(parts), dtype=np.uint64)
    signature = np.zeros(size, np.uint64)
    for part, mark in zip(parts, marks, strict=True):
        signature[part.places] += mark
    distinct, chain_of = np.unique(signature, return_inverse=True)
    if len(distinct) and distinct[0] == 0:
        chain_of = chain_of - 1
        distinct = distinct[1:]
    chains: list[list[_Part]] = [[] for _ in distinct]
    for part in parts:
        own = chain_of[part.places]
        numbers = np.flatnonzero(np.bincount(own, minlength=len(distinct))) if len(distinct) > 1 else [0]
        for number in numbers:
            if len(distinct) == 1:
                chains[0].append(part)
            else:
                inside = own == number
                chains[int(number)].append(_Part(part.piece, part.columns[inside], part.places[inside]))
    return chains


def _members(chain: Sequence[_Part]) -> NDArray[np.intp]:
    """The series of a chain, in the order in which its pieces hold them."""
    return chain[0].places


def _height(chain: Sequence[_Part]) -> int:
    return sum(part.piece.height for part in chain)


def _families(chains: Sequence[list[_Part]]) -> list[list[list[_Part]]]:
    """Chains that go into one block: the shortest has at least half the rows of the longest."""
    families: list[list[list[_Part]]] = []
    tallest = 0
    for chain in sorted(chains, key=_height, reverse=True):
        height = _height(chain)
        if families and 2 * height >= tallest:
            families[-1].append(chain)
        else:
            families.append([chain])
            tallest = height
    return families


def _read_family(
    members: NDArray[np.intp], family: Sequence[Sequence[_Part]], size: int, budget: Budget
) -> tuple[NDArray[np.int64], NDArray[np.intp], NDArray[np.float64]]:
    """Times [T, G] with NO_TIME where a column has no row, the group of each member, values [T, S]."""
    at_of = np.zeros(size, np.intp)
    at_of[members] = np.arange(len(members))
    height = max(_height(chain) for chain in family)
    values = np.empty((height, len(members)))
    times: list[NDArray[np.int64]] = []
    groups: list[NDArray[np.intp]] = []
    left = columns_so_far = 0
    for chain in family:
        right = left + len(_members(chain))
        own_times, group = _read(values[:, left:right], at_of, left, chain, budget)
        values[len(own_times) :, left:right] = ABSENT
        if len(own_times) < height:
            padding = np.full((height - len(own_times), own_times.shape[1]), NO_TIME, np.int64)
            own_times = np.concatenate([own_times, padding])
        times.append(own_times)
        groups.append(group + columns_so_far)
        columns_so_far += own_times.shape[1]
        left = right
    return np.concatenate(times, axis=1), np.concatenate(groups), values


def _read(
    values: NDArray[np.float64],
    at_of: NDArray[np.intp],
    left: int,
    chain: Sequence[_Part],
    budget: Budget,
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Fill the columns of one chain; its times [T, G] and the group of each of its series."""
    width = values.shape[1]
    combined = np.zeros(width, np.int64)
    group_in: list[NDArray[np.int32]] = []
    row = 0
    for part in chain:
        budget.check()
        rows = part.piece.height
        at = at_of[part.places] - left
        part.piece.read_into(values[row : row + rows], part.columns, at)
        own = np.zeros(width, np.int32)
        own[at] = part.piece.layout.group[part.columns]
        if not group_in or not np.array_equal(own, group_in[-1]):
            _, combined = np.unique(combined * (int(own.max()) + 1) + own, return_inverse=True)
        group_in.append(own)
        row += rows
    _, heads, group = np.unique(combined, return_index=True, return_inverse=True)
    times_ms = np.concatenate(
        [part.piece.times_ms[:, own[heads]] for part, own in zip(chain, group_in, strict=True)]
    )
    return times_ms, group.astype(np.intp)


def _fill_gaps(times_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Give rows without a time in the middle of a column one, in place: columns must rise, and those rows hold no sample.

    Returns by column whether its times rise now.
    """
    height, width = times_ms.shape
    empty = times_ms == NO_TIME
    if empty.any():
        row = np.arange(height)[:, None]
        last_real = np.maximum.accumulate(np.where(empty, -1, row), axis=0)
        final = last_real[-1]
        # Rows before the first time cannot be: a piece in which a column has no row at all is not part of its chain.
        fill = empty & (row < final) & (last_real >= 0)
        source = np.take_along_axis(times_ms, np.maximum(last_real, 0), axis=0)
        times_ms[fill] = (source + (row - last_real))[fill]
    rising = np.ones(width, np.bool_)
    if height > 1:
        later, earlier = times_ms[1:], times_ms[:-1]
        rising = ((later > earlier) | (later == NO_TIME)).all(axis=0)
    return rising


def _rows(
    refs: NDArray[np.int64],
    members: NDArray[np.intp],
    times_ms: NDArray[np.int64],
    group: NDArray[np.intp],
    values: NDArray[np.float64],
    start_ms: NDArray[np.int64] | None,
    columns: NDArray[np.intp],
) -> SideRows:
    """The samples of some columns of a block as rows."""
    part = values[:, columns].T.copy()
    column, row = np.nonzero(bits(part) != ABSENT_BITS)
    source = columns[column]
    return SideRows(
        refs[members[source]],
        times_ms[row, group[source]],
        part[column, row],
        np.zeros(len(row), np.int64) if start_ms is None else start_ms[row, source],
        np.zeros(len(row), np.int64),
    )


def block_rows(block: SampleBlock, refs: NDArray[np.int64], before_ms: int) -> SideRows:
    """The samples of a block that are older than `before_ms`, as rows."""
    rows = _rows(
        refs,
        np.arange(len(refs)),
        block.times_ms,
        block.group,
        block.values,
        block.start_ms,
        np.arange(len(refs)),
    )
    return rows.take(rows.times_ms < before_ms)
