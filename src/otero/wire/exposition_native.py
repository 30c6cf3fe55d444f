"""Native histograms of protobuf expositions as rows of `Histograms`; checked as those of remote write."""

from collections.abc import Sequence

from otero.wire.pb import exposition_pb2 as pb
from otero.wire.remote_write_histograms import HistogramRows

__all__ = ["HistogramRows", "Native", "exemplars_of", "is_native"]


def is_native(histogram: pb.Histogram) -> bool:
    """Whether a message holds a native histogram; one without spans, zero count and threshold is a classic one."""
    return bool(
        histogram.positive_span
        or histogram.negative_span
        or histogram.zero_threshold > 0
        or histogram.zero_count
        or histogram.zero_count_float > 0
    )


class Native:
    """A message under the names that remote write has for the same fields. There are no custom bounds here."""

    custom_values: Sequence[float] = ()

    def __init__(self, histogram: pb.Histogram, reset_hint: int) -> None:
        self.is_float = histogram.sample_count_float > 0 or histogram.zero_count_float > 0
        self.count_int = histogram.sample_count
        self.count_float = histogram.sample_count_float
        self.sum = histogram.sample_sum
        self.schema = histogram.schema
        self.zero_threshold = histogram.zero_threshold
        self.zero_count_int = histogram.zero_count
        self.zero_count_float = histogram.zero_count_float
        self.reset_hint = reset_hint
        self.negative_spans = histogram.negative_span
        self.negative_deltas = histogram.negative_delta
        self.negative_counts = histogram.negative_count
        self.positive_spans = histogram.positive_span
        self.positive_deltas = histogram.positive_delta
        self.positive_counts = histogram.positive_count

    def WhichOneof(self, oneof_group: str, /) -> str:  # noqa: N802 (the name that generated classes have)
        """Which form a count has."""
        return f"{oneof_group}_{'float' if self.is_float else 'int'}"


def exemplars_of(histogram: pb.Histogram) -> list[pb.Exemplar]:
    """Exemplars of a native histogram: its own, else those of its classic buckets; only with a timestamp."""
    listed = list(histogram.exemplars)
    if not listed:
        listed = [bucket.exemplar for bucket in histogram.bucket if bucket.HasField("exemplar")]
    return [exemplar for exemplar in listed if exemplar.HasField("timestamp")]
