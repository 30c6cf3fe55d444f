"""What receivers send, beside what the real Alertmanager 0.25 sent of the same alerts with the same configuration."""

import ast
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson
import pytest

from otero.alerting.notify import NOTIFIERS
from otero.alerting.notify.client import Client
from otero.alerting.notify.global_config import Global
from otero.alerting.template import Templates
from otero.source import Map, Reader, parse_yaml
from tests.alerting.notify.sink import NOW_MS, Request, Sink, alert, notification, running

FIRING = alert()
RESOLVED = alert(summary="", ends_ms=NOW_MS - 181_000)

PATHS = {
    "webhook": ("/hook",), "slack": ("/slack",), "pagerduty": ("/pd",), "opsgenie": ("/og/",),
    "victorops": ("/vo/",), "wechat": ("/wx/",), "telegram": ("/bot",), "discord": ("/discord",),
    "webex": ("/webex",), "sns": ("/sns",),
}  # fmt: skip
"""Where each receiver of the recorded configuration sends."""

OWN_WORDING = {
    "pagerduty": {"payload.custom_details.firing", "payload.custom_details.resolved"},
    "opsgenie": {"description"},
    "victorops": {"state_message"},
    "wechat": {"text.content"},
    "telegram": {"text"},
    "discord": {"embeds.0.description"},
    "webex": {"markdown"},
    "sns": {"Message"},
}
"""Fields whose default text Otero words itself."""

HEADERS = ("Content-Type", "Authorization")


def recorded(path: Path) -> list[tuple[str, str, dict[str, str], bytes]]:
    """Method, path, headers and body of each request of the log."""
    requests: list[tuple[str, str, dict[str, str], bytes]] = []
    for block in re.split(r"^\[http:\d+\] ", path.read_text(), flags=re.MULTILINE)[1:]:
        first, *lines = block.splitlines()
        method, target, _ = first.split()
        headers = dict(line.strip().split(": ", 1) for line in lines if "BODY" not in line)
        body = next(line for line in lines if "BODY" in line)
        requests.append((method, target, headers, ast.literal_eval(body[body.index(" b") + 1 :])))
    return requests


async def sent(shared: Path, status: str) -> list[Request]:
    """What Otero sends with the recorded configuration."""
    text = (shared / "protocols" / "captures" / "a.yml").read_text()
    sink = Sink()
    client = Client()
    async with running(sink):
        tree = parse_yaml(re.sub(r"http://127\.0\.0\.1:28199", sink.url, text))
        assert isinstance(tree, Map)
        reader = Reader()
        global_ = reader.require(tree.entries["global"], Global)
        receiver: Any = tree.entries["receivers"].items[0]  # pyright: ignore[reportAttributeAccessIssue]
        told = notification(FIRING if status == "firing" else RESOLVED)
        try:
            for key, configs in receiver.entries.items():
                if key not in NOTIFIERS or key == "email_configs":
                    continue
                config = NOTIFIERS[key].complete(
                    reader.require(configs.items[0], NOTIFIERS[key].Config), global_
                )
                await NOTIFIERS[key].send(config, told, Templates.builtin().bind(told), client)
        finally:
            await client.close()
    return sink.requests


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """The leaves of a value by their path."""
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {name: leaf for key, part in items for name, leaf in flat(part, f"{path}.{key}").items()}
    return {path.removeprefix("."): value}


def fields(body: bytes, content_type: str) -> dict[str, Any]:
    if content_type.startswith("application/json"):
        return flat(orjson.loads(body))
    return dict(parse_qsl(body.decode(), keep_blank_values=True))


@pytest.mark.parametrize("status", ["firing", "resolved"])
@pytest.mark.parametrize("receiver", PATHS)
async def test_requests_are_those_of_alertmanager(receiver: str, status: str, shared: Path) -> None:
    theirs = [
        request
        for request in recorded(shared / "protocols" / "captures" / "alertmanager-notifications.log")
        if request[1].startswith(PATHS[receiver]) and _is(status, request)
    ]
    ours = [request for request in await sent(shared, status) if request.path.startswith(PATHS[receiver])]
    if status == "resolved" and receiver == "wechat":
        assert theirs == []  # it is not told of ends by default, which is the pipeline's to know
        return
    assert [(request.method, request.path) for request in ours] == [request[:2] for request in theirs]
    for own, (_, _, headers, body) in zip(ours, theirs, strict=True):
        for name in HEADERS:
            if name == "Authorization" and receiver == "sns":
                continue  # the signature is over the time too
            assert own.headers.get(name) == headers.get(name)
        if not body:
            continue
        expected, found = fields(body, headers["Content-Type"]), fields(own.body, headers["Content-Type"])
        worded = OWN_WORDING.get(receiver, set())
        assert {name for name in worded if name in found and "alertname" not in str(found[name])} <= {
            name for name in worded if expected.get(name) == ""
        }
        times = {name for name in expected if name.endswith("startsAt")}
        assert found.keys() == expected.keys()
        assert {name: found[name] for name in found.keys() - worded - times} == {
            name: expected[name] for name in expected.keys() - worded - times
        }
        for name in times:  # Otero keeps milliseconds
            assert found[name] == re.sub(r"(\.\d{3})\d+Z$", r"\1Z", expected[name])


def _is(status: str, request: tuple[str, str, dict[str, str], bytes]) -> bool:
    """Whether a recorded request tells of that status."""
    _, target, _, body = request
    ended = target.endswith("identifierType=alias") or (b"esolve" in body and b"firing" not in body.lower())
    ended = ended or b"RECOVERY" in body or b'"[RESOLVED]' in body or b'"event_action":"resolve"' in body
    return ended == (status == "resolved")
