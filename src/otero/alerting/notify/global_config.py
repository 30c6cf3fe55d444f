"""`global` of alertmanager.yml: what receivers take when they do not say it themselves."""

from otero.alerting.notify.settings import HostPort, HttpUrl, SecretUrl, Settings
from otero.errors import BadField
from otero.fields import Duration, FilePath, Secret
from otero.http_client import HttpClientConfig, TlsConfig, at_most_one


class Global(Settings, frozen=True, kw_only=True):
    """Settings and defaults as in Alertmanager's config.GlobalConfig."""

    resolve_timeout: Duration = Duration(300_000)
    http_config: HttpClientConfig = HttpClientConfig()
    jira_api_url: HttpUrl | None = None
    smtp_from: str = ""
    smtp_hello: str = "localhost"
    smtp_smarthost: HostPort = HostPort("")
    smtp_auth_username: str = ""
    smtp_auth_password: Secret = Secret("")
    smtp_auth_password_file: FilePath = FilePath("")
    smtp_auth_secret: Secret = Secret("")
    smtp_auth_secret_file: FilePath = FilePath("")
    smtp_auth_identity: str = ""
    smtp_require_tls: bool = True
    smtp_tls_config: TlsConfig = TlsConfig()
    smtp_force_implicit_tls: bool | None = None
    slack_api_url: SecretUrl | None = None
    slack_api_url_file: FilePath = FilePath("")
    slack_app_token: Secret = Secret("")
    slack_app_token_file: FilePath = FilePath("")
    slack_app_url: HttpUrl | None = HttpUrl("https://slack.com/api/chat.postMessage")
    pagerduty_url: HttpUrl | None = HttpUrl("https://events.pagerduty.com/v2/enqueue")
    opsgenie_api_url: HttpUrl | None = HttpUrl("https://api.opsgenie.com/")
    opsgenie_api_key: Secret = Secret("")
    opsgenie_api_key_file: FilePath = FilePath("")
    wechat_api_url: HttpUrl | None = HttpUrl("https://qyapi.weixin.qq.com/cgi-bin/")
    wechat_api_secret: Secret = Secret("")
    wechat_api_secret_file: FilePath = FilePath("")
    wechat_api_corp_id: str = ""
    victorops_api_url: HttpUrl | None = HttpUrl(
        "https://alert.victorops.com/integrations/generic/20131114/alert/"
    )
    victorops_api_key: Secret = Secret("")
    victorops_api_key_file: FilePath = FilePath("")
    telegram_api_url: HttpUrl | None = HttpUrl("https://api.telegram.org")
    telegram_bot_token: Secret = Secret("")
    telegram_bot_token_file: FilePath = FilePath("")
    webex_api_url: HttpUrl | None = HttpUrl("https://webexapis.com/v1/messages")
    rocketchat_api_url: HttpUrl | None = HttpUrl("https://open.rocket.chat/")
    rocketchat_token: Secret = Secret("")
    rocketchat_token_file: FilePath = FilePath("")
    rocketchat_token_id: Secret = Secret("")
    rocketchat_token_id_file: FilePath = FilePath("")
    mattermost_webhook_url: SecretUrl | None = None
    mattermost_webhook_url_file: FilePath = FilePath("")

    def __post_init__(self) -> None:
        for name in (
            "slack_app_token", "slack_api_url", "opsgenie_api_key", "victorops_api_key", "telegram_bot_token",
            "smtp_auth_password", "rocketchat_token", "rocketchat_token_id", "smtp_auth_secret",
            "wechat_api_secret", "mattermost_webhook_url",
        ):  # fmt: skip
            at_most_one(self, name, f"{name}_file")
        token = self.slack_app_token or self.slack_app_token_file
        if not token or not (self.slack_api_url or self.slack_api_url_file):
            return
        # The method's own address as slack_api_url is how bots were set up before there were tokens here.
        if self.slack_api_url is None or self.slack_api_url.reveal() != self.slack_app_url:
            raise BadField(
                "at most one of slack_app_token/slack_app_token_file & slack_api_url/slack_api_url_file "
                "must be configured",
                "slack_app_token" if self.slack_app_token else "slack_app_token_file",
            )
