"""Discord, Microsoft Teams, Telegram, Webex, Rocket.Chat, Mattermost, WeChat."""

from pathlib import Path
from typing import Any

import pytest

from tests.alerting.notify.conftest import Receivers
from tests.alerting.notify.sink import NOW_MS, Answer, alert, notification

ENDED = notification(alert(ends_ms=NOW_MS))


async def test_discord(receivers: Receivers) -> None:
    config = f"""
webhook_url: SINK/discord
content: '{"c" * 2001}'
title: '{"t" * 257}'
message: '{"m" * 4097}'
username: Watchman
avatar_url: http://pictures.example/w.png
"""
    (request,) = await receivers.send("discord_configs", config, ENDED)
    assert request.json == {
        "content": "c" * 1999 + "…",
        "embeds": [{"title": "t" * 255 + "…", "description": "m" * 4095 + "…", "color": 0x2ECC71}],
        "username": "Watchman",
        "avatar_url": "http://pictures.example/w.png",
    }


async def test_discord_does_not_take_an_avatar_that_is_no_url(receivers: Receivers) -> None:
    (request,) = await receivers.send(
        "discord_configs", "{webhook_url: SINK/discord, avatar_url: 'http://['}"
    )
    assert request.json.keys() == {"content", "embeds"}


async def test_teams_by_workflows(receivers: Receivers) -> None:
    """https://learn.microsoft.com/en-us/connectors/teams/?tabs=text1#request-body-schema"""
    (request,) = await receivers.send("msteamsv2_configs", "{webhook_url: SINK/flow, title: t, text: x}")
    assert request.json == {
        "type": "message",
        "attachments": [
            {
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": None,
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.2",
                    "body": [
                        {
                            "type": "TextBlock", "text": "t", "weight": "Bolder", "size": "Medium", "wrap": True,
                            "style": "heading", "color": "Attention",
                        },
                        {"type": "TextBlock", "text": "x", "wrap": True},
                    ],
                    "msteams": {"width": "full"},
                },
            }
        ],
    }  # fmt: skip
    (request,) = await receivers.send("msteamsv2_configs", "webhook_url: SINK/flow", ENDED)
    assert request.json["attachments"][0]["content"]["body"][0]["color"] == "Good"


async def test_teams_by_connectors(receivers: Receivers) -> None:
    """https://learn.microsoft.com/en-us/outlook/actionable-messages/message-card-reference"""
    config = "{webhook_url: SINK/o, title: t, summary: s, text: x}"
    (request,) = await receivers.send("msteams_configs", config)
    assert request.json == {
        "@context": "http://schema.org/extensions", "type": "MessageCard", "title": "t", "summary": "s", "text": "x",
        "themeColor": "8C1A1A",
    }  # fmt: skip
    (request,) = await receivers.send("msteams_configs", config, ENDED)
    assert request.json["themeColor"] == "2DC72D"


TELEGRAM = "api_url: SINK, bot_token: tok, chat_id: -5"


async def test_telegram(receivers: Receivers) -> None:
    config = f"{{{TELEGRAM}, message: '<b>{{{{ .CommonLabels.team }}}}</b>', disable_notifications: true, message_thread_id: 7}}"
    (request,) = await receivers.send("telegram_configs", config, notification(alert(team="<i>&")))
    assert request.path == "/bottok/sendMessage"
    assert request.json == {
        "chat_id": "-5", "text": "<b>&lt;i&gt;&amp;</b>", "parse_mode": "HTML", "disable_web_page_preview": "true",
        "disable_notification": "true", "message_thread_id": "7",
    }  # fmt: skip


@pytest.mark.parametrize("parse_mode", ["''", "Markdown", "MarkdownV2"])
async def test_telegram_without_html(parse_mode: str, receivers: Receivers) -> None:
    config = f"{{{TELEGRAM}, parse_mode: {parse_mode}, message: '<{'x' * 5000}'}}"
    (request,) = await receivers.send("telegram_configs", config)
    assert request.json["text"] == "<" + "x" * 4094 + "…"
    assert ("parse_mode" in request.json) is (parse_mode != "''")


@pytest.mark.parametrize(
    ("message", "fits"),
    [
        ("x" * 4096, True),
        ("x" * 4097, False),
        ("<b>" + "&lt;" * 4096 + "</b>", True),  # what is shown counts
        ("<a href='http://" + "x" * 33_000 + "'>a</a>", False),  # what is sent has a bound too
    ],
)
async def test_telegrams_html_is_not_cut_but_replaced(message: str, fits: bool, receivers: Receivers) -> None:
    (request,) = await receivers.send("telegram_configs", f'{{{TELEGRAM}, message: "{message}"}}')
    assert (request.json["text"] == message) is fits
    assert len(request.json["text"]) < 33_000


async def test_telegram_reads_token_and_chat_from_files(receivers: Receivers, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of-a-file\n")
    (tmp_path / "chat").write_text(" -100123\n")
    config = f"{{api_url: SINK, bot_token_file: {tmp_path}/token, chat_id_file: {tmp_path}/chat}}"
    (request,) = await receivers.send("telegram_configs", config)
    assert (request.path, request.json["chat_id"]) == ("/botof-a-file/sendMessage", "-100123")
    (tmp_path / "chat").write_text("@channel")
    error = await receivers.refused("telegram_configs", config, Answer())
    assert "does not hold the number of a chat" in str(error)


async def test_telegram_says_what_is_wrong(receivers: Receivers) -> None:
    body = '{"ok": false, "error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 12}}'
    error = await receivers.refused("telegram_configs", f"{{{TELEGRAM}}}", Answer(429, body))
    assert (error.retry, error.retry_after_s) == (True, 12)
    assert "Too Many Requests" in str(error)
    error = await receivers.refused("telegram_configs", f"{{{TELEGRAM}}}", Answer(200, '{"ok": false}'))
    assert error.retry


async def test_webex(receivers: Receivers) -> None:
    config = f"{{api_url: SINK/v1/messages, room_id: '{{{{ .Status }}}}', message: '{'é' * 4000}', http_config: {{authorization: {{credentials: t}}}}}}"
    (request,) = await receivers.send("webex_configs", config)
    assert request.headers["Authorization"] == "Bearer t"
    assert request.json["roomId"] == "firing"
    assert request.json["markdown"] == "é" * 3718 + "…"
    assert len(request.json["markdown"].encode()) == 7439


async def test_rocketchat(receivers: Receivers) -> None:
    config = """
api_url: SINK
token: t
token_id: u
channel: '#c'
title: '{{ .Status }}'
text: x
emoji: ':fire:'
fields: [{title: a, value: b}]
actions: [{type: anything, text: Look, url: 'http://x'}]
"""
    (request,) = await receivers.send("rocketchat_configs", config)
    assert request.path == "/api/v1/chat.postMessage"
    assert (request.headers["X-Auth-Token"], request.headers["X-User-Id"]) == ("t", "u")
    assert request.json == {
        "channel": "#c",
        "emoji": ":fire:",
        "attachments": [
            {
                "title": "firing",
                "title_link": "http://vm:28193/#/alerts?receiver=all",
                "text": "x",
                "color": "red",
                "fields": [{"short": False, "title": "a", "value": "b"}],
                "actions": [
                    {
                        "type": "button", "text": "Look", "url": "http://x", "is_webview": False,
                        "msg_in_chat_window": False,
                    }
                ],
            }
        ],
    }  # fmt: skip
    error = await receivers.refused(
        "rocketchat_configs", config, Answer(body='{"success": false, "error": "no"}')
    )
    assert (error.retry, str(error)) == (False, 'channel "#c": Rocket.Chat refused the message: no')


PLAIN = (
    "webhook_url: SINK/hooks/x, text: Test, title: '', title_link: '', color: '', fallback: '', username: ''"
)


@pytest.mark.parametrize(
    ("more", "post"),
    [
        ("", {"attachments": [{"text": "Test"}]}),
        ("props: {card: c}", {"attachments": [{"text": "Test"}], "props": {"card": "c"}}),
        (
            "attachments: [{title: t, text: x, fields: [{title: a, value: b, short: true}]}]",
            {
                "text": "Test",
                "attachments": [
                    {"title": "t", "text": "x", "fields": [{"title": "a", "value": "b", "short": True}]}
                ],
            },
        ),
        (
            "priority: {priority: standard, requested_ack: true, persistent_notifications: true}",
            {"attachments": [{"text": "Test"}], "priority": {"priority": "standard"}},
        ),
        (
            "priority: {priority: Urgent, requested_ack: true, persistent_notifications: true}",
            {
                "attachments": [{"text": "Test"}],
                "priority": {"priority": "urgent", "requested_ack": True, "persistent_notifications": True},
            },
        ),
        (
            "priority: {priority: dire, requested_ack: true}",
            {"attachments": [{"text": "Test"}], "priority": {"priority": "standard"}},
        ),
    ],
)
async def test_mattermost(more: str, post: dict[str, Any], receivers: Receivers) -> None:
    """The cases of Alertmanager's own test, and the rules of priorities."""
    (request,) = await receivers.send("mattermost_configs", f"{{{PLAIN}{', ' if more else ''}{more}}}")
    assert request.json == post


WECHAT = "api_url: SINK/cgi-bin, api_secret: s, corp_id: c, message: m, to_user: u, agent_id: '1'"


async def test_wechat_keeps_its_token(receivers: Receivers) -> None:
    first = await receivers.send("wechat_configs", f"{{{WECHAT}}}")
    assert [request.path for request in first] == [
        "/cgi-bin/gettoken?corpid=c&corpsecret=s",
        "/cgi-bin/message/send?access_token=t",
    ]
    assert len(await receivers.send("wechat_configs", f"{{{WECHAT}}}")) == 1
    receivers.clock.advance(7_200_001)
    assert len(await receivers.send("wechat_configs", f"{{{WECHAT}}}")) == 2


async def test_wechat_forgets_a_token_that_is_refused(receivers: Receivers) -> None:
    await receivers.send("wechat_configs", f"{{{WECHAT}}}")
    error = await receivers.refused(
        "wechat_configs", f"{{{WECHAT}}}", Answer(body='{"errcode": 42001, "errmsg": "access_token expired"}')
    )
    assert error.retry
    error = await receivers.refused(
        "wechat_configs", f"{{{WECHAT}}}", Answer(body='{"access_token": "t2"}'), Answer(body='{"errcode": 60011, "errmsg": "no"}')
    )  # fmt: skip
    assert (error.retry, receivers.sink.last.path) == (False, "/cgi-bin/message/send?access_token=t2")
    receivers.client.memory.forget("wechat", f"{receivers.sink.url}/cgi-bin", "c", "s")
    error = await receivers.refused("wechat_configs", f"{{{WECHAT}}}", Answer(body='{"errcode": 40013}'))
    assert (error.retry, str(error)) == (False, "WeChat gave no token for the corporation c")


async def test_wechat_in_markdown(receivers: Receivers) -> None:
    *_, request = await receivers.send("wechat_configs", f"{{{WECHAT}, message_type: markdown, to_tag: g}}")
    assert request.json == {
        "text": {"content": ""}, "touser": "u", "totag": "g", "agentid": "1", "safe": "0", "msgtype": "markdown",
        "markdown": {"content": "m"},
    }  # fmt: skip
