"""Which series of two vectors belong together, decided on label columns and not per series.

Two series match when their *signatures* are equal: the labels named by `on`, or all labels but the metric name and those
named by `ignoring`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otero.model.labels import METRIC_NAME, LabelTable


def signature_labels(table: LabelTable, on: bool, labels: Iterable[str]) -> LabelTable:
    """The columns that decide about matching."""
    return table.keep(labels) if on else table.drop((METRIC_NAME, *labels))


@dataclass(frozen=True, slots=True, eq=False)
class Signatures:
    """The signature of each series of both sides, as numbers below `count`; equal labels, equal numbers."""

    left: NDArray[np.intp]
    right: NDArray[np.intp]
    count: int


def signatures(left: LabelTable, right: LabelTable, on: bool, labels: Iterable[str]) -> Signatures:
    """Number the signatures of both sides in common."""
    names = tuple(labels)
    both = LabelTable.concat([signature_labels(left, on, names), signature_labels(right, on, names)])
    groups, representatives = both.group()
    return Signatures(groups[: left.size], groups[left.size :], len(representatives))


def present_signatures(present: NDArray[np.bool_], groups: NDArray[np.intp], count: int) -> NDArray[np.bool_]:
    """bool [steps, count]: whether any series of the signature has a value at the step. `present` is [steps, S]."""
    out = np.zeros((present.shape[0], count), np.bool_)
    for layer in layers(groups, count):
        out[:, groups[layer]] |= present[:, layer]
    return out


def layers(groups: NDArray[np.intp], count: int) -> list[NDArray[np.intp]]:
    """Rows split so that no layer holds two rows of one group; the k-th layer holds the k-th row of each group."""
    if len(groups) == 0:
        return []
    sizes = np.bincount(groups, minlength=count)
    most = int(sizes.max())
    if most == 1:
        return [np.arange(len(groups), dtype=np.intp)]
    order = np.argsort(groups, kind="stable")
    starts = np.cumsum(sizes) - sizes
    rank = np.arange(len(groups), dtype=np.intp) - starts[groups[order]]
    by_rank = np.argsort(rank, kind="stable")
    edges = np.searchsorted(rank[by_rank], np.arange(most + 1))
    return [np.sort(order[by_rank[edges[k] : edges[k + 1]]]) for k in range(most)]


def pairs(found: Signatures) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Every pair of a left and a right series with the same signature, in the order of the left side, then the right."""
    sizes = np.bincount(found.right, minlength=found.count)
    order = np.argsort(found.right, kind="stable").astype(np.intp, copy=False)
    starts = np.cumsum(sizes) - sizes
    repeats = sizes[found.left]
    left = np.repeat(np.arange(len(found.left), dtype=np.intp), repeats)
    within = np.arange(len(left), dtype=np.intp) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    right = order[starts[found.left[left]] + within]
    return left, right
