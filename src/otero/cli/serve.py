"""`otero serve`: runs one server until SIGTERM or SIGINT."""

import asyncio
import contextlib
import logging
import signal
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from otero.app import Otero, build
from otero.config import Config, load
from otero.errors import BadConfig, OteroError, Problem
from otero.telemetry import set_up_logging

_log = logging.getLogger("otero")


@dataclass(frozen=True)
class Flags:
    """What the command line said; empty means not said."""

    config: Path | None = None
    prometheus: Path | None = None
    alertmanager: Path | None = None
    rules: tuple[Path, ...] = ()
    dashboards: Path | None = None
    slis: Path | None = None
    slos: Path | None = None
    data: Path | None = None
    listen: str | None = None
    receivers: tuple[str, ...] = ()
    web_config: Path | None = None
    insecure: bool = False

    def read(self) -> Config:
        """The configuration in force with these flags. Raises BadConfig."""
        if self.receivers:
            raise BadConfig(
                Problem(
                    f"no receiver is served yet, so {', '.join(self.receivers)} cannot be opened",
                    path="--receiver",
                )
            )
        return load(
            self.config,
            prometheus=self.prometheus,
            alertmanager=self.alertmanager,
            rules=self.rules,
            dashboards=self.dashboards,
            slis=self.slis,
            slos=self.slos,
            data=self.data,
            listen=self.listen,
            web_config=self.web_config,
        )

    def shown(self) -> dict[str, str]:
        """The flags as `/api/v1/status/flags` lists them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name.replace("_", "-"): ",".join(map(str, value))
            if isinstance(value, tuple)
            else str(value or "")
            for name, value in values.items()
        }


async def serve(flags: Flags, log_level: str = "info") -> int:
    """Start, say what is open, wait for a signal, drain, flush; the exit code."""
    set_up_logging(log_level)
    try:
        config = await asyncio.to_thread(flags.read)
        for name in ("alertmanager", "rules", "dashboards", "slis", "slos"):
            if getattr(flags, name):
                print(f"warning: --{name}: a later release serves it", file=sys.stderr)
        for problem in config.warnings:
            print(f"warning: {problem}", file=sys.stderr)
        otero = build(config, flags.read, insecure=flags.insecure, flags=flags.shown())
    except OteroError as error:
        for line in str(error).splitlines():
            print(f"otero: {line}", file=sys.stderr)
        return 1
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.create_task(_reload(otero))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        await otero.start()
        for name, address in otero.doors:
            print(f"{name}: {address}", flush=True)
        print(f"ready on {otero.doors[0][1]}", flush=True)
        await stopping.wait()
        _log.info("stopping: draining and flushing")
    except OteroError as error:
        print(f"otero: {error}", file=sys.stderr)
        return 1
    finally:
        await otero.stop()
    return 0


async def _reload(otero: Otero) -> None:
    with contextlib.suppress(BadConfig):  # logged by Otero, which keeps the configuration before
        await otero.reload()
