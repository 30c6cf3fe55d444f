"""Native histograms for tests, one at a time."""

from collections.abc import Sequence

import numpy as np

from otero.model.histograms import CUSTOM, Histograms, ResetHint, negative, positive


def one(
    count: float = 0.0,
    total: float = 0.0,
    buckets: Sequence[float] = (),
    *,
    schema: int = 0,
    offset: int = 0,
    zero: float = 0.0,
    width: float = 0.0,
    below: Sequence[float] = (),
    below_offset: int = 0,
    bounds: Sequence[float] | None = None,
    hint: ResetHint = ResetHint.UNKNOWN,
) -> Histograms:
    """One histogram; `buckets` and `below` are the positive and negative ones from their offsets on, `bounds` custom."""
    up = positive(np.arange(offset, offset + len(buckets), dtype=np.int64))
    down = negative(np.arange(below_offset, below_offset + len(below), dtype=np.int64))
    bucket = np.concatenate([down[::-1], up])
    value = np.array([*reversed(below), *buckets], np.float64)
    return Histograms(
        np.array([schema if bounds is None else CUSTOM], np.int8),
        np.array([width], np.float64),
        np.array([zero], np.float64),
        np.array([count], np.float64),
        np.array([total], np.float64),
        np.array([hint], np.uint8),
        np.array([-1 if bounds is None else 0], np.int32),
        () if bounds is None else (tuple(bounds),),
        np.array([0, len(bucket)], np.int64),
        bucket,
        value,
    )


def many(*parts: Histograms) -> Histograms:
    return Histograms.concat(parts)


def buckets_of(h: Histograms, row: int = 0) -> dict[int, float]:
    """Bucket number -> value of what is not empty."""
    span = slice(int(h.offsets[row]), int(h.offsets[row + 1]))
    pairs = zip(h.bucket[span].tolist(), h.value[span].tolist(), strict=True)
    return {bucket: value for bucket, value in pairs if value != 0}


def bounds_at(h: Histograms, row: int = 0) -> tuple[float, ...] | None:
    which = int(h.bounds[row])
    return None if which < 0 else h.custom_bounds[which]
