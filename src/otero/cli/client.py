"""How commands ask a running server."""

import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

from otero.errors import BadInput, NotFound, OteroError, TimedOut, Unavailable

DEFAULT_URL = "http://127.0.0.1:9090"
_MAX_BODY = 1 << 30


class Client:
    """A server by its base URL: `--url`, else $OTERO_URL, else the default port on this machine."""

    def __init__(self, url: str | None = None, token: str | None = None, timeout_s: float = 130.0) -> None:
        self.url = (url or os.environ.get("OTERO_URL") or DEFAULT_URL).rstrip("/")
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise BadInput(f"--url must begin with http:// or https://, not {self.url!r}")
        self._token = token or os.environ.get("OTERO_TOKEN")
        self._timeout_s = timeout_s

    def prometheus(self, path: str, params: Mapping[str, str]) -> dict[str, Any]:
        """The envelope that a path of the Prometheus API answers to this form; its errors are raised."""
        return self._ask("POST", path, urlencode(params).encode(), "application/x-www-form-urlencoded")

    def get(self, path: str) -> Any:
        """What a path of the native API answers."""
        return self._ask("GET", path, None, None)

    def post(self, path: str, body: Any) -> Any:
        """What a path of the native API answers to this JSON."""
        return self._ask("POST", path, json.dumps(body).encode(), "application/json")

    def _ask(self, method: str, path: str, body: bytes | None, content_type: str | None) -> Any:
        headers = {"Accept": "application/json"}
        if content_type:
            headers["Content-Type"] = content_type
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = Request(self.url + path, body, headers, method=method)  # noqa: S310 — scheme checked above
        try:
            with urlopen(request, timeout=self._timeout_s) as response:  # noqa: S310
                return json.loads(response.read(_MAX_BODY))
        except HTTPError as error:
            with error:
                raise _told(error.code, error.read(1 << 20)) from None
        except TimeoutError:
            raise TimedOut(f"{self.url} did not answer within {self._timeout_s:g} s") from None
        except URLError as error:
            raise Unavailable(
                f"cannot reach {self.url}: {error.reason}; is `otero serve` running there? (--url or $OTERO_URL names another)"
            ) from None
        except OSError as error:
            raise Unavailable(f"{self.url} broke the connection off: {error}") from None
        except ValueError:
            raise OteroError(f"{self.url}{path} did not answer with JSON; is it an Otero?") from None


def _told(code: int, body: bytes) -> OteroError:
    try:
        fields = json.loads(body)
        text = fields.get("error") or fields.get("detail") or ""
    except (ValueError, AttributeError):
        text = body.decode("utf-8", "replace").strip().splitlines()[0] if body.strip() else ""
    text = text or f"the server answered {code}"
    if code == 401:
        return BadInput("the server wants credentials: give --token or set $OTERO_TOKEN")
    if code == 404:
        return NotFound(text)
    return Unavailable(text) if code in (429, 503) else BadInput(text)
