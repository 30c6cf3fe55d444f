"""Amazon SNS and the signatures of its requests."""

import hashlib
from pathlib import Path

import pytest

from otero.alerting.notify.sigv4 import Keys, find_keys, find_region, sign
from tests.alerting.notify.conftest import Receivers
from tests.alerting.notify.sink import NOW_MS, Answer

KEYS = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwt"
    "hAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY"
    "9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
AT_MS = 1_440_938_160_000
"""2015-08-30T12:36:00Z"""


@pytest.mark.parametrize(
    ("method", "query", "headers", "body", "signature"),
    [
        ("GET", "", {}, "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "", {}, "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "GET", "?Param2=value2&Param1=value1", {}, "",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "POST", "", {"Content-Type": "application/x-www-form-urlencoded"}, "Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ],
)  # fmt: skip
def test_signatures_of_amazons_own_test_suite(
    method: str, query: str, headers: dict[str, str], body: str, signature: str
) -> None:
    """get-vanilla, post-vanilla, get-vanilla-query-order-key-case, post-x-www-form-urlencoded of aws-sig-v4-test-suite."""
    signed = sign(
        method, f"https://example.amazonaws.com/{query}", headers, body.encode(),
        keys=KEYS, region="us-east-1", service="service", now_ms=AT_MS,
    )  # fmt: skip
    assert signed["X-Amz-Date"] == "20150830T123600Z"
    assert signed["Authorization"].endswith(f"Signature={signature}")


def test_keys_for_a_time_sign_their_token_too() -> None:
    """post-sts-header-before of the same suite."""
    signed = sign(
        "POST", "https://example.amazonaws.com/", {}, b"",
        keys=Keys(KEYS.access_key, KEYS.secret_key, TOKEN), region="us-east-1", service="service", now_ms=AT_MS,
    )  # fmt: skip
    assert signed["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=host;x-amz-date;x-amz-security-token, "
        "Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
    )
    assert KEYS.secret_key not in repr(KEYS)


def test_where_keys_come_from(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    path.write_text(
        "[default]\naws_access_key_id = d\naws_secret_access_key = ds\n"
        "[team]\naws_access_key_id = t\naws_secret_access_key = ts%\naws_session_token = tt\n[half]\naws_access_key_id = h\n"
    )
    files = {"AWS_SHARED_CREDENTIALS_FILE": str(path)}
    keys = {"AWS_ACCESS_KEY_ID": "e", "AWS_SECRET_ACCESS_KEY": "es"}
    assert find_keys("", files) == Keys("d", "ds")
    assert find_keys("", files | {"AWS_PROFILE": "team"}) == Keys("t", "ts%", "tt")
    assert find_keys("", files | keys) == Keys("e", "es")
    assert find_keys("team", files | keys) == Keys("t", "ts%", "tt")
    assert find_keys("half", files) is None
    assert find_keys("other", files) is None
    path.write_text("no ini file")
    assert find_keys("", files) is None
    assert find_keys("", {"HOME": str(tmp_path)}) is None
    assert find_region({"AWS_DEFAULT_REGION": "b"}) == "b"
    assert find_region({"AWS_DEFAULT_REGION": "b", "AWS_REGION": "a"}) == "a"


SIGNED = "api_url: SINK, sigv4: {region: us-east-1, access_key: a, secret_key: b}"


async def test_a_message_to_a_topic_that_keeps_the_order(receivers: Receivers) -> None:
    """https://docs.aws.amazon.com/sns/latest/api/API_Publish.html"""
    config = f"{{{SIGNED}, topic_arn: 'arn:aws:sns:us-east-1:1:{{{{ .Status }}}}.fifo', subject: s, message: m, attributes: {{b: '{{{{ .Status }}}}', a: '1'}}}}"
    (request,) = await receivers.send("sns_configs", config)
    group = hashlib.sha256(b'{}:{alertname="A"}').hexdigest()
    assert request.form == {
        "Action": "Publish", "Version": "2010-03-31", "Message": "m", "Subject": "s",
        "TopicArn": "arn:aws:sns:us-east-1:1:firing.fifo", "MessageDeduplicationId": group, "MessageGroupId": group,
        "MessageAttributes.entry.1.Name": "a", "MessageAttributes.entry.1.Value.DataType": "String",
        "MessageAttributes.entry.1.Value.StringValue": "1", "MessageAttributes.entry.2.Name": "b",
        "MessageAttributes.entry.2.Value.DataType": "String", "MessageAttributes.entry.2.Value.StringValue": "firing",
    }  # fmt: skip
    headers = {"Content-Type": request.headers["Content-Type"]}
    expected = sign(
        "POST", f"{receivers.sink.url}/", headers, request.body,
        keys=Keys("a", "b"), region="us-east-1", service="sns", now_ms=NOW_MS,
    )  # fmt: skip
    assert request.headers["Authorization"] == expected["Authorization"]
    assert request.headers["X-Amz-Date"] == "20261122T120301Z"


@pytest.mark.parametrize(
    ("target", "length"), [("phone_number: '+4912345'", 1600), ("target_arn: 'arn:x'", 256 * 1024)]
)
async def test_long_messages_are_cut(target: str, length: int, receivers: Receivers) -> None:
    config = f"{{{SIGNED}, {target}, message: '{'é' * (length // 2)}x'}}"
    (request,) = await receivers.send("sns_configs", config)
    assert len(request.form["Message"].encode()) == length
    assert request.form["MessageAttributes.entry.1.Name"] == "truncated"


async def test_keys_and_region_of_the_environment(
    receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    config = "{api_url: SINK, topic_arn: 'arn:t'}"
    error = await receivers.refused("sns_configs", config, Answer())
    assert "no region is set" in str(error)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    error = await receivers.refused("sns_configs", config, Answer())
    assert "no keys to sign with" in str(error)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "envkey")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "envsecret")
    (request,) = await receivers.send("sns_configs", config)
    assert "Credential=envkey/20261122/eu-west-1/sns/aws4_request" in request.headers["Authorization"]


async def test_sns_says_what_is_wrong(receivers: Receivers) -> None:
    body = "<ErrorResponse><Error><Type>Sender</Type><Code>NotFound</Code><Message>Topic is gone</Message></Error></ErrorResponse>"
    error = await receivers.refused(
        "sns_configs", f"{{{SIGNED}, topic_arn: t}}", Answer(404, body, "text/xml")
    )
    assert (error.retry, str(error).endswith(": NotFound: Topic is gone")) == (False, True)
