"""The alert state machine over columns: when one alert was pending and firing, given when its expression was true.

The same rules as `alerting.advance`, without a step at a time: a property test holds both together.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Spells:
    """The spells of one alert, in order. All are int64 [N] of positions in the times.

    pending  where it began to be pending.
    firing   where it began to fire; the number of times where it never did.
    end      the first at which it is neither; the number of times where it goes on.
    """

    pending: NDArray[np.int64]
    firing: NDArray[np.int64]
    end: NDArray[np.int64]


def spells_of(
    times_ms: NDArray[np.int64], is_true: NDArray[np.bool_], for_ms: int, keep_firing_for_ms: int
) -> Spells:
    """The spells of an alert whose expression was true at some of ascending times.

    A firing alert that is true again while it is kept firing goes on: that is one spell.
    """
    count = len(times_ms)
    edges = np.diff(is_true.astype(np.int8), prepend=0, append=0)
    begin = np.flatnonzero(edges == 1)
    after = np.flatnonzero(edges == -1)  # the first position at which it is not true
    if not len(begin):
        empty = np.zeros(0, np.int64)
        return Spells(empty, empty, empty)
    # Where each run would fire on its own, and where a firing one would end: kept from the first time it is not true.
    fires = np.searchsorted(times_ms, times_ms[begin] + for_ms)
    fires = np.where(fires < after, np.maximum(fires, begin), count)
    ends = np.full(len(begin), count, np.int64)
    gone = after < count
    ends[gone] = np.searchsorted(times_ms, times_ms[after[gone]] + keep_firing_for_ms)
    # A run that begins before a firing one before it has ended carries that on: chains of runs.
    linked = np.zeros(len(begin), np.bool_)
    linked[1:] = begin[1:] <= ends[:-1]
    chain = np.cumsum(~linked)
    order = np.arange(len(begin))
    own = np.where(fires < count, order, len(begin))
    # The first run of each chain that fires; all after it in the chain belong to its spell.
    first = np.full(int(chain[-1]) + 1, len(begin), np.int64)
    np.minimum.at(first, chain, own)
    leader = first[chain]
    heads = order <= leader  # runs before the one that fires, and that one
    last = np.full(len(first), -1, np.int64)
    last[chain] = order
    is_leader = order == leader
    end = np.where(is_leader, ends[last[chain]], after)
    return Spells(begin[heads], np.where(is_leader, fires, count)[heads], end[heads])
