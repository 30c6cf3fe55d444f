"""Narrow columns give back the very histograms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.model.histograms import Histograms
from otero.storage import histogram_columns
from tests.histogram_samples import described, many, one


def rows_of(histograms: Histograms) -> list[object]:
    return [described(histograms, row) for row in range(len(histograms))]


@given(many(), st.data())
def test_any_histograms_come_back_bit_by_bit(histograms: Histograms, data: st.DataObject) -> None:
    assert rows_of(histogram_columns.decode(histogram_columns.encode(histograms))) == rows_of(histograms)
    picks = st.lists(st.integers(0, max(len(histograms) - 1, 0)), max_size=10 if len(histograms) else 0)
    rows = np.array(data.draw(picks), np.int64)
    taken = histogram_columns.narrow(histograms).take(rows)
    assert rows_of(taken) == [described(histograms, row) for row in rows.tolist()]


def test_whole_counts_take_few_bytes() -> None:
    histograms = Histograms.concat(
        [one(3, {i: float(n % 7 + i % 3) for i in range(-5, 25)}, zero_count=float(n)) for n in range(500)]
    )
    packed = histogram_columns.narrow(histograms)
    assert packed.nbytes < 500 * 130, "30 buckets: a byte for each count, two for each number"
    assert len(histogram_columns.encode(histograms)) < 500 * 40


@given(many(), st.data())
def test_damaged_bytes_are_refused_or_read_as_histograms(histograms: Histograms, data: st.DataObject) -> None:
    whole = histogram_columns.encode(histograms)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises((ValueError, histogram_columns.struct.error)):
        histogram_columns.decode(whole[:cut])
