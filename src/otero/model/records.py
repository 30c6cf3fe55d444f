"""Log records and spans: whole requests on their way in, which the engine takes apart, and single ones on their way out."""

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otero.model.identity import Entity, entity

Signal = Literal["logs", "traces"]


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """One accepted request of log records or spans.

    payload   OTLP's Export…ServiceRequest as protobuf, known to be well-formed (`wire/otlp.py`).
    records   how many log records or spans it holds.
    digest    16 bytes of a hash of what the client sent: the same digest soon again is the same request, sent again.
    """

    payload: bytes
    records: int
    digest: bytes


R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Placed(Generic[R]):
    """A span or a log record with what it belongs to, every field as it was sent. Resources and scopes are shared
    between records; none is to be changed."""

    resource: Resource
    resource_schema_url: str
    scope: InstrumentationScope
    scope_schema_url: str
    record: R

    @property
    def entity(self) -> Entity:
        """Who sent it."""
        return entity({a.key: a.value.string_value for a in self.resource.attributes})

    @property
    def service(self) -> str:
        """`service.name` of the resource as it was sent, "" when it has none: what the column ServiceName holds."""
        for attribute in self.resource.attributes:
            if attribute.key == "service.name":
                return attribute.value.string_value
        return ""
