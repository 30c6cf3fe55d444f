"""The sections of prometheus.yml besides scraping: remote storage, tracing, storage, runtime."""

from typing import Annotated, Literal

import msgspec

from otero.errors import BadField
from otero.fields import Duration, Size
from otero.http_client import TlsConfig
from otero.remote.config import check_headers
from otero.source import Unserved


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the Structs of this module."""


class TsdbRetention(Section, frozen=True, kw_only=True):
    time: Duration = Duration(0)
    size: Size = Size(0)
    percentage: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.percentage <= 100:
            raise BadField(f"percentage must be between 0 and 100, not {self.percentage:g}", "percentage")


class ChunkEncoding(Section, frozen=True, kw_only=True):
    floats: Literal["", "xor", "xor2"] = ""


_RETENTION = Unserved("set storage.retention in otero.yml")
_TSDB = Unserved("Otero stores samples in its own way")


class TsdbConfig(Section, frozen=True, kw_only=True):
    out_of_order_time_window: Annotated[Duration, Unserved("Otero takes late samples of any age")] = Duration(
        0
    )
    stale_series_compaction_threshold: Annotated[float, _TSDB] = 0.0
    chunk_encoding: Annotated[ChunkEncoding, _TSDB] = ChunkEncoding()
    retention: Annotated[TsdbRetention, _RETENTION] = TsdbRetention()


class ExemplarsConfig(Section, frozen=True, kw_only=True):
    max_exemplars: Annotated[int, Unserved("exemplars are kept as long as metrics")] = 100_000


class StorageConfig(Section, frozen=True, kw_only=True):
    tsdb: TsdbConfig = TsdbConfig()
    exemplars: ExemplarsConfig = ExemplarsConfig()


class TracingConfig(Section, frozen=True, kw_only=True):
    client_type: Literal["grpc", "http"] = "grpc"
    endpoint: str = ""
    sampling_fraction: float = 0.0
    insecure: bool = False
    tls_config: TlsConfig = TlsConfig()
    headers: dict[str, str] = {}
    compression: str = ""
    timeout: Duration = Duration(0)

    def __post_init__(self) -> None:
        check_headers(
            self.headers, authorization="custom authorization header configuration is not yet supported"
        )
        if not self.endpoint:
            raise BadField("tracing endpoint must be set", "endpoint")
        if self.compression not in ("", "gzip"):
            raise BadField(
                f"invalid compression type {self.compression} provided, valid options: gzip", "compression"
            )


class RuntimeConfig(Section, frozen=True, kw_only=True):
    gogc: Annotated[int, Unserved("it tunes the Go runtime, which Otero does not have")] = 75
