"""Which answers are worth another attempt, for each receiver, and what an error may not tell."""

import pytest

from otero.alerting.notify import pagerduty, pushover
from tests.alerting.notify.conftest import Receivers
from tests.alerting.notify.sink import Answer

SECRET = "t0ken-t0ken"

LOCAL = {
    "discord_configs": f"webhook_url: SINK/api/webhooks/1/{SECRET}",
    "incidentio_configs": f"{{url: SINK/v2/alert_events/http/1, alert_source_token: {SECRET}}}",
    "jira_configs": f"{{api_url: SINK/rest/api/2, project: P, issue_type: Bug, http_config: {{authorization: {{credentials: {SECRET}}}}}}}",
    "mattermost_configs": f"webhook_url: SINK/hooks/{SECRET}",
    "msteams_configs": f"webhook_url: SINK/{SECRET}",
    "msteamsv2_configs": f"webhook_url: SINK/{SECRET}",
    "opsgenie_configs": f"{{api_url: SINK, api_key: {SECRET}}}",
    "pagerduty_configs": f"{{url: SINK/v2/enqueue, routing_key: {SECRET}}}",
    "pushover_configs": f"{{user_key: {SECRET}-user, token: {SECRET}}}",
    "rocketchat_configs": f"{{api_url: SINK, token: {SECRET}, token_id: {SECRET}-user}}",
    "slack_configs": f"api_url: SINK/services/{SECRET}",
    "sns_configs": f"{{api_url: SINK, topic_arn: 'arn:t', sigv4: {{region: r, access_key: a, secret_key: {SECRET}}}}}",
    "telegram_configs": f"{{api_url: SINK, bot_token: {SECRET}, chat_id: 1}}",
    "victorops_configs": f"{{api_url: SINK, api_key: {SECRET}, routing_key: r}}",
    "webex_configs": f"{{api_url: SINK, room_id: r, http_config: {{authorization: {{credentials: {SECRET}}}}}}}",
    "webhook_configs": f"url: SINK/{SECRET}?token={SECRET}-query",
    "wechat_configs": f"{{api_url: SINK, api_secret: {SECRET}, corp_id: c}}",
}

ALSO_RETRIED = {
    "discord": {429}, "incidentio": {429}, "jira": {429}, "mattermost": {429}, "msteams": {429}, "msteamsv2": {429},
    "opsgenie": {429}, "pagerduty": {429}, "rocketchat": {429}, "slack": {429}, "sns": {429},
    "telegram": {400, 403, 404, 429}, "webex": {429}, "wechat": {400, 403, 404, 429},
}  # fmt: skip
"""Besides 5xx. Alertmanager's retriers (notify/*/), and 429 where the service documents it."""


@pytest.fixture(autouse=True)
def _fixed_addresses_lead_here(receivers: Receivers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushover, "URL", f"{receivers.sink.url}/1/messages.json")
    monkeypatch.setattr(pagerduty, "V1_URL", f"{receivers.sink.url}/generic/create_event.json")


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
@pytest.mark.parametrize("key", LOCAL)
async def test_what_is_worth_another_attempt(key: str, status: int, receivers: Receivers) -> None:
    error = await receivers.refused(key, LOCAL[key], Answer(status, "{}"))
    expected = status >= 500 or status in ALSO_RETRIED.get(key.removesuffix("_configs"), set())
    assert (error.status, error.retry) == (status, expected)


async def test_the_old_events_of_pagerduty_are_limited_by_403(receivers: Receivers) -> None:
    for status, retried in ((400, False), (403, True), (429, False), (500, True)):
        error = await receivers.refused("pagerduty_configs", "service_key: k", Answer(status))
        assert error.retry is retried


@pytest.mark.parametrize("key", LOCAL)
async def test_no_error_tells_a_secret(key: str, receivers: Receivers) -> None:
    def echo(request) -> Answer:  # pyright: ignore[reportMissingParameterType]
        told = f"{request.path} {dict(request.headers)} {request.body.decode()}".replace('"', "'")
        return Answer(
            500, f'{{"message": "{told}", "description": "{told}", "errmsg": "{told}"}}'.replace("\n", "")
        )

    receivers.sink.answer = echo
    error = await _error(receivers, key)
    assert SECRET not in error
    assert "500" in error
    await receivers.client.close()
    receivers.sink.url = "http://127.0.0.1:1"
    error = await _error(receivers, key, fixed="http://127.0.0.1:1/1/messages.json")
    assert SECRET not in error
    assert "connect 127.0.0.1:1: connection refused" in error


async def _error(receivers: Receivers, key: str, fixed: str = "") -> str:
    if fixed:
        pushover.URL = fixed
    try:
        await receivers.send(key, LOCAL[key])
    except Exception as error:
        return f"{type(error).__name__}: {error!r} {error}"
    raise AssertionError("nothing went wrong")


@pytest.mark.parametrize("key", LOCAL)
async def test_what_the_other_side_asks_for_is_passed_on(key: str, receivers: Receivers) -> None:
    body = '{"ok": false, "parameters": {"retry_after": 17}}'
    error = await receivers.refused(key, LOCAL[key], Answer(503, body, headers={"Retry-After": "17"}))
    assert error.retry_after_s == 17
