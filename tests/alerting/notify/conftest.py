"""Receivers that send to a local sink."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from otero.alerting.notification import DeliveryError, Notification
from otero.alerting.notify import NOTIFIERS
from otero.alerting.notify.client import Client
from otero.alerting.notify.global_config import Global
from otero.alerting.template import Templates
from otero.clock import ManualClock
from otero.source import Reader, parse_yaml
from tests.alerting.notify.sink import NOW_MS, Answer, Request, Sink, notification, running


@dataclass(slots=True)
class Receivers:
    """Sends with settings as they stand in a file; SINK in them is the address of the sink."""

    sink: Sink
    client: Client
    clock: ManualClock = field(default_factory=ManualClock)

    def config(self, key: str, text: str, global_text: str = "{}") -> Any:
        reader = Reader()
        here = [parse_yaml(part.replace("SINK", self.sink.url)) for part in (text, global_text)]
        return NOTIFIERS[key].complete(
            reader.require(here[0], NOTIFIERS[key].Config), reader.require(here[1], Global)
        )

    async def send(
        self, key: str, text: str, told: Notification | None = None, *, global_text: str = "{}"
    ) -> list[Request]:
        """The requests that one notification became."""
        before = len(self.sink.requests)
        told = told or notification(integration=f"{key.removesuffix('_configs')}[0]")
        bound = Templates.builtin().bind(told)
        await NOTIFIERS[key].send(self.config(key, text, global_text), told, bound, self.client)
        return self.sink.requests[before:]

    async def refused(
        self, key: str, text: str, *answers: Answer, told: Notification | None = None
    ) -> DeliveryError:
        """The error of one notification; the sink gives the answers one after the other, the last one for ever."""
        left = list(answers)
        self.sink.answer = lambda _: left.pop(0) if len(left) > 1 else left[0]
        with pytest.raises(DeliveryError) as caught:
            await self.send(key, text, told)
        return caught.value


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    clock = ManualClock(NOW_MS)
    client = Client(clock=clock)
    async with running(Sink()) as sink:
        yield Receivers(sink, client, clock)
        await client.close()
