"""Checks of what services usually need. Each returns a function for `HealthChecks.add`."""

import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from otero_sdk.health import Check, Health


def postgres(dsn: str, *, timeout_s: float = 5.0) -> Check:
    """Connect and `SELECT 1`, with psycopg or psycopg2. Raises ImportError when neither is installed."""
    driver = _driver(("psycopg", "psycopg2"), "a PostgreSQL check", "psycopg")

    def ask() -> Health:
        connection = driver.connect(dsn, connect_timeout=max(1, round(timeout_s)))
        try:
            cursor = connection.cursor()
            cursor.execute("SELECT 1")
            cursor.fetchone()
        finally:
            connection.close()
        return Health("healthy")

    return ask


def sqlalchemy(engine: Any) -> Check:
    """`SELECT 1` over a connection of the application's own pool, so that an exhausted pool shows too."""
    text = import_module("sqlalchemy").text

    def ask() -> Health:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        return Health("healthy")

    return ask


def redis(url_or_client: Any) -> Check:
    """PING. Takes a URL (redis://…) or a client of the package redis."""
    if isinstance(url_or_client, str):
        module = _driver(("redis",), "a Redis check", "redis")
        client = module.Redis.from_url(url_or_client, socket_timeout=5, socket_connect_timeout=5)
    else:
        client = url_or_client

    def ask() -> Health:
        client.ping()
        return Health("healthy")

    return ask


def http(url: str, *, status: int = 200, timeout_s: float = 5.0) -> Check:
    """GET of another service, which is unhealthy unless it answers with this status. Redirects are followed."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"a URL with http or https is expected, not {url!r}")
    request = urllib.request.Request(url, headers={"User-Agent": "otero-sdk"})  # noqa: S310 — checked above

    def ask() -> Health:
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310
                found = response.status
        except urllib.error.HTTPError as error:
            found = error.code
            error.close()
        return Health("healthy" if found == status else "unhealthy", {"http_status": found})

    return ask


def broker(url_or_app: Any, *, timeout_s: float = 5.0) -> Check:
    """Reach a message broker: through kombu for a URL that it knows or a Celery application, else by TCP."""
    if hasattr(url_or_app, "connection_for_read"):
        return _kombu(url_or_app.connection_for_read, timeout_s)
    try:
        kombu = import_module("kombu")
    except ImportError:
        parts = urlsplit(str(url_or_app))
        port = parts.port or {"amqp": 5672, "amqps": 5671, "redis": 6379, "kafka": 9092, "nats": 4222}.get(
            parts.scheme
        )
        if not parts.hostname or port is None:
            raise ValueError(
                "a broker's URL with host and port is expected, such as amqp://host:5672"
            ) from None
        return tcp(parts.hostname, port, timeout_s=timeout_s)
    return _kombu(lambda: kombu.Connection(url_or_app, connect_timeout=timeout_s), timeout_s)


def _kombu(connect: Callable[[], Any], timeout_s: float) -> Check:
    def ask() -> Health:
        with connect() as connection:
            connection.ensure_connection(max_retries=1, timeout=timeout_s)
        return Health("healthy")

    return ask


def tcp(host: str, port: int, *, timeout_s: float = 5.0) -> Check:
    """Whether somebody accepts connections there."""

    def ask() -> Health:
        with socket.create_connection((host, port), timeout_s):
            return Health("healthy")

    return ask


def disk(path: str = "/", *, degraded_percent: float = 80.0, unhealthy_percent: float = 90.0) -> Check:
    """How full the file system of `path` is."""

    def ask() -> Health:
        usage = shutil.disk_usage(path)
        # As df counts: what is reserved for root is not free.
        return _by_percent(
            100.0 * usage.used / (usage.used + usage.free), degraded_percent, unhealthy_percent
        )

    return ask


def memory(*, degraded_percent: float = 80.0, unhealthy_percent: float = 90.0) -> Check:
    """How much memory of the control group, or else of the machine, is in use."""
    return lambda: _by_percent(_memory_percent(), degraded_percent, unhealthy_percent)


def _memory_percent() -> float:
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            return 100.0 * int((group / "memory.current").read_text()) / int(limit)
    except (OSError, ValueError):
        pass
    sizes = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, size = line.partition(":")
        sizes[name] = int(size.split()[0])
    return 100.0 * (1.0 - sizes["MemAvailable"] / sizes["MemTotal"])


def _by_percent(used: float, degraded: float, unhealthy: float) -> Health:
    details = {"usage_percent": round(used, 2)}
    if used > unhealthy:
        return Health("unhealthy", details)
    return Health("degraded" if used > degraded else "healthy", details)


def _driver(names: tuple[str, ...], what: str, package: str) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise ImportError(f"{what} needs the package {package}: pip install {package}")


__all__ = ["broker", "disk", "http", "memory", "postgres", "redis", "sqlalchemy", "tcp"]
