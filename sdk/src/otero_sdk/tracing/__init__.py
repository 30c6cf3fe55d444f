"""Traces: OpenTelemetry's SDK and exporter, set up so that the receiver's state never matters to the application.

The span of a request is made by our middleware with OpenTelemetry's tracer, as the official middlewares alone cost more
than all of ours may; calls of libraries are instrumented by the official packages.
"""

import os
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final

from otero_sdk.settings import Settings

if TYPE_CHECKING:
    from otero_sdk.tracing.spans import Tracing

DEFAULT_ENDPOINT: Final = "http://127.0.0.1:4318"
_NEEDED: Final = (
    "opentelemetry.sdk.trace",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.propagators.b3",
    "opentelemetry.propagators.jaeger",
)


def set_up(settings: Settings) -> "Tracing | None":
    """Tracing as the settings want it; None when it is off, or left to chance and not installed.

    Raises ImportError when it is asked for and a package is missing.
    """
    if settings.traces is False or os.environ.get("OTEL_TRACES_EXPORTER", "").lower() == "none":
        return None
    if settings.traces is None and _missing(_NEEDED) is not None:
        return None
    need_for("traces=True")
    from otero_sdk.tracing.spans import Tracing  # optional packages

    return Tracing.of(settings)


def need_for(option: str) -> None:
    """Raises ImportError, saying what to install, when what this option needs is not."""
    if (missing := _missing(_NEEDED)) is not None:
        raise ImportError(f"{option} needs {missing}: pip install 'otero-sdk[traces]'")


def _missing(modules: Sequence[str]) -> str | None:
    for name in modules:
        try:
            import_module(name)
        except ImportError:
            return name
    return None


def endpoint(settings: Settings, signal: str) -> str:
    """The URL of a signal (`traces`, `logs`) by OpenTelemetry's rules: the signal's variable, else the base's."""
    if settings.otlp_endpoint is None and (
        url := os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    ):
        return url
    base = settings.otlp_endpoint or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or DEFAULT_ENDPOINT
    return f"{base.rstrip('/')}/v1/{signal}"
