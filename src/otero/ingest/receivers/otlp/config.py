"""`receivers.otlp` of otero.yml, in the shape of the OpenTelemetry Collector's receiver."""

from typing import Annotated

import msgspec

from otero.errors import BadField
from otero.fields import Duration, FilePath, Size, check_endpoint
from otero.source import Present

GRPC_ENDPOINT = "127.0.0.1:4317"
HTTP_ENDPOINT = "127.0.0.1:4318"


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the Structs of this module."""


class DoorTls(Part, frozen=True, kw_only=True):
    """Certificates of one door, PEM files; with `client_ca_file` clients must show one too."""

    cert_file: FilePath
    key_file: FilePath
    client_ca_file: FilePath = FilePath("")


class Cors(Part, frozen=True, kw_only=True):
    """Which web pages may send from a browser. An origin may hold `*` for any text; `*` alone is every page."""

    allowed_origins: tuple[str, ...] = ()
    allowed_headers: tuple[str, ...] = ()
    max_age: Duration = Duration(600_000)


class OtlpGrpc(Part, frozen=True, kw_only=True):
    """OTLP over gRPC."""

    endpoint: str = GRPC_ENDPOINT
    max_recv_msg_size: Size = Size(16 << 20)
    tls: DoorTls | None = None

    def __post_init__(self) -> None:
        check_endpoint(self.endpoint, "endpoint")
        if not 1024 <= self.max_recv_msg_size <= 1 << 30:
            raise BadField("max_recv_msg_size must be at least 1KiB and at most 1GiB", "max_recv_msg_size")


class OtlpHttp(Part, frozen=True, kw_only=True):
    """OTLP over HTTP."""

    endpoint: str = HTTP_ENDPOINT
    max_request_body_size: Size = Size(20 << 20)
    cors: Cors = Cors()
    tls: DoorTls | None = None

    def __post_init__(self) -> None:
        check_endpoint(self.endpoint, "endpoint")
        if not 1024 <= self.max_request_body_size <= 1 << 30:
            raise BadField(
                "max_request_body_size must be at least 1KiB and at most 1GiB", "max_request_body_size"
            )


class OtlpProtocols(Part, frozen=True, kw_only=True):
    """The doors to open; what is not named stays closed."""

    grpc: Annotated[OtlpGrpc | None, Present()] = None
    http: Annotated[OtlpHttp | None, Present()] = None


class OtlpReceiver(Part, frozen=True, kw_only=True):
    """OTLP's own doors; without `protocols` both."""

    protocols: OtlpProtocols = OtlpProtocols(grpc=OtlpGrpc(), http=OtlpHttp())
