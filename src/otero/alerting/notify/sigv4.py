"""Signatures of requests to Amazon Web Services, version 4, and where the keys for them come from.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. Written here because one kind of
request needs it, which an SDK of some twenty megabytes would be much for; Amazon's own test vectors say whether it is right.
"""

import configparser
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Keys:
    """What a request is signed with; `token` belongs to keys that are valid for a time only."""

    access_key: str
    secret_key: str
    token: str = ""

    def __repr__(self) -> str:
        return f"Keys({self.access_key!r}, <secret>)"


def find_keys(profile: str, environ: Mapping[str, str]) -> Keys | None:
    """Keys of a profile of the shared credentials file; without one those of the environment, then of `default`."""
    if (
        not profile
        and (access := environ.get("AWS_ACCESS_KEY_ID"))
        and (secret := environ.get("AWS_SECRET_ACCESS_KEY"))
    ):
        return Keys(access, secret, environ.get("AWS_SESSION_TOKEN", ""))
    path = Path(
        environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path(environ.get("HOME", "/")) / ".aws" / "credentials"
    )
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path)
    except (configparser.Error, OSError, UnicodeDecodeError):
        return None
    name = profile or environ.get("AWS_PROFILE") or "default"
    if not parser.has_section(name):
        return None
    section = parser[name]
    access, secret = section.get("aws_access_key_id", ""), section.get("aws_secret_access_key", "")
    return Keys(access, secret, section.get("aws_session_token", "")) if access and secret else None


def find_region(environ: Mapping[str, str]) -> str:
    """The region of the environment, or nothing."""
    return environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or ""


def sign(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    keys: Keys,
    region: str,
    service: str,
    now_ms: int,
) -> dict[str, str]:
    """The headers to send: those given and X-Amz-Date, X-Amz-Security-Token where there is one, Authorization.

    All given headers are signed, and `host` as it stands in the URL.
    """
    time = datetime.fromtimestamp(now_ms // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    sent = {**headers, "X-Amz-Date": time}
    if keys.token:
        sent["X-Amz-Security-Token"] = keys.token
    parts = urlsplit(url)
    signed = {name.lower(): " ".join(value.split()) for name, value in {**sent, "host": parts.netloc}.items()}
    names = ";".join(sorted(signed))
    query = sorted(
        (_encoded(name), _encoded(value)) for name, value in parse_qsl(parts.query, keep_blank_values=True)
    )
    canonical = "\n".join(
        (
            method,
            quote(parts.path or "/", safe="/-_.~%"),
            "&".join(f"{name}={value}" for name, value in query),
            "".join(f"{name}:{signed[name]}\n" for name in sorted(signed)),
            names,
            hashlib.sha256(body).hexdigest(),
        )
    )
    scope = f"{time[:8]}/{region}/{service}/aws4_request"
    to_sign = "\n".join((_ALGORITHM, time, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{keys.secret_key}".encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    credential = f"Credential={keys.access_key}/{scope}"
    sent["Authorization"] = f"{_ALGORITHM} {credential}, SignedHeaders={names}, Signature={key.hex()}"
    return sent


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~")
