"""The demo's services as child processes: started, told their faults, stopped, started again."""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from otero.demo.faults import BAD_VERSION, GOOD_VERSION, SERVICES, Active, ServiceName
from otero.demo.services.options import Options
from otero.errors import Unavailable

START_S: Final = 60.0
STOP_S: Final = 5.0
LOG_BYTES: Final = 16 << 20
"""A log file that has grown so large becomes NAME.1, and a new one begins."""
_RESTART_AFTER_S: Final = 1.0


@dataclass(slots=True, eq=False)
class _Child:
    """One service. `process` is None while it is down."""

    name: ServiceName
    port: int
    log: Path
    process: asyncio.subprocess.Process | None = None
    version: str = ""
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)


class Supervisor:
    """Owns the three services and their faults. `tell` is called with what a person should know."""

    def __init__(
        self,
        ports: Mapping[ServiceName, int],
        folder: Path,
        otlp: str,
        tell: Callable[[str], None],
        *,
        database: str | None = None,
        redis: str | None = None,
    ) -> None:
        self.urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        self._otlp = otlp
        self._tell = tell
        self._database = database or "sqlite:///orders.db"
        self._redis = redis
        self._active: set[Active] = set()
        self._stopping = False
        self._children = {name: _Child(name, ports[name], folder / f"{name}.log") for name in SERVICES}
        self._watchers: set[asyncio.Task[None]] = set()

    @property
    def active(self) -> Sequence[Active]:
        """The faults that are on."""
        return sorted(self._active)

    @property
    def logs(self) -> Mapping[str, Path]:
        """The log file of each service."""
        return {child.name: child.log for child in self._children.values()}

    async def start(self) -> None:
        """Start all services; returns when they answer. Raises Unavailable when one does not."""
        await asyncio.gather(*(self._apply(child) for child in self._children.values()))
        self._keep(asyncio.create_task(self._rotate_logs(), name="demo log rotation"))

    async def switch(self, fault: Active, *, on: bool) -> None:
        """Switch a fault on or off; returns when it has taken effect."""
        if on == (fault in self._active):
            return
        (self._active.add if on else self._active.discard)(fault)
        self._tell(f"fault {'ON ' if on else 'off'} {fault.name} in {fault.service}: {fault.fault.what}")
        await self._apply(self._children[fault.service])

    async def stop(self) -> None:
        """Stop all services; those that do not end within five seconds are killed."""
        self._stopping = True
        for watcher in list(self._watchers):
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await asyncio.gather(*(self._stop(child) for child in self._children.values()))

    async def _apply(self, child: _Child) -> None:
        """Bring a service into the state that its faults ask for."""
        async with child.changing:
            faults = sorted(active.name for active in self._active if active.service == child.name)
            version = BAD_VERSION if "deploy" in faults else GOOD_VERSION
            if "down" in faults:
                await self._stop(child, kill=True)
                return
            if child.process is not None and child.version != version:
                await self._stop(child)
            if child.process is None:
                await self._start(child, version)
            await self._say(child, faults)

    async def _start(self, child: _Child, version: str) -> None:
        options = Options(
            service=child.name,
            version=version,
            port=child.port,
            urls={str(name): url for name, url in self.urls.items()},
            otlp=self._otlp,
            parent=os.getpid(),
            database=self._database,
            redis=self._redis,
        )
        with child.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "otero.demo.services",
                msgspec.json.encode(options).decode(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=child.log.parent,
                start_new_session=True,  # Ctrl-C is for us alone
            )
        child.process, child.version = process, version
        if await _answer(process, START_S) != "listening":
            await self._stop(child, kill=True)
            raise Unavailable(f"the demo's service {child.name} did not start: {_last_line(child.log)}")
        self._keep(asyncio.create_task(self._watch(child, process), name=f"demo {child.name}"))

    async def _say(self, child: _Child, faults: Iterable[str]) -> None:
        process = child.process
        if process is None or process.stdin is None:
            return
        process.stdin.write(msgspec.json.encode(list(faults)) + b"\n")
        if await _answer(process, STOP_S) != "faults":
            self._tell(f"{child.name} does not say that it has heard of its faults")

    async def _stop(self, child: _Child, *, kill: bool = False) -> None:
        process, child.process = child.process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        if kill:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _watch(self, child: _Child, process: asyncio.subprocess.Process) -> None:
        """Start a service again that ended without being asked to."""
        code = await process.wait()
        if self._stopping or child.process is not process:
            return
        self._tell(f"{child.name} ended with {code}: {_last_line(child.log)}; it is started again")
        child.process = None
        await asyncio.sleep(_RESTART_AFTER_S)
        try:
            await self._apply(child)
        except Unavailable as error:
            self._tell(str(error))

    async def _rotate_logs(self) -> None:
        while True:
            await asyncio.sleep(10)
            for child in self._children.values():
                if child.log.exists() and child.log.stat().st_size > LOG_BYTES:
                    await asyncio.to_thread(_rotate, child.log)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)


async def _answer(process: asyncio.subprocess.Process, timeout_s: float) -> str:
    """The next line of a child's standard output; "" when it has ended or says nothing for so long."""
    if process.stdout is None:
        return ""
    try:
        return (await asyncio.wait_for(process.stdout.readline(), timeout_s)).decode().strip()
    except TimeoutError:
        return ""


def _rotate(log: Path) -> None:
    """The child appends to the same file: its content is copied away, then it is emptied."""
    shutil.copyfile(log, log.with_name(log.name + ".1"))
    os.truncate(log, 0)


def _last_line(log: Path) -> str:
    try:
        lines = log.read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else "it said nothing"
