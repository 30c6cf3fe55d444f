"""Native histograms for tests: random ones, and a form in which they can be compared bit by bit."""

import numpy as np
from hypothesis import strategies as st

from otero.model.histograms import CUSTOM, Histograms, ResetHint, negative, positive

Described = tuple[object, ...]

FLOATS = st.one_of(
    st.integers(0, 300).map(float),
    st.floats(min_value=0, width=64),
    st.sampled_from([0.0, -0.0, 2.0**53, float("inf"), float("nan")]),
)


def described(histograms: Histograms, row: int) -> Described:
    """One histogram with every float as its bits; equal only for equal histograms."""
    low, high = histograms.offsets[row], histograms.offsets[row + 1]
    floats = np.array(
        [getattr(histograms, name)[row] for name in ("zero_threshold", "zero_count", "count", "sum")]
    )
    bounds = int(histograms.bounds[row])
    return (
        int(histograms.schema[row]),
        floats.tobytes(),
        int(histograms.hint[row]),
        histograms.custom_bounds[bounds] if bounds >= 0 else (),
        tuple(histograms.bucket[low:high].tolist()),
        histograms.value[low:high].tobytes(),
    )


def one(
    schema: int = 0,
    buckets: dict[int, float] | None = None,
    *,
    below: dict[int, float] | None = None,
    bounds: tuple[float, ...] = (),
    zero_count: float = 0.0,
    zero_threshold: float = 0.0,
    count: float | None = None,
    total: float = 1.5,
    hint: int = ResetHint.UNKNOWN,
) -> Histograms:
    """One histogram: `buckets` by index, `below` the negative ones."""
    above = dict(sorted((buckets or {}).items()))
    under = dict(sorted((below or {}).items(), reverse=True))
    numbers = np.concatenate(
        [negative(np.array(list(under), np.int64)), positive(np.array(list(above), np.int64))]
    )
    values = np.array([*under.values(), *above.values()], np.float64)
    return Histograms(
        np.array([schema], np.int8),
        np.array([zero_threshold]),
        np.array([zero_count]),
        np.array([values.sum() + zero_count if count is None else count]),
        np.array([total]),
        np.array([hint], np.uint8),
        np.array([0 if schema == CUSTOM else -1], np.int32),
        (bounds,) if schema == CUSTOM else (),
        np.array([0, len(numbers)], np.int64),
        numbers,
        values,
    )


@st.composite
def single(draw: st.DrawFn) -> Histograms:
    """One histogram of any kind."""
    schema = draw(st.sampled_from([-4, 0, 3, 8, CUSTOM]))
    custom = schema == CUSTOM
    low, high = (0, 4) if custom else draw(st.sampled_from([(-5, 40), (-300_000, 300_000), (-3, 1 << 40)]))
    buckets = draw(st.dictionaries(st.integers(low, high), FLOATS, max_size=6))
    below = {} if custom else draw(st.dictionaries(st.integers(low, high), FLOATS, max_size=3))
    bounds = draw(st.sampled_from([(1.0, 2.0, 5.0, 10.0), (0.1, 0.25, 0.5, 1e9)])) if custom else ()
    zero = 0.0 if custom else draw(FLOATS)
    return one(
        schema,
        buckets,
        below=below,
        bounds=bounds,
        zero_count=zero,
        zero_threshold=0.0 if custom else draw(st.sampled_from([0.0, 1e-128, 0.5])),
        count=draw(FLOATS),
        total=draw(st.one_of(st.floats(width=64), FLOATS)),
        hint=draw(st.sampled_from(list(ResetHint))),
    )


def many() -> st.SearchStrategy[Histograms]:
    """Some histograms, of mixed kinds."""
    return st.lists(single(), max_size=8).map(Histograms.concat)
