"""Who is logged in: in this process, or in Redis when there is one."""

import secrets
import threading
from collections import OrderedDict
from importlib import import_module
from typing import Any, Final, Protocol

LIFETIME_S: Final = 900
_MAX_SESSIONS: Final = 10_000


class Sessions(Protocol):
    """Sessions by their token."""

    def open(self, user: str) -> str: ...

    def user(self, token: str) -> str | None: ...

    def close(self, token: str) -> bool: ...


class LocalSessions:
    """The latest sessions, in memory."""

    def __init__(self) -> None:
        self._users: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, user: str) -> str:
        token = secrets.token_hex(16)
        with self._lock:
            self._users[token] = user
            if len(self._users) > _MAX_SESSIONS:
                self._users.popitem(last=False)
        return token

    def user(self, token: str) -> str | None:
        return self._users.get(token)

    def close(self, token: str) -> bool:
        with self._lock:
            return self._users.pop(token, None) is not None


class RedisSessions:
    """Sessions in Redis, which forgets them after a quarter of an hour."""

    def __init__(self, url: str) -> None:
        self.client: Any = import_module("redis").Redis.from_url(
            url, socket_timeout=2, socket_connect_timeout=2, decode_responses=True
        )

    def open(self, user: str) -> str:
        token = secrets.token_hex(16)
        self.client.set(_key(token), user, ex=LIFETIME_S)
        return token

    def user(self, token: str) -> str | None:
        return self.client.get(_key(token))

    def close(self, token: str) -> bool:
        return bool(self.client.delete(_key(token)))


def _key(token: str) -> str:
    return f"otero-demo:session:{token}"
