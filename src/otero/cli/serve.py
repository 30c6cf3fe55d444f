"""`otero serve`: what the flags say, as a configuration that can be read again."""

import sys
from dataclasses import dataclass, fields
from pathlib import Path

from otero.app import run
from otero.config import Config, load
from otero.telemetry import set_up_logging


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
    enable_feature: tuple[str, ...] = ()
    insecure: bool = False

    def read(self) -> Config:
        """The configuration in force with these flags. Raises BadConfig."""
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
            receivers=self.receivers,
            web_config=self.web_config,
            features=[name for names in self.enable_feature for name in names.split(",") if name],
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


async def serve(flags: Flags, log_level: str) -> int:
    """Run one server until a signal ends it; the exit code."""
    set_up_logging(log_level)
    for name in ("dashboards", "slis", "slos"):
        if getattr(flags, name):
            print(f"warning: --{name}: a later release serves it", file=sys.stderr)
    return await run(flags.read, insecure=flags.insecure, flags=flags.shown())
