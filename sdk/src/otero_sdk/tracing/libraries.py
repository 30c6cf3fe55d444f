"""The official instrumentations of libraries, switched on when the application imports the library."""

import logging
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from otero_sdk.imports import when_imported

LIBRARIES: Final = {
    "requests": ("opentelemetry.instrumentation.requests", "RequestsInstrumentor"),
    "httpx": ("opentelemetry.instrumentation.httpx", "HTTPXClientInstrumentor"),
    "aiohttp": ("opentelemetry.instrumentation.aiohttp_client", "AioHttpClientInstrumentor"),
    "sqlalchemy": ("opentelemetry.instrumentation.sqlalchemy", "SQLAlchemyInstrumentor"),
    "psycopg": ("opentelemetry.instrumentation.psycopg", "PsycopgInstrumentor"),
    "psycopg2": ("opentelemetry.instrumentation.psycopg2", "Psycopg2Instrumentor"),
    "redis": ("opentelemetry.instrumentation.redis", "RedisInstrumentor"),
    "celery": ("opentelemetry.instrumentation.celery", "CeleryInstrumentor"),
    "threading": ("opentelemetry.instrumentation.threading", "ThreadingInstrumentor"),
}
"""By the module whose import switches it on."""

_logger = logging.getLogger(__name__)


def instrument() -> None:
    """Instrument those that are loaded, and others once they are. Calling it again changes nothing."""
    for library, (module, name) in LIBRARIES.items():
        when_imported(library, lambda _, module=module, name=name: _instrument(module, name))


def _instrument(module: str, name: str) -> None:
    try:
        found: ModuleType = import_module(module)
    except ImportError:
        return
    instrumentor: Any = getattr(found, name)()
    if not instrumentor.is_instrumented_by_opentelemetry:
        # The ranges of versions that they declare end before today's (SQLAlchemy 2.1); what then does not fit raises
        # here, which is logged, and the library stays as it was.
        instrumentor.instrument(skip_dep_check=True)
