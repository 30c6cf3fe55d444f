"""alertmanager.yml: Alertmanager's own files judged as it judges them; names that must agree; the text that is shown."""

import shutil
import subprocess
from pathlib import Path

import pytest

from otero.alerting.config import (
    AlertmanagerConfig,
    default_alertmanager,
    load_alertmanager,
    read_alertmanager,
)
from otero.alerting.notify import NOTIFIERS, slack, webhook
from otero.errors import BadConfig
from otero.source import Reader, parse_yaml
from tests.conftest import SHARED

FOLDER = SHARED / "conformance" / "alertmanager-config"

FAULTS = {
    "conf.mattermost-both-webhook-url-and-file.yml": (
        3,
        "mattermost_webhook_url & mattermost_webhook_url_file",
    ),
    "conf.mattermost-no-webhook-url.yml": (7, "no Mattermost webhook is set"),
    "conf.mattermost-valid-receiver-both-webhook-url-and-file.yml": (
        3,
        "at most one of mattermost_webhook_url",
    ),
    "conf.nil-match_re-route.yml": (5, 'invalid regexp value for "invalid_label"'),
    "conf.nil-source_match_re-inhibition.yml": (7, 'invalid regexp value for "invalid_source_label"'),
    "conf.nil-target_match_re-inhibition.yml": (9, 'invalid regexp value for "invalid_target_label"'),
    "conf.opsgenie-both-file-and-apikey.yml": (3, "opsgenie_api_key & opsgenie_api_key_file"),
    "conf.opsgenie-default-apikey-old-team.yml": (16, 'unknown field "teams"'),
    "conf.opsgenie-no-apikey.yml": (14, "no Opsgenie API key is set"),
    "conf.rocketchat-both-token-and-tokenfile.yml": (2, "rocketchat_token & rocketchat_token_file"),
    "conf.rocketchat-both-tokenid-and-tokenidfile.yml": (2, "rocketchat_token_id & rocketchat_token_id_file"),
    "conf.rocketchat-no-token.yml": (16, "no Rocket.Chat token is set"),
    "conf.slack-both-file-and-token.yml": (3, "slack_app_token & slack_app_token_file"),
    "conf.slack-both-file-and-url.yml": (3, "slack_api_url & slack_api_url_file"),
    "conf.slack-both-url-and-token.yml": (2, "slack_app_token/slack_app_token_file & slack_api_url"),
    "conf.slack-no-api-url-or-token.yml": (7, "neither a webhook URL nor a token is set"),
    "conf.slack-update-message-and-webhook.yml": (13, "update_message works for bots only"),
    "conf.smtp-both-password-and-file.yml": (6, "smtp_auth_password & smtp_auth_password_file"),
    "conf.sns-invalid.yml": (7, "exactly one of topic_arn, target_arn & phone_number"),
    "conf.telegram-both-bot-token-and-file.yml": (3, "telegram_bot_token & telegram_bot_token_file"),
    "conf.telegram-no-bot-token.yml": (7, "no Telegram bot token is set"),
    "conf.telegram-valid-receiver-both-bot-token-and-file.yml": (3, "at most one of telegram_bot_token"),
    "conf.victorops-both-file-and-apikey.yml": (3, "victorops_api_key & victorops_api_key_file"),
    "conf.victorops-no-apikey.yml": (14, "no VictorOps API key is set"),
    "conf.wechat-both-file-and-secret.yml": (3, "wechat_api_secret & wechat_api_secret_file"),
    "conf.wechat-no-api-secret.yml": (7, "no WeChat API secret is set"),
}
"""The files that Alertmanager's own tests want refused: the line at fault and the reason; the others are good."""

YOUNGER = (
    "mattermost",
    "rocketchat",
    "slack_app",
    "update_message",
    "telegram_bot_token",
    "wechat_api_secret_file",
)
"""What Debian's amtool does not know yet."""


def read(text: str) -> AlertmanagerConfig:
    return read_alertmanager(parse_yaml(text), Reader("alertmanager.yml"))


def problems(text: str) -> list[str]:
    with pytest.raises(BadConfig) as refused:
        read(text)
    return [str(problem).removeprefix("alertmanager.yml:") for problem in refused.value.problems]


def files() -> list[Path]:
    return sorted(FOLDER.glob("*.yml")) if FOLDER.is_dir() else []


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_alertmanagers_files_are_judged_as_it_judges_them(path: Path) -> None:
    if path.name not in FAULTS:
        config, warnings = load_alertmanager(path)
        assert config.receivers
        assert warnings == []
        return
    line, reason = FAULTS[path.name]
    with pytest.raises(BadConfig) as refused:
        load_alertmanager(path)
    assert [
        problem for problem in refused.value.problems if problem.line == line and reason in str(problem)
    ], str(refused.value)


def test_every_refused_file_is_there(shared: Path) -> None:
    assert FAULTS.keys() <= {path.name for path in FOLDER.iterdir()}


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_amtool_judges_alike(path: Path) -> None:
    amtool = shutil.which("amtool")
    if amtool is None:
        pytest.skip("amtool is not installed: apt-get install prometheus-alertmanager")
    if (
        any(word in path.read_text() for word in YOUNGER)
        or path.name == "conf.smtp-password-global-and-local.yml"
    ):
        pytest.skip("the file has keys that are younger than Debian's amtool")
    judged = subprocess.run([amtool, "check-config", path], capture_output=True, check=False, timeout=30)
    try:
        load_alertmanager(path)
        good = True
    except BadConfig:
        good = False
    assert good == (judged.returncode == 0), judged.stdout.decode()


SMALL = "receivers: [{name: a}, {name: b}]\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1: no route provided in config"]),
        ("route:\n" + SMALL, ["1: route: no route provided in config"]),
        ("route: {}\n" + SMALL, ["1: route: root route must specify a default receiver"]),
        (
            "route:\n  receiver: a\n  matchers: [a=b]\n" + SMALL,
            ["3: route.matchers: root route must not have any matchers"],
        ),
        (
            "route: {receiver: a, continue: true}\n" + SMALL,
            ["1: route.continue: cannot have continue in root route"],
        ),
        (
            "route:\n  receiver: team\n  routes:\n  - receiver: aa\n" + SMALL,
            [
                '2: route.receiver: undefined receiver "team" used in route',
                '4: route.routes[0].receiver: undefined receiver "aa" used in route, did you mean "a"?',
            ],
        ),
        (
            "route: {receiver: a}\nreceivers:\n- name: a\n- name: a\n",
            ['4: receivers[1].name: notification config name "a" is not unique'],
        ),
        (
            "route: {receiver: a}\nreceivers:\n- name: a\n- {}\n- x\n- {name: b, slak_configs: []}\n",
            [
                "4: receivers[1]: missing name in receiver",
                "5: receivers[2]: expected a mapping with a name",
                '6: receivers[3].slak_configs: unknown field "slak_configs", did you mean "slack_configs"?',
            ],
        ),
        (
            "route:\n  receiver: a\n  routes:\n  - mute_time_intervals: [night]\n    active_time_intervals: [day, x]\n"
            + SMALL
            + "time_intervals: [{name: night}]\nmute_time_intervals:\n- name: night\n",
            [
                '7: time_intervals[0].name: time interval "night" is not unique',
                '5: route.routes[0].active_time_intervals[0]: undefined time interval "day" used in route',
                '5: route.routes[0].active_time_intervals[1]: undefined time interval "x" used in route',
            ],
        ),
        ("route: {receiver: a}\nreceivers: {a: b}\n", ["2: receivers: expected a list, found a mapping"]),
        (
            "route: {receiver: a}\nreceivers:\n- name: a\n  webhook_configs:\n  - url: ftp://x\n  - {}\n",
            [
                "5: receivers[0].webhook_configs[0].url: ",
                "6: receivers[0].webhook_configs[1]: one of url or url_file must be configured",
            ],
        ),
        (
            "global: {resolve_timeout: x}\nroute: {receiver: a}\n" + SMALL,
            ["1: global.resolve_timeout: not a valid"],
        ),
    ],
)
def test_what_is_refused_and_where(text: str, expected: list[str]) -> None:
    found = problems(text)
    assert len(found) == len(expected), found
    for want, got in zip(expected, found, strict=True):
        assert got.startswith(want), got


def test_a_whole_file() -> None:
    config = read("""
        global: {slack_api_url: 'https://hooks.example/T0/secret', resolve_timeout: 7m}
        route:
          receiver: all
          routes: [{receiver: chat, matchers: ['severity="warn"'], mute_time_intervals: [night]}]
        inhibit_rules: [{source_matchers: [a=b], target_matchers: [c=d], equal: [e]}]
        mute_time_intervals: [{name: night, time_intervals: [{times: [{start_time: '22:00', end_time: '24:00'}]}]}]
        time_intervals: [{name: day, time_intervals: []}]
        receivers:
        - name: all
        - name: chat
          slack_configs: [{channel: '#a'}, {channel: '#b', send_resolved: true}]
          webhook_configs: [{url: 'http://127.0.0.1:1/'}]
    """)
    assert config.global_.resolve_timeout == 420_000
    assert [route.receiver for route in config.route.match({"severity": "warn"})] == ["chat"]
    assert (config.inhibit_rules[0].sources[0].equal, len(config.inhibit_rules)) == (("e",), 1)
    assert list(config.time_intervals) == ["night", "day"]
    assert config.receivers[0].integrations == ()
    integrations = config.receivers[1].integrations
    assert [(each.name, each.kind, each.send_resolved) for each in integrations] == [
        ("slack[0]", "slack", False),
        ("slack[1]", "slack", True),
        ("webhook[0]", "webhook", True),
    ]
    first, hook = integrations[0].config, integrations[2].config
    assert isinstance(first, slack.Config)
    assert isinstance(hook, webhook.Config)
    assert first.api_url is not None
    assert first.api_url.reveal() == "https://hooks.example/T0/secret", "global fills it in"


def test_matchers_that_should_be_written_otherwise_are_warned_of() -> None:
    reader = Reader("alertmanager.yml")
    text = (
        "route:\n  receiver: a\n  routes:\n  - matchers:\n    - team = a b\n"
        "inhibit_rules:\n- source_matchers: [x = y z]\nreceivers: [{name: a}]\ntracing: {endpoint: 'h:1'}\n"
    )
    read_alertmanager(parse_yaml(text), reader)
    assert [(warning.line, warning.path) for warning in reader.warnings] == [
        (9, "tracing"),
        (5, "route.routes[0].matchers[0]"),
        (7, "inhibit_rules[0].source_matchers[0]"),
    ]
    assert 'write it as team="a b"' in reader.warnings[1].message


def test_without_a_file_everything_is_shown_and_nobody_is_told() -> None:
    config = default_alertmanager()
    assert [(receiver.name, receiver.integrations) for receiver in config.receivers] == [("default", ())]
    assert [route.receiver for route in config.route.match({"alertname": "Down"})] == ["default"]


def test_two_files_that_say_the_same_are_equal() -> None:
    text = "{route: {receiver: a}, receivers: [{name: a, webhook_configs: [{url: 'http://h/%s'}]}]}"
    assert read(text % "x") == read(text % "x")
    assert read(text % "x") != read(text % "y")


SECRETS = """
global: {slack_api_url: 'https://hooks.example/t0ken', smtp_auth_password: t0ken, http_config: {basic_auth: {username: u,
  password: t0ken}}, smtp_smarthost: 'h:25', smtp_from: a@b}
route: {receiver: a, group_by: ['...'], routes: [{matchers: ['"my.label"=~"x|y"'], group_wait: 1m, match_re: {a: b}}]}
receivers:
- name: a
  slack_configs: [{channel: '#a', http_config: {authorization: {credentials: t0ken}}}]
  pagerduty_configs: [{routing_key: t0ken}]
  webhook_configs: [{url: 'http://u:t0ken@h/', http_config: {proxy_url: 'http://u:pr0xy@proxy:3128'}}]
time_intervals:
- {name: n, time_intervals: [{weekdays: ['monday:friday'], months: [may], days_of_month: ['-1'], location: Europe/Berlin}]}
tracing: {endpoint: 'h:1', headers: {x: t0ken}}
templates: [a/*.tmpl]
"""


def test_the_text_that_is_shown_hides_secrets_and_reads_back() -> None:
    config = read(SECRETS)
    assert "t0ken" not in config.text
    assert "pr0xy" not in config.text
    assert "url: http://h/<secret>\n" in config.text, "a URL is a URL still"
    assert "t0ken" not in repr(config)
    again = read(config.text)
    assert again.text == config.text
    assert again.route.routes[0].key == config.route.routes[0].key
    assert again.time_intervals == config.time_intervals


@pytest.mark.parametrize(
    "text", [SECRETS, "{route: {receiver: a}, receivers: [{name: a}]}"], ids=["everything", "nearly nothing"]
)
def test_amtool_takes_the_text_that_is_shown(text: str, tmp_path: Path) -> None:
    amtool = shutil.which("amtool")
    if amtool is None:
        pytest.skip("amtool is not installed: apt-get install prometheus-alertmanager")
    file = tmp_path / "alertmanager.yml"
    classic = text.replace('"my.label"', "my_label")
    file.write_text(read(classic).text)
    judged = subprocess.run([amtool, "check-config", file], capture_output=True, check=False, timeout=30)
    assert judged.returncode == 0, judged.stdout.decode()


def test_the_seed_loads_as_it_stands_and_amtool_takes_what_is_shown(shared: Path, tmp_path: Path) -> None:
    config, warnings = load_alertmanager(shared / "seed" / "alertmanager.yml")
    assert warnings == []
    assert [each.name for each in config.receivers[1].integrations] == ["email[0]", "slack[0]"]
    assert [route.receiver for route in config.route.match({"severity": "critical"})] == ["critical-alerts"]
    assert read(config.text).text == config.text
    amtool = shutil.which("amtool")
    if amtool is None:
        pytest.skip("amtool is not installed: apt-get install prometheus-alertmanager")
    file = tmp_path / "alertmanager.yml"
    file.write_text(config.text)
    judged = subprocess.run([amtool, "check-config", file], capture_output=True, check=False, timeout=30)
    assert judged.returncode == 0, judged.stdout.decode()


def test_every_notifier_is_a_key_of_a_receiver() -> None:
    for key in NOTIFIERS:
        assert problems(f"{{route: {{receiver: a}}, receivers: [{{name: a, {key}: x}}]}}")[0].startswith(
            f"1: receivers[0].{key}: expected a list"
        )
