"""Amazon SNS: a message to a topic, a device or a telephone, with a signed request."""

import os
import re
from typing import Annotated
from urllib.parse import urlencode

from msgspec import field
from msgspec.structs import replace

from otero.alerting.notification import DeliveryError, Notification
from otero.alerting.notify.client import TOO_MANY_REQUESTS, Client, excerpt
from otero.alerting.notify.global_config import Global
from otero.alerting.notify.payload import group_hash
from otero.alerting.notify.settings import ReceiverSettings, Settings, inherit
from otero.alerting.notify.sigv4 import Keys, find_keys, find_region, sign
from otero.alerting.template import Text
from otero.errors import BadField
from otero.fields import Secret
from otero.http_client import HttpResponse
from otero.source import Unserved

_MAX_BYTES, _MAX_SMS_BYTES = 256 * 1024, 1600
_FORM = "application/x-www-form-urlencoded; charset=utf-8"


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


async def send(config: Config, notification: Notification, text: Text, client: Client) -> None:
    """POST of the action Publish; 5xx and throttling are retried."""
    signature = config.sigv4
    region = signature.region or find_region(os.environ)
    if not region:
        raise DeliveryError(
            "no region is set: set sigv4.region, or AWS_REGION in the environment", retry=True
        )
    if signature.access_key:
        keys = Keys(signature.access_key, signature.secret_key.reveal())
    elif (found := find_keys(signature.profile, os.environ)) is not None:
        keys = found
    else:
        raise DeliveryError(
            "no keys to sign with: set sigv4.access_key and sigv4.secret_key, or give them by the environment or a "
            "profile of the shared credentials file",
            retry=True,
        )
    url = _endpoint(text.text(config.api_url), region)
    body = urlencode(sorted(_publication(config, notification, text).items())).encode()
    headers = sign(
        "POST",
        url,
        {"Content-Type": _FORM},
        body,
        keys=keys,
        region=region,
        service=signature.service or "sns",
        now_ms=client.clock.now_ms(),
    )
    await client.post(
        config.http,
        url,
        body,
        content_type=_FORM,
        headers=headers,
        retry_on=(TOO_MANY_REQUESTS,),
        details=_details,
        secrets=(keys.secret_key, keys.token),
    )


def _endpoint(api_url: str, region: str) -> str:
    if not api_url:
        domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        return f"https://sns.{region}.{domain}/"
    url = api_url if "://" in api_url else f"https://{api_url}"
    return f"{url.rstrip('/')}/"


def _publication(config: Config, notification: Notification, text: Text) -> dict[str, str]:
    """The parameters of Publish: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html."""
    message = text.text(config.message)
    limit = _MAX_SMS_BYTES if config.phone_number else _MAX_BYTES
    cut = message.encode()[:limit].decode("utf-8", "ignore")
    attributes = {text.text(name): text.text(value) for name, value in config.attributes.items()}
    if cut != message:
        attributes["truncated"] = "true"
    parameters = {"Action": "Publish", "Version": "2010-03-31", "Message": cut}
    for name, template in (
        ("TopicArn", config.topic_arn),
        ("TargetArn", config.target_arn),
        ("PhoneNumber", config.phone_number),
        ("Subject", config.subject),
    ):
        if template:
            parameters[name] = text.text(template)
    if parameters.get("TopicArn", "").endswith(".fifo"):
        parameters["MessageDeduplicationId"] = parameters["MessageGroupId"] = group_hash(notification)
    if not attributes:
        parameters["MessageAttributes"] = ""
    for number, (name, value) in enumerate(sorted(attributes.items()), 1):
        entry = f"MessageAttributes.entry.{number}"
        parameters |= {
            f"{entry}.Name": name,
            f"{entry}.Value.DataType": "String",
            f"{entry}.Value.StringValue": value,
        }
    return parameters


def _details(response: HttpResponse) -> str:
    """Code and message of the XML of an error."""
    text = excerpt(response)
    found = [re.search(rf"<{name}>(.*?)</{name}>", text) for name in ("Code", "Message")]
    return ": ".join(match[1] for match in found if match is not None) or text
