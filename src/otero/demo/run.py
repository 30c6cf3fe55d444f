"""`otero demo`: a server, three services that it watches, their customers, and what can go wrong.

The services are started first and what the server needs is imported meanwhile: both take seconds.
"""

import asyncio
import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Final

from otero.demo.asked import Asked
from otero.demo.layout import lay_out, write_configuration
from otero.demo.say import say
from otero.demo.supervisor import Supervisor
from otero.errors import OteroError

_REMOVAL_S: Final = 5.0
"""How long the end waits for the folder to be removed, which some disks take a minute for."""


async def demo(asked: Asked) -> int:
    """Run until interrupted; the exit code."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(name, stopping.set)
    try:
        running = asyncio.create_task(_run(asked), name="demo")
        interrupted = asyncio.create_task(stopping.wait(), name="demo interrupted")
        await asyncio.wait((running, interrupted), return_when=asyncio.FIRST_COMPLETED)
        if stopping.is_set():
            say("stopping")
        running.cancel()
        interrupted.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    except ModuleNotFoundError as error:
        print(f"otero: the demo needs {error.name}: pip install 'otero[demo]'", file=sys.stderr)
        return 1
    except OteroError as error:
        for line in str(error).splitlines():
            print(f"otero: {line}", file=sys.stderr)
        return 1
    return 0


async def _run(asked: Asked) -> None:
    """Everything, until it is cancelled; then it is undone in reverse."""
    async with _folder() as folder, contextlib.AsyncExitStack() as undo:
        layout = lay_out(asked.listen)
        undo.callback(layout.close)
        otero_yml = write_configuration(folder, layout)
        supervisor = Supervisor(
            layout.ports, folder, layout.url, say, database=asked.database, redis=asked.redis
        )
        undo.push_async_callback(supervisor.stop)
        services = asyncio.create_task(supervisor.start(), name="demo services")
        undo.push_async_callback(cancelled, services)
        stage = await asyncio.to_thread(import_module, "otero.demo.stage")
        await stage.show(asked, layout, otero_yml, supervisor, services)


@asynccontextmanager
async def _folder() -> AsyncGenerator[Path]:
    """A temporary folder, removed at the end by a process of its own, which outlives even the killing of this one."""
    folder = Path(tempfile.mkdtemp(prefix="otero-demo-"))
    # Not a child of the event loop, which would kill it at its own end.
    janitor = subprocess.Popen(  # noqa: ASYNC220, S603 — takes milliseconds; our own program
        [sys.executable, "-I", str(Path(__file__).with_name("janitor.py")), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield folder
    finally:
        if janitor.stdin is not None:
            janitor.stdin.close()
        try:
            await asyncio.to_thread(janitor.wait, _REMOVAL_S)
        except subprocess.TimeoutExpired:
            say(f"{folder} is large and goes on being removed in the background")


async def cancelled(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
