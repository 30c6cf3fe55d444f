"""What the demo tells a service when it starts it."""

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`urls` are those of all services by name; `parent` is the process id of the demo; `otlp` is Otero's URL."""

    service: str
    version: str
    port: int
    urls: dict[str, str]
    otlp: str
    parent: int
    database: str = ""
    redis: str | None = None
    seed: int = 0
