"""Otero, the demo's door and its customers, around services that start meanwhile."""

import asyncio
import contextlib
from pathlib import Path
from typing import Final

from otero.app import build
from otero.clock import SystemClock
from otero.config import Config, load
from otero.demo.asked import Asked
from otero.demo.customers import Customers
from otero.demo.door import build_door
from otero.demo.faults import GATEWAY
from otero.demo.first_data import wait_for_data
from otero.demo.layout import Layout
from otero.demo.messages import Mailbox, Message, Messages
from otero.demo.say import say
from otero.demo.supervisor import Supervisor
from otero.demo.tour import first_data_line, tour
from otero.http_server import HttpServer
from otero.telemetry import set_up_logging

EACH_S: Final = 75.0
"""With `--faults all`, how long each fault stays on."""
BETWEEN_S: Final = 30.0


async def show(
    asked: Asked, layout: Layout, otero_yml: Path, supervisor: Supervisor, services: "asyncio.Task[None]"
) -> None:
    """Start what is missing, show around, then keep the faults going, until it is cancelled.

    `services` ends when the services answer. They are stopped before the server, which takes their last spans.
    """
    folder = otero_yml.parent

    def read() -> Config:
        return load(otero_yml, listen=layout.listen, data=asked.data or folder / "data")

    set_up_logging("warning")
    async with contextlib.AsyncExitStack() as undo:
        otero = build(await asyncio.to_thread(read), read)
        undo.push_async_callback(otero.stop)
        undo.push_async_callback(supervisor.stop)
        await otero.start()
        say(f"Otero is ready on {layout.url}")
        messages = Messages(SystemClock(), _show)
        mailbox = Mailbox(messages)
        await mailbox.start(layout.mail)
        undo.push_async_callback(mailbox.stop)
        urls = {str(name): url for name, url in supervisor.urls.items()}
        logs = {name: str(path) for name, path in supervisor.logs.items()}
        places = {"otero": layout.url, "services": urls, "logs": logs, "folder": str(folder)}
        door = HttpServer(build_door(supervisor, messages, places), [layout.door])
        await door.start()
        undo.push_async_callback(door.stop)
        await services
        say("the services answer, customers come")
        async with asyncio.TaskGroup() as group:
            group.create_task(Customers(urls[GATEWAY], asked.seed).run(), name="demo customers")
            first = await wait_for_data(layout.url)
            say(first_data_line(first))
            for line in tour(layout, urls, folder, first):
                print(line, flush=True)
            group.create_task(_misbehave(supervisor, asked), name="demo faults")


async def _misbehave(supervisor: Supervisor, asked: Asked) -> None:
    if not asked.in_turn:
        for fault in asked.faults:
            await supervisor.switch(fault, on=True)
        return
    while True:
        for fault in asked.faults:
            await supervisor.switch(fault, on=True)
            await asyncio.sleep(EACH_S)
            await supervisor.switch(fault, on=False)
            await asyncio.sleep(BETWEEN_S)


def _show(message: Message) -> None:
    say(f"message: {message.line}")
