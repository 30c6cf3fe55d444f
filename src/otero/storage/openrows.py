"""Reading the open end of the head while the writer goes on."""

import numpy as np
from numpy.typing import NDArray

from otero.model.samples import NO_TIME
from otero.storage.assemble import OpenRows, numbered
from otero.storage.chunks import Layout, columns_with_gaps
from otero.storage.grid import OpenGrid


def copy_open(grid: OpenGrid, refs: NDArray[np.int64], start_ms: int, end_ms: int) -> OpenRows | None:
    """A copy of the open rows of series within a range, both ends included; None when there is none.

    The caller holds the lock of the grid.
    """
    strips = grid.strip_of[refs]
    if len(strips) and int(strips.min()) < 0:
        refs, strips = refs[strips >= 0], strips[strips >= 0]
    if not len(strips):
        return None
    heads, group = numbered(strips)
    distinct = strips[heads]
    used = grid.rows[distinct]
    first, last = grid.times_ms[0, distinct], grid.last_ms[distinct]
    wanted = (used > 0) & (first <= end_ms) & (last >= start_ms)
    if not wanted.all():
        if not wanted.any():
            return None
        members = np.flatnonzero(wanted[group])
        refs, group = refs[members], (np.cumsum(wanted) - 1)[group[members]]
        distinct, used = distinct[wanted], used[wanted]
    times_ms = grid.times_ms[: int(used.max()), distinct]
    low = int(np.count_nonzero(times_ms < start_ms, axis=0).min())
    high = int(np.count_nonzero(times_ms <= end_ms, axis=0).max())
    if high <= low:
        return None
    times_ms = times_ms[low:high]
    values = grid.values_of(refs, slice(low, high))
    real = times_ms != NO_TIME
    layout = Layout(refs, group.astype(np.int32))
    return OpenRows(
        layout,
        times_ms,
        values,
        int(times_ms[real].min()),
        int(times_ms[real].max()),
        columns_with_gaps(values, real, layout.group),
    )
