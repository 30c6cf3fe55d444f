"""Aggregations that keep some series of each group as they are: topk, bottomk, limitk, limit_ratio.

Each answers a mask [steps, S] of the cells that stay.
"""

import numpy as np
import xxhash
from numpy.typing import NDArray

from otero.model.labels import LabelTable, encode_labels
from otero.query.promql.aggregate import Groups, Mask, Values, same_size, tiles


def top(k: NDArray[np.int64], values: Values, present: Mask | None, groups: Groups, count: int) -> Mask:
    """The `k[step]` largest values of each group; of equal ones the first series, NaN only when nothing else is left."""
    keep = np.zeros(values.shape, np.bool_)
    most = int(k.max(initial=0))
    if most < 1:
        return keep
    for _, columns in same_size(groups, count):
        size = columns.shape[1]
        if present is None and size <= int(k.min()):
            keep[:, columns.ravel()] = True
            continue
        for rows in tiles(len(k), columns.size):
            cells = values[rows][:, columns]
            here = None if present is None else present[rows][:, columns]
            keep[rows, columns] = _top_cells(k[rows], cells, here)
    return keep


def _top_cells(k: NDArray[np.int64], cells: Values, here: Mask | None) -> Mask:
    """`top` for groups of one size: cells and mask are [steps, groups, size]."""
    nan = np.isnan(cells)
    clean = here is None and not nan.any()
    real = None if clean else ~nan if here is None else here & ~nan
    ordered = cells if real is None else np.where(real, cells, -np.inf)
    limit = _limits(k, ordered, cells.shape[2])
    at_least = ordered >= limit
    if real is not None:
        at_least &= real
    wanted = np.broadcast_to(k[:, None, None], (*cells.shape[:2], 1))
    if (at_least.sum(axis=2, keepdims=True) == wanted).all():
        return at_least
    above = at_least & (ordered > limit)
    taken = above | _first(wanted - above.sum(axis=2, keepdims=True), at_least & ~above)
    if not clean:
        rest = nan if here is None else here & nan
        taken |= _first(wanted - taken.sum(axis=2, keepdims=True), rest)
    return taken


def _limits(k: NDArray[np.int64], cells: Values, size: int) -> Values:
    """The k-th largest cell of each group, [steps, groups, 1]."""
    if (k == k[0]).all():
        if k[0] < 1:
            return np.full((*cells.shape[:2], 1), np.inf)
        at = max(size - int(k[0]), 0)
        return np.partition(cells, at, axis=2)[:, :, at : at + 1]
    ranks = np.clip(size - k, 0, size - 1)
    index = np.broadcast_to(ranks[:, None, None], (*cells.shape[:2], 1))
    limit = np.take_along_axis(np.sort(cells, axis=2), index, axis=2)
    return np.where((k < 1)[:, None, None], np.inf, limit)


def _first(number: NDArray[np.int64], mask: Mask) -> Mask:
    """The first `number` true cells along the last axis."""
    return mask & (np.cumsum(mask, axis=2) <= number)


def first(
    k: NDArray[np.int64], shape: tuple[int, int], present: Mask | None, groups: Groups, count: int
) -> Mask:
    """The first `k[step]` series of each group that have a value."""
    keep = np.zeros(shape, np.bool_)
    for _, columns in same_size(groups, count):
        here = np.ones((shape[0], *columns.shape), np.bool_) if present is None else present[:, columns]
        keep[:, columns] = _first(k[:, None, None], here)
    return keep


def ratio(share: Values, labels: LabelTable, present: Mask | None) -> Mask:
    """A pseudo-random share of the series, decided by the hash of the labels; a negative share takes the others."""
    hashes = [xxhash.xxh64_intdigest(encode_labels(row)) for row in labels.rows()]
    offset = np.array(hashes, np.float64) / 2.0**64
    share = np.clip(share, -1.0, 1.0)[:, None]
    keep = np.where(share >= 0, offset < share, offset >= 1.0 + share)
    return keep if present is None else keep & present
