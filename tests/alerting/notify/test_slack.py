"""Slack."""

import pytest

from tests.alerting.notify.conftest import Receivers
from tests.alerting.notify.sink import NOW_MS, Answer, alert, notification

HOOK = "api_url: SINK/slack, channel: '#c'"
BOT = "app_token: xoxb-1, app_url: SINK/api/chat.postMessage, channel: '#c'"


async def test_fields_and_actions(receivers: Receivers) -> None:
    config = """
api_url: SINK/slack
channel: '#{{ .CommonLabels.severity }}'
title: '{{ .CommonLabels.alertname }}'
text: text
message_text: above
short_fields: true
fields: [{title: a, value: '{{ .Status }}'}, {title: b, value: c, short: false}]
actions:
- {type: button, text: Silence, url: 'http://x', name: dropped, confirm: {text: dropped}}
- {type: button, text: Restart, name: restart, value: '1', style: danger, confirm: {text: Sure?, ok_text: Yes}}
mrkdwn_in: [text]
link_names: true
icon_emoji: ':fire:'
"""
    (request,) = await receivers.send("slack_configs", config)
    attachment = request.json["attachments"][0]
    assert (request.json["channel"], request.json["text"]) == ("#page", "above")
    assert (request.json["link_names"], request.json["icon_emoji"]) == (True, ":fire:")
    assert "icon_url" not in request.json
    assert attachment["mrkdwn_in"] == ["text"]
    assert attachment["fields"] == [
        {"title": "a", "value": "firing", "short": True},
        {"title": "b", "value": "c", "short": False},
    ]
    assert attachment["actions"] == [
        {"type": "button", "text": "Silence", "url": "http://x"},
        {
            "type": "button",
            "text": "Restart",
            "name": "restart",
            "value": "1",
            "style": "danger",
            "confirm": {"text": "Sure?", "ok_text": "Yes"},
        },
    ]


async def test_a_title_that_is_too_long(receivers: Receivers) -> None:
    (request,) = await receivers.send("slack_configs", f"{{{HOOK}, title: '{'é' * 1025}'}}")
    assert request.json["attachments"][0]["title"] == "é" * 1023 + "…"


async def test_a_bots_token(receivers: Receivers) -> None:
    (request,) = await receivers.send("slack_configs", f"{{{BOT}}}")
    assert request.path == "/api/chat.postMessage"
    assert request.headers["Authorization"] == "Bearer xoxb-1"


@pytest.mark.parametrize(
    ("answer", "retried", "said"),
    [
        (Answer(body='{"ok": false, "error": "invalid_auth"}'), False, "invalid_auth"),
        (Answer(body='{"ok": false, "error": "ratelimited"}'), True, "ratelimited"),
        (Answer(body="no_service", content_type="text/plain"), False, "no_service"),
        (Answer(body="<html>"), True, "not the JSON expected"),
    ],
)
async def test_a_200_that_is_no_success(
    answer: Answer, retried: bool, said: str, receivers: Receivers
) -> None:
    error = await receivers.refused("slack_configs", f"{{{HOOK}}}", answer)
    assert (error.retry, error.status) == (retried, 200)
    assert str(error).startswith('channel "#c": ')
    assert said in str(error)


async def test_a_message_is_updated(receivers: Receivers) -> None:
    config = f"{{{BOT}, update_message: true}}"
    (first,) = await receivers.send("slack_configs", config)
    assert (first.path, first.json["channel"]) == ("/api/chat.postMessage", "#c")
    (update,) = await receivers.send("slack_configs", config)
    assert (update.path, update.json["channel"], update.json["ts"]) == ("/api/chat.update", "C1", "17.1")
    (other,) = await receivers.send("slack_configs", config, notification(alert("B"), integration="slack[0]"))
    assert other.path == "/api/chat.postMessage"


async def test_updates_are_posted_to_the_thread(receivers: Receivers) -> None:
    config = f"{{{BOT}, post_updates_to_thread: true}}"
    await receivers.send("slack_configs", config)
    (reply,) = await receivers.send("slack_configs", config)
    assert (reply.path, reply.json["channel"], reply.json["thread_ts"]) == (
        "/api/chat.postMessage",
        "C1",
        "17.1",
    )


async def test_with_both_the_thread_keeps_the_first_message(receivers: Receivers) -> None:
    config = f"{{{BOT}, update_message: true, post_updates_to_thread: true}}"
    first, copy = await receivers.send("slack_configs", config)
    assert (copy.json["thread_ts"], copy.json["attachments"]) == ("17.1", first.json["attachments"])
    update, reply = await receivers.send("slack_configs", config)
    assert (update.path, update.json["ts"]) == ("/api/chat.update", "17.1")
    assert (reply.path, reply.json["thread_ts"]) == ("/api/chat.postMessage", "17.1")


async def test_a_group_that_ended_and_fires_again_gets_a_message_of_its_own(receivers: Receivers) -> None:
    config = f"{{{BOT}, update_message: true}}"
    ended = notification(alert(ends_ms=NOW_MS), integration="slack[0]")
    paths = [(await receivers.send("slack_configs", config, told))[0].path for told in (None, ended, None)]
    assert paths == ["/api/chat.postMessage", "/api/chat.update", "/api/chat.postMessage"]


async def test_a_first_message_is_not_posted_twice_when_its_copy_fails(receivers: Receivers) -> None:
    config = f"{{{BOT}, update_message: true, post_updates_to_thread: true}}"
    posted = Answer(body='{"ok": true, "channel": "C1", "ts": "17.1"}')
    await receivers.refused("slack_configs", config, posted, Answer(500))
    receivers.sink.answer = lambda _: posted
    again = await receivers.send("slack_configs", config)
    assert [request.path for request in again] == ["/api/chat.update", "/api/chat.postMessage"]
