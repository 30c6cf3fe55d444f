"""`remote_write` and `remote_read` of prometheus.yml."""

from typing import Annotated, Any, Literal

import msgspec

from otero.errors import BadField
from otero.fields import Duration, Url
from otero.http_client import RESERVED_HEADERS, HttpClientConfig, SigV4, canonical_header
from otero.ingest.relabel_config import RelabelConfig
from otero.source import Unserved

_MINUTE = Duration(60_000)
_NO_CLOUD = Unserved("requests are made without it")
_REMOTE_RESERVED = RESERVED_HEADERS - {"Authorization", "X-Prometheus-Scrape-Timeout-Seconds"}


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the Structs of this module."""


class QueueConfig(Section, frozen=True, kw_only=True):
    """The sending queue of one remote-write destination."""

    capacity: int = 10_000
    max_shards: int = 50
    min_shards: int = 1
    max_samples_per_send: int = 2000
    batch_send_deadline: Duration = Duration(5000)
    min_backoff: Duration = Duration(30)
    max_backoff: Duration = Duration(5000)
    retry_on_http_429: bool = False
    sample_age_limit: Duration = Duration(0)

    def __post_init__(self) -> None:
        for name in ("capacity", "max_shards", "min_shards", "max_samples_per_send"):
            if getattr(self, name) <= 0:
                raise BadField(f"{name} must be greater than 0", name)
        if self.min_shards > self.max_shards:
            raise BadField("min_shards must not be greater than max_shards", "min_shards")
        if self.max_backoff < self.min_backoff:
            raise BadField("max_backoff must not be less than min_backoff", "max_backoff")


class MetadataConfig(Section, frozen=True, kw_only=True):
    send: bool = True
    send_interval: Duration = _MINUTE
    max_samples_per_send: int = 2000


class RemoteWriteConfig(HttpClientConfig, frozen=True, kw_only=True):
    url: Url = Url("")
    remote_timeout: Duration = Duration(30_000)
    headers: dict[str, str] = {}  # noqa: RUF012 (msgspec copies it)
    write_relabel_configs: tuple[RelabelConfig, ...] = ()
    name: str = ""
    send_exemplars: bool = False
    send_native_histograms: bool = False
    round_robin_dns: Annotated[bool, Unserved("the system's resolver chooses")] = False
    protobuf_message: Literal["prometheus.WriteRequest", "io.prometheus.write.v2.Request"] = (
        "prometheus.WriteRequest"
    )
    enable_http2: bool = False
    queue_config: QueueConfig = QueueConfig()
    metadata_config: MetadataConfig = MetadataConfig()
    sigv4: Annotated[SigV4 | None, _NO_CLOUD] = None
    azuread: Annotated[dict[str, Any] | None, _NO_CLOUD] = None
    google_iam: Annotated[dict[str, Any] | None, _NO_CLOUD] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.url:
            raise BadField("url for remote_write is empty", "url")
        check_headers(self.headers)
        ways = ("basic_auth", "authorization", "oauth2", "sigv4", "azuread", "google_iam")
        given = [way for way in ways if getattr(self, way) is not None]
        if len(given) > 1:
            raise BadField(
                "at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam must be configured",
                given[1],
            )


class RemoteReadConfig(HttpClientConfig, frozen=True, kw_only=True):
    url: Url = Url("")
    remote_timeout: Duration = _MINUTE
    chunked_read_limit: int = 50_000_000
    headers: dict[str, str] = {}  # noqa: RUF012 (msgspec copies it)
    read_recent: bool = False
    name: str = ""
    required_matchers: dict[str, str] = {}  # noqa: RUF012 (msgspec copies it)
    filter_external_labels: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.url:
            raise BadField("url for remote_read is empty", "url")
        check_headers(self.headers)


def check_headers(headers: dict[str, str], *, authorization: str = "") -> None:
    """Raises BadField for a header that may not be set by hand; `authorization` is the text for that one."""
    for name in headers:
        if name.lower() == "authorization":
            raise BadField(
                authorization
                or "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, azuread or"
                " google_iam parameter",
                f"headers.{name}",
            )
        if canonical_header(name) in _REMOTE_RESERVED:
            raise BadField(f"{name} is a reserved header. It must not be changed", f"headers.{name}")
