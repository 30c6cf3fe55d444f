"""Jira: one issue for each group of alerts, found again by a label, moved when the group ends or fires again."""

import json
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import field
from msgspec.structs import force_setattr, replace

from otero.alerting.notification import DeliveryError, Notification
from otero.alerting.notify.client import TOO_MANY_REQUESTS, Client
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.limits import truncate
from otero.alerting.notify.payload import encode, filled_in, group_hash
from otero.alerting.notify.settings import HttpUrl, ReceiverSettings, Settings, inherit
from otero.alerting.template import Text
from otero.errors import BadField
from otero.fields import Duration

T = TypeVar("T")

_SUMMARY = '{{ template "jira.default.summary" . }}'
_DESCRIPTION = '{{ template "jira.default.description" . }}'
_MAX_SUMMARY, _MAX_DESCRIPTION = 255, 32_767


class IssueText(Settings, frozen=True, kw_only=True):
    """A field of the issue, and whether it is written again when the issue exists. No template means the usual one."""

    template: str | None = None
    enable_update: bool = True


class Labels(Settings, frozen=True, kw_only=True):
    values: list[str] = field(default_factory=list)
    enable_update: bool = True


class Config(ReceiverSettings, frozen=True, kw_only=True):
    """`jira_configs`. `summary`, `description` and `labels` may be written without `enable_update`, as plain values;
    here they always are Structs."""

    send_resolved: bool = True
    api_url: HttpUrl | None = None
    api_type: Literal["auto", "cloud", "datacenter"] = "auto"
    project: str = ""
    summary: str | IssueText = IssueText()
    description: str | IssueText = IssueText()
    labels: list[str] | Labels = Labels()
    priority: str = '{{ template "jira.default.priority" . }}'
    issue_type: str = ""
    reopen_transition: str = ""
    resolve_transition: str = ""
    wont_fix_resolution: str = ""
    reopen_duration: Duration = Duration(0)
    fields: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.project:
            raise BadField("missing project", "project")
        if not self.issue_type:
            raise BadField("missing issue_type", "issue_type")
        force_setattr(self, "summary", _text(self.summary, _SUMMARY))
        force_setattr(self, "description", _text(self.description, _DESCRIPTION))
        if isinstance(self.labels, list):
            force_setattr(self, "labels", Labels(values=self.labels))


def _text(given: str | IssueText, usual: str) -> IssueText:
    if isinstance(given, str):
        return IssueText(template=given)
    return given if given.template is not None else replace(given, template=usual)


def complete(config: Config, global_: Global) -> Config:
    api_url = config.api_url or global_.jira_api_url
    if api_url is None:
        raise BadField("no Jira URL is set: set api_url here or jira_api_url in global")
    return replace(config, api_url=api_url, **inherit(config, global_.http_config))


class _Named(msgspec.Struct):
    id: str = ""
    name: str = ""


class _Category(msgspec.Struct):
    key: str = ""


class _Status(msgspec.Struct):
    status_category: _Category = msgspec.field(default_factory=_Category, name="statusCategory")


class _Fields(msgspec.Struct):
    status: _Status | None = None


class _Issue(msgspec.Struct):
    key: str = ""
    fields: _Fields | None = None

    @property
    def is_done(self) -> bool | None:
        """None where Jira did not say."""
        if self.fields is None or self.fields.status is None:
            return None
        return self.fields.status.status_category.key == "done"


class _Found(msgspec.Struct):
    issues: list[_Issue] = field(default_factory=list)


class _Transitions(msgspec.Struct):
    transitions: list[_Named] = field(default_factory=list)


async def send(config: Config, notification: Notification, text: Text, client: Client) -> None:
    """Looks for the issue of the group, creates or updates it, and moves it. 429 and 5xx are retried.

    A group that ended before there was an issue for it gets none.
    """
    jira = _Jira(config, client)
    group = group_hash(notification)
    firing = notification.status == "firing"
    project = text.text(config.project)
    issue = await jira.find(project, group, firing=firing)
    if issue is None:
        if firing:
            await jira.call("POST", jira.url("issue"), {"fields": _fields(config, project, group, text)})
        return
    path = f"issue/{quote(issue.key, safe='')}"
    fields = _fields(config, project, group, text)
    for name in ("summary", "description", "labels"):
        if not getattr(config, name).enable_update:
            fields.pop(name, None)
    await jira.call("PUT", jira.url(path), {"fields": fields})
    if issue.is_done is firing:
        name = config.reopen_transition if firing else config.resolve_transition
        transitions = await jira.call("GET", jira.url(f"{path}/transitions"), None, _Transitions)
        found = next((item for item in transitions.transitions if item.name == name), None)
        if found is None:
            raise DeliveryError(f'the issue {issue.key} has no transition "{name}"', retry=False)
        await jira.call("POST", jira.url(f"{path}/transitions"), {"transition": {"id": found.id}})


class _Jira:
    def __init__(self, config: Config, client: Client) -> None:
        self._config = config
        self._client = client
        self._api = config.api_url or HttpUrl("")

    def url(self, path: str) -> HttpUrl:
        return self._api.below(path)

    async def find(self, project: str, group: str, *, firing: bool) -> _Issue | None:
        """The open issue of a group; for one that fires also an issue resolved so lately that it may be opened again."""
        config = self._config
        terms: list[str] = []
        if config.wont_fix_resolution:
            terms.append(f"resolution != {_quoted(config.wont_fix_resolution)}")
        minutes = config.reopen_duration // 60_000
        if firing and config.reopen_transition and minutes > 0:
            terms.append(f"(resolutiondate is EMPTY OR resolutiondate >= -{minutes}m)")
        else:
            terms.append("statusCategory != Done")
        terms.append(f"project={_quoted(project)}")
        terms.append(f"labels={_quoted(_label(group))} order by status ASC,resolutiondate DESC")
        search = {"fields": ["status"], "jql": " and ".join(terms), "maxResults": 2}
        found = await self.call("POST", self._search_url(), search, _Found)
        return found.issues[0] if found.issues else None

    def _search_url(self) -> str:
        """Jira Cloud has another search than Jira Data Center: https://developer.atlassian.com/changelog/#CHANGE-2046."""
        host = self._api.parts.hostname or ""
        is_cloud = self._config.api_type == "cloud" or (
            self._config.api_type == "auto" and host.endswith("atlassian.net")
        )
        if is_cloud:
            return self.url("search/jql").replace("/rest/api/2/", "/rest/api/3/", 1)
        return self.url("search")

    async def call(self, method: str, url: str, body: Any, type_: type[T] = msgspec.Raw) -> T:
        response = await self._client.request(
            self._config.http,
            method,
            url,
            body=None if body is None else encode(body),
            headers={"Content-Type": "application/json", "Accept-Language": "en"},
            retry_on=(TOO_MANY_REQUESTS,),
        )
        try:
            return msgspec.json.decode(response.body or b"null", type=type_)
        except msgspec.DecodeError:
            raise DeliveryError(f"Jira's answer to {method} is not the JSON expected", retry=False) from None


def _fields(config: Config, project: str, group: str, text: Text) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "project": {"key": project},
        "issuetype": {"name": text.text(config.issue_type)},
        "summary": truncate(text.text(_template(config.summary)), _MAX_SUMMARY),
        "labels": sorted([*(text.text(label) for label in _labels(config.labels)), _label(group)]),
    }
    description = truncate(text.text(_template(config.description)), _MAX_DESCRIPTION)
    if (config.api_url or "").partition("?")[0].rstrip("/").endswith("/3"):
        description = _document(description.strip())
    if description:
        fields["description"] = description
    if priority := text.text(config.priority):
        fields["priority"] = {"name": priority}
    return fields | {name: filled_in(value, text) for name, value in config.fields.items()}


def _document(description: str) -> Any:
    """Version 3 of Jira's API takes a document as JSON, which a template has to write:
    https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/."""
    if not description:
        return None
    try:
        return json.loads(description)
    except ValueError:
        raise DeliveryError(
            "version 3 of Jira's API takes a description as JSON of its document format; the template makes none (use "
            "…/rest/api/2 in api_url for plain text)",
            retry=False,
        ) from None


def _template(field_: str | IssueText) -> str:
    return field_ if isinstance(field_, str) else field_.template or ""


def _labels(labels: list[str] | Labels) -> list[str]:
    return labels if isinstance(labels, list) else labels.values


def _label(group: str) -> str:
    return f"ALERT{{{group}}}"


def _quoted(text: str) -> str:
    """As a text of JQL."""
    return json.dumps(text, ensure_ascii=False)
