"""Remote write 2.0, `io.prometheus.write.v2.Request`: bytes to columns.

Label sets are numbers of symbols, which differ from request to request. Joined, the symbols of a series are a key that a
dictionary knows from earlier requests; only new series are looked at closely.

Protocol: https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/
"""

from collections.abc import Sequence

import numpy as np
from google.protobuf.message import DecodeError

from otero.errors import BadInput
from otero.model.labels import METRIC_NAME, LabelBytes
from otero.model.metrics import Exemplar, Metadata
from otero.model.samples import STALE
from otero.wire.pb import remote_write_v2_pb2 as pb
from otero.wire.remote_write import (
    METADATA_TYPES,
    Refusals,
    Resolve,
    WriteColumns,
    boxes,
    exemplar_label_bytes,
    label_bytes,
    quiet,
)
from otero.wire.remote_write_histograms import HistogramRows, is_stale

_MAX_KEYS = 400_000
"""Series that are remembered in each of two generations."""
_MAX_LABEL_BYTES = 128 << 20
"""Labels of one request, symbols written out: a small request can name a long symbol again and again."""
_MISSING = -(1 << 62)
_NAME = METRIC_NAME.encode()
_COMPONENTS = {"histogram": (b"_bucket", b"_count", b"_sum"), "summary": (b"_count", b"_sum")}


class WriteV2Decoder:
    """Decodes requests; remembers the series that it has seen. Not safe for two threads at once.

    `forget` must be called when references lose their meaning.
    """

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._known: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}
        self._metadata: dict[tuple[bytes, int, bytes, bytes], Metadata] = {}

    def forget(self) -> None:
        """Drop all references."""
        self._known, self._older = {}, {}

    def decode(self, body: bytes) -> WriteColumns:
        """The columns of one request, uncompressed. Raises BadInput for what is no Request."""
        try:
            request = pb.Request.FromString(body)
        except DecodeError:
            raise BadInput(
                "the body is not an io.prometheus.write.v2.Request: it cannot be parsed as protobuf"
            ) from None
        symbols = list(request.symbols)
        if symbols and symbols[0]:
            raise BadInput("the first symbol must be the empty text")
        return _Request(self, symbols, request.timeseries).columns()

    def refs(self, keys: Sequence[bytes], refusals: dict[int, str]) -> list[int]:
        """The reference of each series by its joined symbols; where labels are faulty, -1 and the text in `refusals`."""
        get, older = self._known.get, self._older.get
        out: list[int] = []
        names: list[LabelBytes] = []
        at: list[int] = []
        for row, key in enumerate(keys):
            ref = get(key, _MISSING)
            if ref == _MISSING:
                ref = older(key, _MISSING)
                if ref == _MISSING:
                    try:
                        names.append(_label_bytes(key))
                        at.append(row)
                    except BadInput as error:
                        refusals[row] = str(error)
                        ref = -1
                else:
                    self._remember(key, ref)
            out.append(ref)
        for row, ref in zip(at, self._resolve(names).tolist() if names else (), strict=True):
            out[row] = ref
            if ref >= 0:
                self._remember(keys[row], ref)
        return out

    def _remember(self, key: bytes, ref: int) -> None:
        if len(self._known) >= _MAX_KEYS:
            self._older, self._known = self._known, {}
        self._known[key] = ref

    def metadata(self, name: bytes, kind: int, help_: bytes, unit: bytes) -> Metadata:
        """What a series says of its metric, one object for all that say the same."""
        key = (name, kind, help_, unit)
        found = self._metadata.get(key)
        if found is None:
            word = METADATA_TYPES[kind] if 0 <= kind < len(METADATA_TYPES) else "unknown"
            for suffix in _COMPONENTS.get(word, ()):
                if name.endswith(suffix):
                    name = name.removesuffix(suffix)
                    break
            if len(self._metadata) >= _MAX_KEYS:
                self._metadata.clear()
            texts = (text.decode("utf-8", "replace") for text in (help_, unit))
            found = self._metadata[key] = Metadata(name.decode("utf-8", "replace"), word, *texts)
        return found


def _label_bytes(key: bytes) -> LabelBytes:
    parts = key.split(b"\xff")
    if len(parts) % 2 == 0:
        raise BadInput(
            "invalid labels: the number of label references is odd, or a label holds a byte that UTF-8 never has"
        )
    return label_bytes(zip(parts[:-1:2], parts[1::2], strict=True))


class _Request:
    """One request on its way into columns."""

    def __init__(
        self, decoder: WriteV2Decoder, symbols: list[bytes], series: Sequence[pb.TimeSeries]
    ) -> None:
        self._decoder = decoder
        self._symbols = symbols
        self._series = series
        self._label_bytes = 0
        self._foul = {at for at, symbol in enumerate(symbols) if b"\xff" in symbol}
        self._refusals = Refusals()
        self._refs: list[int] = []
        self._times_ms: list[int] = []
        self._values: list[float] = []
        self._starts: list[int] = []
        self._rows = HistogramRows()
        self._histogram_at: list[int] = []
        self._exemplars: list[Exemplar] = []
        self._metadata: dict[Metadata, None] = {}

    def columns(self) -> WriteColumns:
        keys: list[bytes] = []
        found: list[pb.TimeSeries] = []
        for series in self._series:
            label_refs = list(series.labels_refs)
            try:
                parts = self._texts(label_refs)
            except IndexError:
                self._refuse(
                    series,
                    f"invalid labels: a reference beyond the {len(self._symbols)} symbols: {label_refs}"[
                        :300
                    ],
                )
                continue
            except BadInput as error:
                self._refuse(series, str(error))
                continue
            if self._foul and not self._foul.isdisjoint(label_refs):
                self._refuse(series, "invalid metric name or labels: not UTF-8")
                continue
            keys.append(b"\xff".join(parts) + b"\xff")
            found.append(series)
        faults: dict[int, str] = {}
        for row, (series, ref) in enumerate(zip(found, self._decoder.refs(keys, faults), strict=True)):
            if ref < 0 and row in faults:
                self._refuse(series, faults[row])
            else:
                self._take(series, ref, keys[row])
        values = quiet(np.array(self._values, np.float64))
        if self._histogram_at:
            values[self._histogram_at] = boxes(len(self._rows))
        return WriteColumns(
            np.array(self._refs, np.int64),
            np.array(self._times_ms, np.int64),
            values,
            np.array(self._starts, np.int64) if any(self._starts) else None,
            self._rows.build() if self._histogram_at else None,
            tuple(self._exemplars),
            tuple(self._metadata),
            self._refusals,
        )

    def _refuse(self, series: pb.TimeSeries, text: str) -> None:
        self._refusals.add("invalid_labels", len(series.samples) + len(series.histograms), text)
        self._refusals.add("invalid_labels_exemplar", len(series.exemplars), text)

    def _take(self, series: pb.TimeSeries, ref: int, key: bytes) -> None:
        created = series.created_timestamp
        for sample in series.samples:
            self._refs.append(ref)
            self._times_ms.append(sample.timestamp)
            self._values.append(sample.value)
            self._starts.append(sample.start_timestamp or created)
        for histogram in series.histograms:
            if not is_stale(histogram):
                try:
                    self._rows.add(histogram)
                except BadInput as error:
                    self._refusals.add("invalid_histogram", 1, str(error))
                    continue
                self._histogram_at.append(len(self._refs))
            self._refs.append(ref)
            self._times_ms.append(histogram.timestamp)
            self._values.append(STALE)
            self._starts.append(histogram.start_timestamp or created)
        for exemplar in series.exemplars:
            try:
                labels = exemplar_label_bytes(self._pairs(exemplar.labels_refs))
            except (BadInput, IndexError) as error:
                self._refusals.add("invalid_exemplar", 1, str(error))
                continue
            if ref >= 0:
                self._exemplars.append(Exemplar(ref, labels, exemplar.value, exemplar.timestamp))
        if series.HasField("metadata"):
            self._describe(series.metadata, key)

    def _texts(self, references: Sequence[int]) -> list[bytes]:
        """The symbols of these numbers. Raises IndexError, and BadInput when the request's labels grow too long by them."""
        symbols = self._symbols
        texts = [symbols[at] for at in references]
        self._label_bytes += sum(map(len, texts))
        if self._label_bytes > _MAX_LABEL_BYTES:
            raise BadInput(
                f"the labels of the request, its symbols written out, take more than {_MAX_LABEL_BYTES:,} bytes;"
                " send fewer series per request"
            )
        return texts

    def _pairs(self, references: Sequence[int]) -> list[tuple[bytes, bytes]]:
        if len(references) % 2:
            raise BadInput("the number of label references of an exemplar is odd")
        texts = self._texts(references)
        return list(zip(texts[::2], texts[1::2], strict=True))

    def _describe(self, metadata: pb.Metadata, key: bytes) -> None:
        symbols = self._symbols
        help_ref, unit_ref = metadata.help_ref, metadata.unit_ref
        if max(help_ref, unit_ref) >= len(symbols):
            self._refusals.add("invalid_metadata", 1, "metadata refers to a symbol that is not there")
            return
        if not (metadata.type or help_ref or unit_ref):
            return
        parts = key.split(b"\xff")
        name = parts[parts.index(_NAME) + 1]
        entry = self._decoder.metadata(name, metadata.type, symbols[help_ref], symbols[unit_ref])
        self._metadata[entry] = None
