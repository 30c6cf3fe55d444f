import numpy as np

from otero.model.histograms import Histograms, box, boxed_rows, index_of, is_boxed, negative, positive
from otero.model.samples import ABSENT, STALE


def one(schema: int, buckets: dict[int, float], bounds: tuple[float, ...] = ()) -> Histograms:
    return Histograms(
        np.array([schema], np.int8),
        np.zeros(1),
        np.zeros(1),
        np.array([sum(buckets.values())]),
        np.ones(1),
        np.zeros(1, np.uint8),
        np.array([0 if bounds else -1], np.int32),
        (bounds,) if bounds else (),
        np.array([0, len(buckets)]),
        positive(np.array(list(buckets), np.int64)),
        np.array(list(buckets.values()), float),
    )


def test_boxes_are_told_apart_from_every_other_number():
    values = np.array([1.0, np.nan, STALE, ABSENT, np.inf, -np.inf])
    assert boxed_rows(values).tolist() == [-1] * 6
    cells = np.concatenate([values, box(np.array([0, 7, (1 << 48) - 1]))])
    assert boxed_rows(cells).tolist() == [-1] * 6 + [0, 7, (1 << 48) - 1]
    assert is_boxed(cells).tolist() == [False] * 6 + [True] * 3
    assert np.isnan(cells[6:]).all()


def test_bucket_numbers_rise_with_the_values_they_stand_for():
    index = np.array([-5, 0, 5])
    numbers = np.concatenate([negative(index)[::-1], positive(index)])
    assert (np.diff(numbers) > 0).all()
    assert index_of(numbers).tolist() == [5, 0, -5, -5, 0, 5]


def test_rows_are_joined_and_taken_again():
    joined = Histograms.concat(
        [one(3, {-1: 2.0, 4: 1.0}), one(-53, {0: 5.0}, (1.0, 2.0)), one(-53, {1: 7.0}, (1.0, 2.0))]
    )
    assert joined.schema.tolist() == [3, -53, -53]
    assert joined.custom_bounds == ((1.0, 2.0),)
    assert joined.bounds.tolist() == [-1, 0, 0]
    again = joined.take(np.array([2, 0, 2]))
    assert again.offsets.tolist() == [0, 1, 3, 4]
    assert index_of(again.bucket).tolist() == [1, -1, 4, 1]
    assert again.value.tolist() == [7.0, 2.0, 1.0, 7.0]
    assert again.rows().tolist() == [0, 1, 1, 2]
    assert len(Histograms.concat([])) == 0
