"""What is encoded for other servers decodes to the same columns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero.model.histograms import Histograms
from otero.model.labels import LabelBytes, encode_labels
from otero.wire.pb import remote_write_v1_pb2 as v1
from otero.wire.remote_write_encode import Run, encode_v1, encode_v1_extras, encode_v2
from otero.wire.remote_write_histograms import HistogramRows
from otero.wire.remote_write_v1 import WriteV1Decoder
from otero.wire.remote_write_v2 import WriteV2Decoder
from tests.wire.remote_write_requests import Names, rows, value_bits

labels = st.dictionaries(
    st.sampled_from(["job", "a", "größe"]), st.text(min_size=1, max_size=200), max_size=3
)
usual = st.integers(0, (1 << 42) - 1)


@given(
    st.lists(
        st.tuples(labels, st.lists(st.tuples(usual, st.floats(), usual), min_size=1, max_size=4)),
        min_size=1, max_size=6,
    )
)  # fmt: skip
def test_both_versions_decode_to_what_was_encoded(
    found: list[tuple[dict[str, str], list[tuple[int, float, int]]]],
) -> None:
    runs: list[Run] = []
    samples: list[tuple[int, float, int]] = []
    expected: list[tuple[LabelBytes, int, int]] = []
    for number, (named, own) in enumerate(found):
        key = encode_labels({**named, "__name__": "m", "number": str(number)})
        runs.append(Run(key, len(samples), len(samples) + len(own)))
        samples += own
        expected += [(key, time_ms, value_bits(value)) for time_ms, value, _ in own]
    times = np.array([time_ms for time_ms, _, _ in samples], np.int64)
    values = np.array([value for _, value, _ in samples])
    starts = np.array([start for _, _, start in samples], np.int64)
    names = Names()
    assert rows(WriteV1Decoder(names.resolve).decode(encode_v1(runs, times, values)), names) == expected
    for start_ms in (None, starts):
        columns = WriteV2Decoder(names.resolve).decode(encode_v2(runs, times, values, start_ms))
        assert rows(columns, names) == expected
        if start_ms is not None and start_ms.any():
            assert columns.start_ms is not None
            assert columns.start_ms.tolist() == starts.tolist()


def histograms() -> Histograms:
    collected = HistogramRows()
    collected.add(
        v1.Histogram(
            count_int=6, sum=18.5, schema=1, zero_threshold=0.5, zero_count_int=1, reset_hint=3,
            positive_spans=[v1.BucketSpan(offset=-1, length=2), v1.BucketSpan(offset=1, length=1)],
            positive_deltas=[1, 1, -1],
            negative_spans=[v1.BucketSpan(offset=2, length=1), v1.BucketSpan(offset=3, length=1)], negative_deltas=[1, -1],
        )
    )  # fmt: skip
    collected.add(
        v1.Histogram(
            count_float=3.5, sum=9, schema=-53, custom_values=[0.1, 1],
            positive_spans=[v1.BucketSpan(offset=0, length=3)], positive_counts=[1, 0.5, 2],
        )
    )  # fmt: skip
    return collected.build()


@pytest.mark.parametrize("version", [1, 2])
def test_histograms_decode_to_what_was_encoded(version: int) -> None:
    key = encode_labels({"__name__": "native"})
    wanted = histograms()
    sent = [(key, 5, 0, wanted), (key, 6, 1, wanted)]
    names = Names()
    if version == 1:
        columns = WriteV1Decoder(names.resolve).decode(encode_v1_extras(sent, ()))
    else:
        none = np.zeros(0, np.int64)
        columns = WriteV2Decoder(names.resolve).decode(encode_v2([], none, np.zeros(0), None, sent))
    assert columns.times_ms.tolist() == [5, 6]
    found = columns.histograms
    assert found is not None
    for name in (
        "schema",
        "zero_threshold",
        "zero_count",
        "count",
        "sum",
        "hint",
        "bounds",
        "offsets",
        "bucket",
        "value",
    ):
        assert getattr(found, name).tolist() == getattr(wanted, name).tolist(), name
    assert found.custom_bounds == wanted.custom_bounds
