"""What receivers take as settings, what they fill from `global`, what they refuse."""

from pathlib import Path
from typing import Any

import pytest

from otero.alerting.notify import NOTIFIERS
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.settings import GoDuration, HostPort, HttpUrl, SecretUrl, TemplateUrl
from otero.errors import BadConfig, BadField
from otero.fields import Secret
from otero.source import Map, Reader, parse_yaml, read_file


def read(key: str, text: str, global_text: str = "{}") -> Any:
    """One integration's settings as they stand in a file, completed."""
    notifier = NOTIFIERS[key]
    reader = Reader("alertmanager.yml", Path("/etc/otero"))
    config = reader.require(parse_yaml(text), notifier.Config)
    return notifier.complete(config, reader.require(parse_yaml(global_text), Global))


BAD = {
    "conf.mattermost-both-webhook-url-and-file.yml": "mattermost_webhook_url & mattermost_webhook_url_file",
    "conf.mattermost-no-webhook-url.yml": "no Mattermost webhook is set",
    "conf.mattermost-valid-receiver-both-webhook-url-and-file.yml": "mattermost_webhook_url & mattermost_webhook_url_file",
    "conf.opsgenie-both-file-and-apikey.yml": "opsgenie_api_key & opsgenie_api_key_file",
    "conf.opsgenie-default-apikey-old-team.yml": 'unknown field "teams"',
    "conf.opsgenie-no-apikey.yml": "no Opsgenie API key is set",
    "conf.rocketchat-both-token-and-tokenfile.yml": "rocketchat_token & rocketchat_token_file",
    "conf.rocketchat-both-tokenid-and-tokenidfile.yml": "rocketchat_token_id & rocketchat_token_id_file",
    "conf.rocketchat-no-token.yml": "no Rocket.Chat token is set",
    "conf.slack-both-file-and-token.yml": "slack_app_token & slack_app_token_file",
    "conf.slack-both-file-and-url.yml": "slack_api_url & slack_api_url_file",
    "conf.slack-both-url-and-token.yml": "slack_app_token/slack_app_token_file & slack_api_url/slack_api_url_file",
    "conf.slack-no-api-url-or-token.yml": "neither a webhook URL nor a token is set",
    "conf.slack-update-message-and-webhook.yml": "update_message works for bots only",
    "conf.smtp-both-password-and-file.yml": "smtp_auth_password & smtp_auth_password_file",
    "conf.sns-invalid.yml": "exactly one of topic_arn, target_arn & phone_number",
    "conf.telegram-both-bot-token-and-file.yml": "telegram_bot_token & telegram_bot_token_file",
    "conf.telegram-no-bot-token.yml": "no Telegram bot token is set",
    "conf.telegram-valid-receiver-both-bot-token-and-file.yml": "telegram_bot_token & telegram_bot_token_file",
    "conf.victorops-both-file-and-apikey.yml": "victorops_api_key & victorops_api_key_file",
    "conf.victorops-no-apikey.yml": "no VictorOps API key is set",
    "conf.wechat-both-file-and-secret.yml": "wechat_api_secret & wechat_api_secret_file",
    "conf.wechat-no-api-secret.yml": "no WeChat API secret is set",
}
"""Files of Alertmanager's own tests that its receivers refuse, with what ours say."""


def test_receivers_of_alertmanagers_files_are_judged_as_it_judges_them(shared: Path) -> None:
    judged = 0
    for path in sorted((shared / "conformance" / "alertmanager-config").iterdir()):
        outcome = _judge(path)
        judged += 1
        expected = BAD.get(path.name, "")
        assert expected in outcome if expected else outcome == "", (path.name, outcome)
    assert judged > len(BAD)


def _judge(path: Path) -> str:
    """The first problem of `global` and of the receivers served here; nothing when there is none."""
    tree = parse_yaml(read_file(path), path.name)
    assert isinstance(tree, Map)
    reader = Reader(path.name, path.parent)
    try:
        global_ = reader.require(tree.entries.get("global", Map(0, 0)), Global, "global")
        for receiver in tree.entries["receivers"].items:  # pyright: ignore[reportAttributeAccessIssue]
            for key, configs in receiver.entries.items():
                for node in configs.items if key in NOTIFIERS else ():
                    notifier = NOTIFIERS[key]
                    notifier.complete(reader.require(node, notifier.Config, key), global_)
    except (BadConfig, BadField) as error:
        return str(error)
    return ""


SENDS_RESOLVED_BY_DEFAULT = {
    "discord": True, "email": False, "incidentio": True, "jira": True, "mattermost": True, "msteams": True, "msteamsv2": True,
    "opsgenie": True, "pagerduty": True, "pushover": True, "rocketchat": False, "slack": False, "sns": True,
    "telegram": True, "victorops": True, "webex": True, "webhook": True, "wechat": False,
}  # fmt: skip
"""https://prometheus.io/docs/alerting/latest/configuration/#receiver-integration-settings"""

MINIMAL = {
    "discord_configs": "webhook_url: https://discord.example/api/webhooks/1/t0ken",
    "email_configs": "{to: a@b.c, from: d@e.f, smarthost: 'h:25', auth_password: t0ken, auth_secret: t0ken}",
    "incidentio_configs": "{url: https://api.incident.io/v2/x, alert_source_token: t0ken}",
    "jira_configs": "{api_url: https://jira.example/rest/api/2, project: OPS, issue_type: Bug}",
    "mattermost_configs": "webhook_url: https://chat.example/hooks/t0ken",
    "msteams_configs": "webhook_url: https://office.example/t0ken",
    "msteamsv2_configs": "webhook_url: https://flow.example/t0ken",
    "opsgenie_configs": "api_key: t0ken",
    "pagerduty_configs": "routing_key: t0ken",
    "pushover_configs": "{user_key: t0ken, token: t0ken}",
    "rocketchat_configs": "{token: t0ken, token_id: t0ken}",
    "slack_configs": "api_url: https://hooks.slack.com/services/t0ken",
    "sns_configs": "{topic_arn: 'arn:aws:sns:us-east-1:1:t', sigv4: {access_key: a, secret_key: t0ken}}",
    "telegram_configs": "{bot_token: t0ken, chat_id: 1}",
    "victorops_configs": "{api_key: t0ken, routing_key: r}",
    "webex_configs": "{room_id: r, http_config: {authorization: {credentials: t0ken}}}",
    "webhook_configs": "url: https://hook.example/t0ken",
    "wechat_configs": "{api_secret: t0ken, corp_id: c}",
}
"""The least that each receiver needs, every secret in it being `t0ken`."""


def test_every_receiver_has_a_minimal_example() -> None:
    assert MINIMAL.keys() == NOTIFIERS.keys()


@pytest.mark.parametrize("key", MINIMAL)
def test_resolved_notices_are_sent_by_default_as_alertmanager_does(key: str) -> None:
    assert read(key, MINIMAL[key]).send_resolved is SENDS_RESOLVED_BY_DEFAULT[key.removesuffix("_configs")]


@pytest.mark.parametrize("key", MINIMAL)
def test_no_secret_is_printed(key: str) -> None:
    config = read(key, MINIMAL[key])
    assert "t0ken" not in repr(config)
    assert "t0ken" not in str(config)


@pytest.mark.parametrize("key", MINIMAL)
def test_completing_twice_changes_nothing(key: str) -> None:
    config = read(key, MINIMAL[key])
    assert NOTIFIERS[key].complete(config, Global()) == config


@pytest.mark.parametrize("key", sorted(MINIMAL.keys() - {"webex_configs", "email_configs"}))
def test_http_settings_are_those_of_global_unless_a_receiver_has_its_own(key: str) -> None:
    global_text = "http_config: {proxy_url: 'http://127.0.0.1:1025'}"
    assert read(key, MINIMAL[key], global_text).http.proxy_url == "http://127.0.0.1:1025"


@pytest.mark.parametrize(
    ("key", "text", "problem"),
    [
        ("webhook_configs", "{}", "one of url or url_file must be configured"),
        ("webhook_configs", "{url: 'http://a', url_file: b}", "at most one of url & url_file"),
        ("webhook_configs", "url: ftp://a", "not an absolute http or https URL"),
        ("webhook_configs", "url: 'http://a/{{ .x'", "not a valid template"),
        ("webhook_configs", "{url: 'http://a', timeout: 1d}", "not a duration"),
        ("webhook_configs", "{url: 'http://a', max_alerts: -1}", "cannot be negative"),
        ("slack_configs", "fields: [{value: v}]", "missing title in Slack field"),
        ("slack_configs", "actions: [{type: button, text: t}]", "missing name or url"),
        ("slack_configs", "actions: [{type: button, text: t, name: n, confirm: {}}]", "missing text in Slack conf"),
        ("slack_configs", "{api_url: 'http://a', app_token: t}", "api_url/api_url_file & app_token"),
        (
            "slack_configs",
            "{app_token: t, http_config: {authorization: {credentials: c}}}",
            "cannot have an authorization beside a Slack token",
        ),
        ("pagerduty_configs", "{}", "missing key"),
        ("pagerduty_configs", "{routing_key: a, routing_key_file: b}", "routing_key & routing_key_file"),
        ("opsgenie_configs", "{api_key: k, responders: [{type: team}]}", "at least one of id, username and name"),
        ("opsgenie_configs", "{api_key: k, responders: [{name: a, type: crowd}]}", 'unknown type "crowd"'),
        ("victorops_configs", "api_key: k", "missing routing_key"),
        (
            "victorops_configs",
            "{api_key: k, routing_key: r, custom_fields: {entity_id: x}}",
            "entity_id cannot be a custom field",
        ),
        ("pushover_configs", "token: t", "one of user_key or user_key_file"),
        ("pushover_configs", "{token: t, user_key: u, html: true, monospace: true}", "monospace & html"),
        ("telegram_configs", "bot_token: t", "missing chat_id"),
        ("telegram_configs", "{bot_token: t, chat_id: 1, parse_mode: BBCode}", 'unknown parse_mode "BBCode"'),
        ("discord_configs", "{}", "one of webhook_url or webhook_url_file"),
        ("webex_configs", "room_id: r", "missing http_config.authorization"),
        ("sns_configs", "{topic_arn: a, sigv4: {access_key: a}}", "belong together"),
        ("wechat_configs", "{api_secret: s, corp_id: c, message_type: image}", 'unknown message_type "image"'),
        ("wechat_configs", "api_secret: s", "no WeChat corporation is set"),
        ("jira_configs", "{api_url: 'http://a', project: p}", "missing issue_type"),
        ("jira_configs", "{project: p, issue_type: i}", "no Jira URL is set: set api_url here or jira_api_url"),
        ("incidentio_configs", "{url: 'http://a', http_config: {}}", "http_config.authorization must be configured"),
        ("mattermost_configs", "{webhook_url: 'http://a', attachments: [{fields: [{title: t}]}]}", "missing value"),
    ],
)  # fmt: skip
def test_what_is_refused(key: str, text: str, problem: str) -> None:
    with pytest.raises((BadConfig, BadField)) as caught:
        read(key, text)
    assert problem in str(caught.value)


def test_a_slack_token_of_global_becomes_the_authorization() -> None:
    config = read("slack_configs", "channel: '#a'", "slack_app_token: xoxb-1")
    assert config.api_url.reveal() == "https://slack.com/api/chat.postMessage"
    assert config.http.authorization.credentials.reveal() == "xoxb-1"
    assert not config.app_token


def test_a_slack_webhook_of_the_receiver_is_not_mixed_with_the_token_of_global() -> None:
    config = read("slack_configs", "api_url: http://hooks.example/1", "slack_app_token: xoxb-1")
    assert config.api_url.reveal() == "http://hooks.example/1"
    assert config.http.authorization is None


def test_a_bots_messages_may_be_updated() -> None:
    assert read("slack_configs", "{app_token: xoxb-1, update_message: true}").update_message


def test_files_are_found_from_the_folder_of_the_configuration() -> None:
    assert read("webhook_configs", "url_file: secret/url").url_file == "/etc/otero/secret/url"


def test_jiras_fields_may_say_whether_they_are_updated() -> None:
    base = "api_url: http://a, project: p, issue_type: i"
    plain = read("jira_configs", f"{{{base}, summary: s, labels: [a, b]}}")
    assert (plain.summary.template, plain.summary.enable_update) == ("s", True)
    assert plain.labels.values == ["a", "b"]
    full = read("jira_configs", f"{{{base}, summary: {{enable_update: false}}, labels: {{values: [c]}}}}")
    assert (full.summary.template, full.summary.enable_update) == (plain_default(), False)
    assert full.labels.values == ["c"]


def plain_default() -> str:
    return read("jira_configs", MINIMAL["jira_configs"]).summary.template


def test_pagerdutys_details_are_merged_over_the_usual_ones() -> None:
    details = read("pagerduty_configs", "{routing_key: k, details: {firing: mine, extra: 1}}").details
    assert details.keys() == {"firing", "resolved", "num_firing", "num_resolved", "extra"}
    assert (details["firing"], details["extra"]) == ("mine", 1)


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("10s", 10_000), ("1m30s", 90_000), ("1.5h", 5_400_000), ("300ms", 300), ("0", 0), ("250us", 0)]
)  # fmt: skip
def test_durations_as_go_writes_them(text: str, milliseconds: int) -> None:
    assert GoDuration.parse(text) == milliseconds


@pytest.mark.parametrize("text", ["", "10", "1d", "s", "1s!", "-1s", ".s", "1" * 70 + "s"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(BadField):
        GoDuration.parse(text)


def test_urls() -> None:
    assert HttpUrl.parse("http://a/b/?c=d").below("/e/f") == "http://a/b/e/f?c=d"
    for text in ("", "a.example", "ftp://a", "http:///b", "http://[", "http://a\n"):
        with pytest.raises(BadField):
            HttpUrl.parse(text)
        with pytest.raises(BadField) as caught:
            SecretUrl.parse(text)
        assert text == "" or text not in str(caught.value)
    assert SecretUrl.parse("<secret>") == SecretUrl("<secret>")  # a printed configuration is read again
    assert TemplateUrl.parse("http://a/{{ .CommonLabels.team | toUpper }}")


def test_addresses_of_mail_servers() -> None:
    address = HostPort.parse("mail.example:25")
    assert (address.host, address.port) == ("mail.example", "25")
    assert HostPort.parse("[::1]:25").host == "::1"
    for text in ("mail.example", "mail.example:", "::1:25"):
        with pytest.raises(BadField):
            HostPort.parse(text)


def test_global_settings_of_slack() -> None:
    with pytest.raises(BadField):
        Global(slack_app_token=Secret("t"), slack_api_url=SecretUrl("http://a"))
    Global(slack_app_token=Secret("t"), slack_api_url=SecretUrl("https://slack.com/api/chat.postMessage"))
