"""Amazon SNS: a message to a topic, a device or a telephone, with a signed request."""

from typing import Annotated

from msgspec import field
from msgspec.structs import replace

from otero.alerting.notify.global_config import Global
from otero.alerting.notify.settings import ReceiverSettings, Settings, inherit
from otero.errors import BadField
from otero.fields import Secret
from otero.source import Unserved


class SigV4(Settings, frozen=True, kw_only=True):
    """What requests are signed with. Without keys, those of `profile` or of the environment."""

    region: str = ""
    access_key: str = ""
    secret_key: Secret = Secret("")
    profile: str = ""
    role_arn: Annotated[str, Unserved("no role is assumed; requests are signed with the keys themselves")] = (
        ""
    )
    external_id: Annotated[str, Unserved("no role is assumed")] = ""
    service: str = ""
    use_fips_sts_endpoint: Annotated[bool, Unserved("no role is assumed")] = False

    def __post_init__(self) -> None:
        if bool(self.access_key) != bool(self.secret_key):
            raise BadField("access_key and secret_key belong together: set both or none")


class Config(ReceiverSettings, frozen=True, kw_only=True):
    """`sns_configs`. One of `topic_arn`, `target_arn` and `phone_number` says who gets the message."""

    send_resolved: bool = True
    api_url: str = ""
    sigv4: SigV4 = SigV4()
    topic_arn: str = ""
    phone_number: str = ""
    target_arn: str = ""
    subject: str = '{{ template "sns.default.subject" . }}'
    message: str = '{{ template "sns.default.message" . }}'
    attributes: dict[str, str] = field(default_factory=dict)
    use_aws_http_client: Annotated[bool, Unserved("there is one HTTP client")] = False

    def __post_init__(self) -> None:
        if sum(map(bool, (self.topic_arn, self.target_arn, self.phone_number))) != 1:
            raise BadField("exactly one of topic_arn, target_arn & phone_number must be configured")


def complete(config: Config, global_: Global) -> Config:
    return replace(config, **inherit(config, global_.http_config))
