"""Jira: a small Jira that knows one issue."""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from otero.alerting.notification import DeliveryError
from tests.alerting.notify.conftest import Receivers
from tests.alerting.notify.sink import NOW_MS, Answer, Request, alert, notification

ENDED = notification(alert(ends_ms=NOW_MS))
LABEL = "ALERT{" + hashlib.sha256(b'{}:{alertname="A"}').hexdigest() + "}"
CONFIG = "api_url: SINK/rest/api/2, project: OPS, issue_type: Bug, resolve_transition: Done, reopen_transition: Reopen"


@dataclass
class Jira:
    """`category` of the status of its issue: `new`, `done`, or nothing when there is none."""

    category: str = ""

    def __call__(self, request: Request) -> Answer:
        match request.method, request.path.partition("/rest/api/")[2][2:]:
            case "POST", "search" | "search/jql":
                status = {"name": "s", "statusCategory": {"key": self.category}}
                issues = [{"key": "OPS-1", "fields": {"status": status}}] if self.category else []
                return _json({"issues": issues})
            case "POST", "issue":
                return _json({"key": "OPS-1"}, 201)
            case "GET", "issue/OPS-1/transitions":
                return _json({"transitions": [{"id": "31", "name": "Done"}, {"id": "41", "name": "Reopen"}]})
            case _:
                return Answer(204)


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(status, orjson.dumps(value).decode())


async def test_an_issue_is_created(receivers: Receivers) -> None:
    receivers.sink.answer = Jira()
    config = f"{{{CONFIG}, summary: '{'s' * 256}', description: d, labels: [z, '{{{{ .Status }}}}'], priority: High, fields: {{customfield_1: {{value: '{{{{ .Status }}}}'}}, points: '{{{{ .Alerts | len }}}}'}}}}"
    search, create = await receivers.send("jira_configs", config)
    assert (search.method, search.path, search.headers["Accept-Language"]) == (
        "POST",
        "/rest/api/2/search",
        "en",
    )
    assert search.json == {
        "fields": ["status"],
        "jql": f'statusCategory != Done and project="OPS" and labels="{LABEL}" order by status ASC,resolutiondate DESC',
        "maxResults": 2,
    }
    assert (create.method, create.path) == ("POST", "/rest/api/2/issue")
    assert create.json == {
        "fields": {
            "project": {"key": "OPS"},
            "issuetype": {"name": "Bug"},
            "summary": "s" * 254 + "…",
            "description": "d",
            "labels": [LABEL, "firing", "z"],
            "priority": {"name": "High"},
            "customfield_1": {"value": "firing"},
            "points": 1,
        }
    }


async def test_what_ended_without_an_issue_gets_none(receivers: Receivers) -> None:
    receivers.sink.answer = Jira()
    (search,) = await receivers.send("jira_configs", f"{{{CONFIG}}}", ENDED)
    assert search.path == "/rest/api/2/search"


async def test_an_issue_is_updated_and_resolved(receivers: Receivers) -> None:
    receivers.sink.answer = Jira("new")
    _, update = await receivers.send("jira_configs", f"{{{CONFIG}}}")
    assert (update.method, update.path) == ("PUT", "/rest/api/2/issue/OPS-1")
    _, _, look, move = await receivers.send("jira_configs", f"{{{CONFIG}}}", ENDED)
    assert (look.method, look.path) == ("GET", "/rest/api/2/issue/OPS-1/transitions")
    assert (move.method, move.json) == ("POST", {"transition": {"id": "31"}})


async def test_an_issue_is_opened_again(receivers: Receivers) -> None:
    receivers.sink.answer = Jira("done")
    config = f'{{{CONFIG}, reopen_duration: 1h, wont_fix_resolution: "won\'t do"}}'
    search, _, _, move = await receivers.send("jira_configs", config)
    assert search.json["jql"].startswith(
        'resolution != "won\'t do" and (resolutiondate is EMPTY OR resolutiondate >= -60m) and project="OPS"'
    )
    assert move.json == {"transition": {"id": "41"}}


async def test_fields_that_are_not_updated(receivers: Receivers) -> None:
    receivers.sink.answer = Jira("new")
    off = "{enable_update: false}"
    _, update = await receivers.send(
        "jira_configs", f"{{{CONFIG}, summary: {off}, description: {off}, labels: {off}}}"
    )
    assert update.json["fields"].keys() & {"summary", "description", "labels"} == set()
    receivers.sink.answer = Jira()
    _, create = await receivers.send("jira_configs", f"{{{CONFIG}, summary: {off}}}")
    assert create.json["fields"]["summary"]


async def test_a_transition_that_there_is_not(receivers: Receivers) -> None:
    receivers.sink.answer = Jira("new")
    error = await _refused(receivers, f"{{{CONFIG.replace('Done', 'Vanish')}}}")
    assert error == 'the issue OPS-1 has no transition "Vanish"'


@pytest.mark.parametrize(
    ("api_url", "api_type", "path"),
    [
        ("SINK/rest/api/2", "auto", "/rest/api/2/search"),
        ("SINK/rest/api/2/", "datacenter", "/rest/api/2/search"),
        ("SINK/rest/api/2", "cloud", "/rest/api/3/search/jql"),
        ("SINK/rest/api/3", "cloud", "/rest/api/3/search/jql"),
    ],
)
async def test_where_issues_are_searched(
    api_url: str, api_type: str, path: str, receivers: Receivers
) -> None:
    receivers.sink.answer = Jira()
    config = CONFIG.replace("SINK/rest/api/2", api_url)
    (search,) = await receivers.send("jira_configs", f"{{{config}, api_type: {api_type}}}", ENDED)
    assert search.path == path


async def test_version_3_takes_documents(receivers: Receivers) -> None:
    receivers.sink.answer = Jira()
    config = CONFIG.replace("api/2", "api/3")
    _, create = await receivers.send("jira_configs", f'{{{config}, description: \' {{"type": "doc"}} \'}}')
    assert create.json["fields"]["description"] == {"type": "doc"}
    assert "takes a description as JSON" in await _refused(
        receivers, f"{{{config}, description: plain}}", firing=True
    )


async def _refused(receivers: Receivers, config: str, *, firing: bool = False) -> str:

    with pytest.raises(DeliveryError) as caught:
        await receivers.send("jira_configs", config, None if firing else ENDED)
    assert not caught.value.retry
    return str(caught.value)
