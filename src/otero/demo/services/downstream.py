"""Calls of one service to another."""

from typing import Any, Final

import requests
from flask import Response, jsonify

TIMEOUT_S: Final = 5.0


class Downstream:
    """Another service. The SDK carries trace and correlation id along."""

    def __init__(self, name: str, url: str) -> None:
        self._name = name
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between the services

    def call(
        self, method: str, path: str, *, body: Any = None, params: Any = None, headers: Any = None
    ) -> Response:
        """Its answer, handed on: what it cannot do is a 502 or 504 of ours, the reason in the body."""
        try:
            answer = self._session.request(
                method, self._url + path, json=body, params=params, headers=headers, timeout=TIMEOUT_S
            )
        except requests.Timeout:
            return failed(504, f"{self._name} did not answer within {TIMEOUT_S:g} s")
        except requests.ConnectionError:
            return failed(502, f"{self._name} cannot be reached")
        if answer.status_code >= 500:
            return failed(502, f"{self._name} answered {answer.status_code}")
        return Response(answer.content, answer.status_code, content_type=answer.headers.get("Content-Type"))


def failed(status: int, error: str) -> Response:
    """An answer that says what went wrong."""
    response = jsonify(error=error)
    response.status_code = status
    return response
