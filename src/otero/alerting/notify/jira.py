"""Jira: one issue for each group of alerts, found again by a label, moved when the group ends or fires again."""

from typing import Any, Literal

from msgspec import field
from msgspec.structs import force_setattr, replace

from otero.alerting.notify.global_config import Global
from otero.alerting.notify.settings import HttpUrl, ReceiverSettings, Settings, inherit
from otero.errors import BadField
from otero.fields import Duration

_SUMMARY = '{{ template "jira.default.summary" . }}'
_DESCRIPTION = '{{ template "jira.default.description" . }}'


class Text(Settings, frozen=True, kw_only=True):
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
    summary: str | Text = Text()
    description: str | Text = Text()
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


def _text(given: str | Text, usual: str) -> Text:
    if isinstance(given, str):
        return Text(template=given)
    return given if given.template is not None else replace(given, template=usual)


def complete(config: Config, global_: Global) -> Config:
    api_url = config.api_url or global_.jira_api_url
    if api_url is None:
        raise BadField("no Jira URL is set: set api_url here or jira_api_url in global")
    return replace(config, api_url=api_url, **inherit(config, global_.http_config))
