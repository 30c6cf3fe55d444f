"""From sealed frames, open rows and side rows to blocks in which each series occurs once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from otero.errors import Bug
from otero.model.budget import Budget
from otero.model.labels import LabelTable
from otero.model.samples import ABSENT, ABSENT_BITS, NO_TIME, SampleBlock, bits
from otero.storage.blocks import build_columns, is_clean
from otero.storage.chunks import Cut, Layout, as_slice
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
    @property
    def last_ms(self) -> int: ...
    @property
    def gaps(self) -> NDArray[np.intp]: ...

    def read_into(self, out: NDArray[np.float64], rows: slice, cut: Cut) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class OpenRows:
    """A copy of rows that are not sealed yet: values [T, S] in the order of its layout; the rest as in `Frame`."""

    layout: Layout
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    first_ms: int
    last_ms: int
    gaps: NDArray[np.intp]

    @property
    def height(self) -> int:
        """Rows."""
        return self.times_ms.shape[0]

    def read_into(self, out: NDArray[np.float64], rows: slice, cut: Cut) -> None:
        """Write some rows of some columns to `out`, whose height is that of the rows."""
        values = self.values[rows]
        out[:, as_slice(cut.places)] = (
            values if len(cut.columns) == values.shape[1] else values.take(cut.columns, axis=1)
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """What a chain has of a piece: some rows, times_ms [rows, G] of all its timestamp columns, and some columns of its
    layout, which are the series `places`."""

    piece: Piece
    rows: slice
    times_ms: NDArray[np.int64]
    columns: NDArray[np.intp]
    places: NDArray[np.intp]

    @property
    def height(self) -> int:
        return self.rows.stop - self.rows.start


@dataclass(frozen=True, slots=True, eq=False)
class _Chain:
    """Series that lie in the same pieces: their parts in order of time. `clean`: none of them has a gap in any."""

    parts: list[_Part]
    clean: bool

    @property
    def members(self) -> NDArray[np.intp]:
        """The series, in the order in which the first piece holds them."""
        return self.parts[0].places

    @property
    def height(self) -> int:
        return sum(part.height for part in self.parts)


def assemble(
    refs: NDArray[np.int64],
    labels: LabelTable,
    pieces: Sequence[Piece],
    side: SideRows,
    starts: Starts | None,
    span_ms: tuple[int, int],
    budget: Budget,
) -> tuple[list[SampleBlock], list[NDArray[np.int64]]]:
    """Blocks of the series `refs` (ascending; rows of `labels`), and the references of each block's series.

    They hold at least the samples within `span_ms`, both ends included. Series with gaps are in blocks of their own.
    `side` holds rows of these series only and overrides the pieces. Charges the budget before it decodes.
    """
    parts, dirty = _parts(pieces, refs, span_ms)
    chains = _chains(parts, dirty, len(refs))
    disturbed: NDArray[np.bool_] | None = None
    if len(side):
        disturbed = np.zeros(len(refs), np.bool_)
        disturbed[np.searchsorted(refs, side.refs)] = True
    blocks: list[SampleBlock] = []
    block_refs: list[NDArray[np.int64]] = []
    loose: list[SideRows] = []

    def finish(
        members: NDArray[np.intp],
        times_ms: NDArray[np.int64],
        group: NDArray[np.intp],
        values: NDArray[np.float64],
        start_ms: NDArray[np.int64] | None,
        clean: bool,
    ) -> None:
        everything = len(members) == len(refs) and bool((members == np.arange(len(refs))).all())
        table = labels if everything else labels.take(members)
        blocks.append(SampleBlock(table, times_ms, group, values, clean, start_ms))
        block_refs.append(refs[members])

    for family in _families(chains):
        members = family[0].members if len(family) == 1 else np.concatenate([c.members for c in family])
        budget.charge(max(chain.height for chain in family) * len(members))
        times_ms, group, values = _read_family(len(members), family, budget)
        clean = family[0].clean
        if not clean:
            clean = is_clean(values)
        filled, rising = _fill_gaps(times_ms)
        clean &= not filled
        start_ms = None
        if starts is not None and np.isin(refs[members], starts[0]).any():
            start_ms = starts_at(starts, refs[members], times_ms[:, group])
        # A strip that was opened while another one of its series still ran makes times go back: sort those by hand.
        if disturbed is not None or not rising.all():
            out = ~rising[group]
            if disturbed is not None:
                out |= disturbed[members]
            if out.any():
                loose.append(_rows(refs, members, times_ms, group, values, start_ms, np.flatnonzero(out)))
                kept = np.flatnonzero(~out)
                if not len(kept):
                    continue
                used, group = np.unique(group[kept], return_inverse=True)
                members, values = members[kept], values.take(kept, axis=1)
                times_ms = times_ms[:, used]
                start_ms = None if start_ms is None else start_ms[:, kept]
        finish(members, times_ms, group.astype(np.intp, copy=False), values, start_ms, clean)
    if len(side):
        loose.append(side)
    if loose:
        all_starts = np.concatenate([rows.start_ms for rows in loose])
        for c in build_columns(
            np.searchsorted(refs, np.concatenate([rows.refs for rows in loose])),
            np.concatenate([rows.times_ms for rows in loose]),
            np.concatenate([rows.values for rows in loose]),
            all_starts if all_starts.any() else None,
        ):
            budget.charge(c.values.size)
            finish(c.series, c.times_ms, c.group, c.values, c.start_ms, is_clean(c.values))
    return blocks, block_refs


def _parts(
    pieces: Sequence[Piece], refs: NDArray[np.int64], span_ms: tuple[int, int]
) -> tuple[list[_Part], NDArray[np.bool_] | None]:
    """The share of each piece in the wanted series and times, in order of time; and which series have gaps."""
    known: dict[int, tuple[NDArray[np.intp], NDArray[np.intp]]] = {}
    parts: list[_Part] = []
    dirty: NDArray[np.bool_] | None = None
    for piece in pieces:
        layout = piece.layout
        found = known.get(id(layout))
        if found is None:
            found = known[id(layout)] = layout.find(refs)
        columns, places = found
        if not len(columns):
            continue
        times_ms = piece.times_ms
        rows = _rows_within(piece, times_ms, span_ms)
        if rows.stop <= rows.start:
            continue
        parts.append(_Part(piece, rows, times_ms[rows], columns, places))
        if len(piece.gaps):
            own = np.zeros(len(layout.refs), np.bool_)
            own[piece.gaps] = True
            touched = places[own[columns]]
            if len(touched):
                dirty = np.zeros(len(refs), np.bool_) if dirty is None else dirty
                dirty[touched] = True
    parts.sort(key=lambda part: part.piece.first_ms)
    return parts, dirty


def _rows_within(piece: Piece, times_ms: NDArray[np.int64], span_ms: tuple[int, int]) -> slice:
    """Rows of a piece that any of its timestamp columns has within a range."""
    start_ms, end_ms = span_ms
    low, high = 0, piece.height
    if piece.first_ms < start_ms:
        low = int(np.count_nonzero(times_ms < start_ms, axis=0).min())
    if piece.last_ms > end_ms:
        high = int(np.count_nonzero(times_ms <= end_ms, axis=0).max())
    return slice(low, high)


def _chains(parts: Sequence[_Part], dirty: NDArray[np.bool_] | None, size: int) -> list[_Chain]:
    """Series that lie in the same pieces form a chain, those with gaps apart."""
    if not parts:
        return []
    first = parts[0].places
    if dirty is None and all(part.places is first or np.array_equal(part.places, first) for part in parts):
        return [_Chain(list(parts), True)]
    marks = np.random.default_rng(0x07E0).integers(1, 1 << 63, len(parts) + 1, dtype=np.uint64)
    signature = np.zeros(size, np.uint64)
    for part, mark in zip(parts, marks[1:], strict=True):
        signature[part.places] += mark
    if dirty is not None:
        signature[dirty] += marks[0]
    held = np.zeros(size, np.bool_)
    for part in parts:
        held[part.places] = True
    at = np.flatnonzero(held)
    distinct, chain_of_held = np.unique(signature[at], return_inverse=True)
    chain_of = np.full(size, -1, np.intp)
    chain_of[at] = chain_of_held
    chains = [_Chain([], True) for _ in distinct]
    if dirty is not None:
        gaps = np.zeros(len(distinct), np.bool_)
        gaps[chain_of_held[dirty[at]]] = True
        chains = [_Chain([], not gap) for gap in gaps.tolist()]
    for part in parts:
        own = chain_of[part.places]
        if len(distinct) == 1:
            chains[0].parts.append(part)
            continue
        for number in np.flatnonzero(np.bincount(own, minlength=len(distinct))).tolist():
            inside = own == number
            chains[number].parts.append(
                _Part(part.piece, part.rows, part.times_ms, part.columns[inside], part.places[inside])
            )
    return chains


def _families(chains: Sequence[_Chain]) -> list[list[_Chain]]:
    """Chains that go into one block: all or none have gaps, the shortest has at least half the rows of the longest."""
    families: list[list[_Chain]] = []
    for chain in sorted(chains, key=lambda chain: (chain.clean, chain.height), reverse=True):
        if families and families[-1][0].clean == chain.clean and 2 * chain.height >= families[-1][0].height:
            families[-1].append(chain)
        else:
            families.append([chain])
    return families


def _read_family(
    width: int, family: Sequence[_Chain], budget: Budget
) -> tuple[NDArray[np.int64], NDArray[np.intp], NDArray[np.float64]]:
    """Times [T, G] with NO_TIME where a column has no row, the group of each member, values [T, S]."""
    height = family[0].height
    values = np.empty((height, width))
    if len(family) == 1:
        times_ms, group = _read(values, family[0], budget)
        return times_ms, group, values
    times: list[NDArray[np.int64]] = []
    groups: list[NDArray[np.intp]] = []
    left = columns_so_far = 0
    for chain in family:
        right = left + len(chain.members)
        own_times, group = _read(values[:, left:right], chain, budget)
        if len(own_times) < height:
            values[len(own_times) :, left:right] = ABSENT
            padding = np.full((height - len(own_times), own_times.shape[1]), NO_TIME, np.int64)
            own_times = np.concatenate([own_times, padding])
        times.append(own_times)
        groups.append(group + columns_so_far)
        columns_so_far += own_times.shape[1]
        left = right
    return np.concatenate(times, axis=1), np.concatenate(groups), values


def _read(
    values: NDArray[np.float64], chain: _Chain, budget: Budget
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Fill the columns of one chain; its times [T, G] and the group of each of its series."""
    width = values.shape[1]
    members = chain.members
    cuts: dict[int, tuple[Cut, NDArray[np.intp]]] = {}
    combined: NDArray[np.intp] | None = None
    own_groups: list[NDArray[np.intp]] = []
    row = 0
    for part in chain.parts:
        budget.check()
        layout = part.piece.layout
        found = cuts.get(id(layout))
        if found is None:
            if part.places is members or np.array_equal(part.places, members):
                at = np.arange(width)
            else:
                order = np.argsort(members)
                at = order[np.searchsorted(members, part.places, sorter=order)]
            own = np.empty(width, np.intp)
            own[at] = layout.group[part.columns]
            found = cuts[id(layout)] = (Cut.of(layout, part.columns, at), own)
            combined = own if combined is None else combined * (int(own.max()) + 1) + own
            combined = numbered(combined)[1]
        cut, own = found
        part.piece.read_into(values[row : row + part.height], part.rows, cut)
        own_groups.append(own)
        row += part.height
    if combined is None:
        raise Bug("a chain without a piece")
    heads, group = numbered(combined)
    return (
        np.concatenate(
            [part.times_ms[:, own[heads]] for part, own in zip(chain.parts, own_groups, strict=True)]
        ),
        group,
    )


def numbered(codes: NDArray[np.int32] | NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Equal codes (not negative) get equal numbers, without holes: a position of each number, and the numbers."""
    span = int(codes.max(initial=0)) + 1
    if span > 8 * len(codes) + 4096:
        _, heads, numbers = np.unique(codes, return_index=True, return_inverse=True)
        return heads, numbers
    where = np.full(span, -1, np.intp)
    where[codes] = np.arange(len(codes))
    used = np.flatnonzero(where >= 0)
    number_of = np.empty(span, np.intp)
    number_of[used] = np.arange(len(used))
    return where[used], number_of[codes]


def _fill_gaps(times_ms: NDArray[np.int64]) -> tuple[bool, NDArray[np.bool_]]:
    """Give rows without a time in the middle of a column one, in place: columns must rise, and those rows hold no sample.

    Returns whether there were such rows, and by column whether its times rise now.
    """
    height, width = times_ms.shape
    rising = np.ones(width, np.bool_)
    if height < 2:
        return False, rising
    filled = False
    empty = times_ms == NO_TIME
    if empty[:-1].any():
        row = np.arange(height)[:, None]
        last_real = np.maximum.accumulate(np.where(empty, -1, row), axis=0)
        fill = empty & (row < last_real[-1])
        filled = bool(fill.any())
        if filled:
            # From the real row before; from the first one where there is none before.
            near = np.where(last_real < 0, np.argmin(empty, axis=0), last_real)
            source = np.take_along_axis(times_ms, near, axis=0)
            times_ms[fill] = (source + (row - near))[fill]
    later, earlier = times_ms[1:], times_ms[:-1]
    rising = ((later > earlier) | (later == NO_TIME)).all(axis=0)
    return filled, rising


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
