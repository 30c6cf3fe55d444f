"""What can be set about an instrumented application, from arguments and from OpenTelemetry's environment variables."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, TypedDict

METRIC_NAMES: Final = ("http", "golden", "otel")
"""The vocabularies in which request metrics are exposed; see `otero_sdk.metrics.names`."""

PROPAGATORS: Final = ("tracecontext", "b3", "b3multi", "jaeger")

DEFAULT_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds in seconds; those that OpenTelemetry advises for `http.server.request.duration`."""


class Options(TypedDict, total=False):
    """The keyword arguments of `instrument`; each is described in `Settings`."""

    version: str
    environment: str
    metric_names: Sequence[str]
    buckets: Sequence[float]
    metrics_path: str | None
    health_path: str | None
    logs: bool
    log_level: str
    access_log: bool
    log_rate_limit: float | None
    redact: Sequence[str]
    otlp_logs: bool
    traces: bool | None
    otlp_endpoint: str | None
    sample_ratio: float
    propagators: Sequence[str]
    drain_s: float
    metrics_port: int | None
    metrics_host: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a process is observed. Everything but the service has a default that suits most applications."""

    service: str
    version: str = ""
    """The release that runs: a resource attribute of spans and a field of log lines."""
    environment: str = ""
    metric_names: Sequence[str] = ("http",)
    """Vocabularies of the request metrics: any of `http`, `golden`, `otel`."""
    buckets: Sequence[float] = DEFAULT_BUCKETS
    metrics_path: str | None = "/metrics"
    """Where metrics are answered; None: nowhere."""
    health_path: str | None = "/health"
    """Where health is answered, with `/ready` and `/live` below it; None: nowhere."""
    logs: bool = True
    """Whether the root logger writes JSON lines to standard error."""
    log_level: str = "INFO"
    access_log: bool = True
    """One line for each request."""
    log_rate_limit: float | None = 1000.0
    """Lines per second and call site; what is beyond is counted and dropped. None: no limit."""
    redact: Sequence[str] = ()
    """Further words that make a field a secret, besides password, token and the like."""
    otlp_logs: bool = False
    """Whether log records are also sent to the OTLP endpoint."""
    traces: bool | None = None
    """None: when the packages of `otero-sdk[traces]` are installed."""
    otlp_endpoint: str | None = None
    """Base URL of an OTLP/HTTP receiver. None: OTEL_EXPORTER_OTLP_ENDPOINT, then http://127.0.0.1:4318."""
    sample_ratio: float = 1.0
    """The share of traces that begin here and are kept; a caller's decision is followed."""
    propagators: Sequence[str] = ("tracecontext", "b3", "jaeger")
    drain_s: float = 0.0
    """How long to go on serving, with readiness false, after SIGTERM."""
    metrics_port: int | None = None
    """A port of its own for metrics, for processes that serve no HTTP (Celery)."""
    metrics_host: str = "127.0.0.1"
    """Where that port listens: this machine only, unless `0.0.0.0` or an address says otherwise."""

    def __post_init__(self) -> None:
        _known("metric_names", self.metric_names, METRIC_NAMES)
        _known("propagators", self.propagators, PROPAGATORS)
        if not 0.0 <= self.sample_ratio <= 1.0:
            raise ValueError(f"sample_ratio={self.sample_ratio!r}: a share between 0 and 1 is expected")
        for name in ("metrics_path", "health_path"):
            path = getattr(self, name)
            if path is not None and (not path.startswith("/") or path.endswith("/")):
                raise ValueError(f"{name}={path!r}: a path such as '/{name[:-5]}' is expected")
        if self.drain_s < 0:
            raise ValueError(f"drain_s={self.drain_s!r}: seconds, at least 0, are expected")

    @classmethod
    def of(
        cls, service: str | None, options: Mapping[str, Any], environ: Mapping[str, str] = os.environ
    ) -> "Settings":
        """Arguments first, then OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER_ARG and OTEL_SDK_DISABLED.

        Raises TypeError for an unknown option and ValueError for a value that makes no sense.
        """
        name = service or environ.get("OTEL_SERVICE_NAME", "")
        if not name:
            raise ValueError(
                'instrument() needs the service: instrument(app, service="orders"), or OTEL_SERVICE_NAME'
            )
        known = {field.name for field in fields(cls)}
        if unknown := sorted(options.keys() - known):
            raise TypeError(f"instrument() has no option {unknown[0]!r}; it has {', '.join(sorted(known))}")
        values = dict(options)
        if "sample_ratio" not in values and (ratio := environ.get("OTEL_TRACES_SAMPLER_ARG")):
            try:
                values["sample_ratio"] = float(ratio)
            except ValueError:
                raise ValueError(
                    f"OTEL_TRACES_SAMPLER_ARG={ratio!r}: a share between 0 and 1 is expected"
                ) from None
        if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
            values.update(traces=False, otlp_logs=False)
        return cls(service=name, **values)


def _known(option: str, values: Sequence[str], known: Sequence[str]) -> None:
    if isinstance(values, str):
        raise TypeError(f"{option}={values!r}: a list of names is expected, such as [{values!r}]")
    for value in values:
        if value not in known:
            raise ValueError(f"{option}: {value!r} is none of {', '.join(known)}")
