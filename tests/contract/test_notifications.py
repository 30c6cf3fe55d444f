"""The same configuration and alerts, sent by a real Alertmanager and by Otero to one sink.

Texts are set wherever a default would be in Otero's own words; then bodies agree field by field. For receivers and
settings that the installed Alertmanager (Debian: 0.25) knows.
"""

import asyncio
import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson
import pytest

from otero.alerting.notification import Notification
from otero.alerting.notify import NOTIFIERS
from otero.alerting.notify.client import Client
from otero.alerting.notify.global_config import Global
from otero.alerting.template import Templates
from otero.model.alerts import Alert
from otero.source import Map, Reader, parse_yaml
from tests.alerting.notify.sink import Answer, Request, Sink, running
from tests.e2e.server import free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        shutil.which("prometheus-alertmanager") is None, reason="install Debian's prometheus-alertmanager"
    ),
]

EXTERNAL_URL = "http://alerts.example/am"
START_MS = (int(time.time()) + 60) * 1000 + 499
"""Soon: of alerts that began long ago Alertmanager tells at once, before all of them are in their group."""

CONFIG = """
global:
  slack_api_url: SINK/slack/global
  pagerduty_url: SINK/pd
  opsgenie_api_url: SINK/og
  opsgenie_api_key: 'key-{{ .CommonLabels.team }}'
  victorops_api_url: SINK/vo
  victorops_api_key: vk
  wechat_api_url: SINK/wx
  wechat_api_corp_id: corp
  telegram_api_url: SINK/tg
route:
  receiver: team.x
  group_by: [alertname, team]
  group_wait: 1s
  group_interval: 5m
receivers:
- name: team.x
  webhook_configs:
  - url: SINK/hook/all
  - {url: SINK/hook/two, max_alerts: 2, http_config: {basic_auth: {username: u, password: p}}}
  slack_configs:
  - channel: '#{{ .CommonLabels.team }}'
    title: '{{ .Alerts.Firing | len }} firing'
    title_link: http://l
    pretext: pre
    text: "{{ range .Alerts }}{{ .Labels.instance }}: {{ .Annotations.summary }}\\n{{ end }}"
    fallback: fall
    footer: foot
    callback_id: call
    color: '#ff0000'
    username: bot
    icon_emoji: ':fire:'
    icon_url: http://i
    image_url: http://image
    thumb_url: http://thumb
    link_names: true
    short_fields: true
    mrkdwn_in: [text]
    fields: [{title: A, value: '{{ .GroupLabels.alertname }}'}, {title: B, value: b, short: false}]
    actions:
    - {type: button, text: Link, url: 'http://l/{{ .CommonLabels.team }}', style: primary}
    - {type: button, text: Act, name: n, value: v, confirm: {title: t, text: sure, ok_text: yes, dismiss_text: no}}
  - {api_url: SINK/slack/plain, text: x}
  pagerduty_configs:
  - routing_key: 'rk-{{ .CommonLabels.team }}'
    description: '{{ .CommonAnnotations.runbook }}'
    client: me
    client_url: http://me
    severity: '{{ .CommonLabels.severity }}'
    class: c
    component: o
    group: g
    details: {firing: '{{ .Alerts.Firing | len }} now', resolved: '', team: '{{ .CommonLabels.team }}'}
    images: [{src: 'http://i', alt: a, href: 'http://h'}]
    links: [{href: 'http://l', text: t}]
  opsgenie_configs:
  - message: '{{ .GroupLabels.alertname }} <&>'
    description: d
    source: s
    details: {runbook: '{{ .CommonAnnotations.runbook }}', severity: own}
    entity: e
    responders: [{name: '{{ .CommonLabels.team }}', type: team}, {name: 'a,b', type: teams}, {username: u@x, type: user}]
    actions: 'restart,look'
    tags: 'x,{{ .CommonLabels.team }}'
    note: n
    priority: P3
    update_alerts: true
  victorops_configs:
  - routing_key: '{{ .CommonLabels.team }}'
    message_type: WARNING
    state_message: state
    entity_display_name: display
    monitoring_tool: tool
    custom_fields: {runbook: '{{ .CommonAnnotations.runbook }}'}
  wechat_configs:
  - {api_secret: sec, message: 'm {{ .Status }}', to_user: u, to_party: p, to_tag: t, agent_id: '7', message_type: markdown}
  telegram_configs:
  - {bot_token: tok, chat_id: -100, message: 'm {{ .CommonLabels.team }} <b>&amp;</b>', parse_mode: HTML}
  - {bot_token: plain, chat_id: 7, message: 'm <>', parse_mode: '', disable_notifications: true}
  discord_configs:
  - {webhook_url: SINK/discord, title: 't {{ .Status }}', message: m}
  webex_configs:
  - {api_url: SINK/webex, room_id: r, message: 'm {{ .Status }}', http_config: {authorization: {credentials: t}}}
  sns_configs:
  - api_url: SINK/sns
    topic_arn: arn:aws:sns:us-east-1:1:t
    subject: s
    message: 'm {{ .Status }}'
    attributes: {key: '{{ .CommonLabels.team }}'}
    sigv4: {region: us-east-1, access_key: a, secret_key: b}
  - {api_url: SINK/sns, phone_number: '+491', subject: '', message: m, sigv4: {region: eu-west-1, access_key: a, secret_key: b}}
"""

ALERTS = [
    Alert(
        labels={"alertname": "Down", "instance": f"host-{number}", "severity": "page", "team": "x"},
        annotations={"runbook": "http://runbook", "summary": f"{number} is <down> & out é"},
        starts_ms=START_MS + number,
        generator_url=f"http://prometheus/{number}",
    )
    for number in range(3)
]


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with running(Sink()) as sink:
        yield sink


async def test_receivers_send_what_alertmanager_sends(sink: Sink, tmp_path: Path) -> None:
    config = CONFIG.replace("SINK", sink.url)
    ours = await _sent_by_otero(config, sink)
    theirs = await _sent_by_alertmanager(config, sink, tmp_path, set(ours))
    assert sorted(theirs) == sorted(ours)
    differing = {key: (theirs[key], ours[key]) for key in ours if theirs[key] != ours[key]}
    assert not differing


async def _sent_by_otero(config: str, sink: Sink) -> dict[str, Any]:
    tree = parse_yaml(config)
    assert isinstance(tree, Map)
    reader = Reader()
    global_ = reader.require(tree.entries["global"], Global)
    told = Notification(
        receiver="team.x",
        integration="any[0]",
        group_key='{}:{alertname="Down", team="x"}',
        group_labels={"alertname": "Down", "team": "x"},
        alerts=ALERTS,
        now_ms=START_MS + 2000,
        external_url=EXTERNAL_URL,
    )
    text = Templates.builtin().bind(told)
    client = Client()
    try:
        receiver: Any = tree.entries["receivers"].items[0]  # pyright: ignore[reportAttributeAccessIssue]
        for key, nodes in receiver.entries.items():
            for node in nodes.items if key in NOTIFIERS else ():
                notifier = NOTIFIERS[key]
                settings = notifier.complete(reader.require(node, notifier.Config), global_)
                await notifier.send(settings, told, text, client)
    finally:
        await client.close()
    return _taken(sink)


async def _sent_by_alertmanager(
    config: str, sink: Sink, tmp_path: Path, expected: set[str]
) -> dict[str, Any]:
    (tmp_path / "alertmanager.yml").write_text(config)
    arrived = asyncio.Event()
    answer = sink.answer

    def count(request: Request) -> Answer:
        if expected <= {_key(kept) for kept in sink.requests}:
            arrived.set()
        return answer(request)

    sink.answer = count
    with running_alertmanager(tmp_path) as url:
        await asyncio.to_thread(_post_alerts, f"{url}/api/v2/alerts")
        with contextlib.suppress(TimeoutError):  # what did not come is told by the comparison
            await asyncio.wait_for(arrived.wait(), 30)
    return _taken(sink)


@contextlib.contextmanager
def running_alertmanager(folder: Path) -> Iterator[str]:
    """An Alertmanager of the file alertmanager.yml in a folder; its address."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                "prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml",
                f"--storage.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=", f"--web.external-url={EXTERNAL_URL}", "--web.route-prefix=/",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        for _ in range(300):
            assert process.poll() is None, (folder / "log").read_text()
            try:
                with urllib.request.urlopen(f"{url}/-/ready"):
                    break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _post_alerts(url: str) -> None:
    body = [
        {
            "labels": alert.labels,
            "annotations": alert.annotations,
            "startsAt": datetime.fromtimestamp(alert.starts_ms / 1000, UTC).isoformat(
                timespec="milliseconds"
            ),
            "endsAt": "2099-01-01T00:00:00Z",
            "generatorURL": alert.generator_url,
        }
        for alert in ALERTS
    ]
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        assert response.status == 200


def _taken(sink: Sink) -> dict[str, Any]:
    requests, sink.requests = sink.requests, []
    return {_key(request): _comparable(request) for request in requests}


def _key(request: Request) -> str:
    """Requests to one address are told apart by what they are about."""
    about = ""
    if request.path.startswith("/sns"):
        about = "sms" if b"PhoneNumber" in request.body else "topic"
    return f"{request.method} {request.path} {about}".strip()


def _comparable(request: Request) -> dict[str, Any]:
    content_type = request.headers.get("Content-Type", "")
    if content_type == "application/json":
        body = orjson.loads(request.body)
    else:
        body = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
    authorization = request.headers.get("Authorization", "")
    return {
        "content type": content_type,
        "authorization": authorization.partition("/")[0] if "AWS4" in authorization else authorization,
        "body": body,
    }
