"""Carries the correlation id along: calls of requests, httpx and aiohttp, messages of Celery,
threads, thread pools and greenlets.

A library is touched when the application imports it. Calling `install` again changes nothing.
"""

import concurrent.futures
import contextvars
import functools
import threading
from collections.abc import Callable, MutableMapping
from types import ModuleType
from typing import Any

from otero_sdk.correlation import HEADER, current, with_baggage
from otero_sdk.imports import when_imported


def install() -> None:
    """Instrument what can carry an id, present libraries and those imported later."""
    _replace(threading.Thread, "start", _start_with_id)
    _replace(concurrent.futures.ThreadPoolExecutor, "submit", _submit_with_id)
    when_imported("requests.sessions", lambda module: _replace(module.Session, "send", _send_with_header))
    when_imported("httpx", _instrument_httpx)
    when_imported(
        "aiohttp.client", lambda module: _replace(module.ClientSession, "_request", _request_with_header)
    )
    when_imported("celery.signals", _instrument_celery)
    when_imported("gevent", lambda module: _replace(module, "spawn", _spawn_in_context))
    when_imported("gevent.pool", lambda module: _replace(module.Group, "spawn", _spawn_of_group_in_context))


def add_headers(headers: MutableMapping[str, str]) -> None:
    """Name the current id in headers that do not name one."""
    correlation_id = current.get()
    if correlation_id is None:
        return
    if HEADER not in headers:
        headers[HEADER] = correlation_id
    headers["baggage"] = with_baggage(headers.get("baggage"), headers[HEADER])


def _replace(owner: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = getattr(owner, name)
    if not hasattr(original, "__otero_sdk__"):
        wrapped = functools.wraps(original)(wrap(original))
        wrapped.__otero_sdk__ = True  # type: ignore[attr-defined]
        setattr(owner, name, wrapped)


def _under(correlation_id: str, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    token = current.set(correlation_id)
    try:
        return call(*args, **kwargs)
    finally:
        current.reset(token)


def _start_with_id(start: Callable[..., Any]) -> Callable[..., Any]:
    def start_thread(self: threading.Thread) -> None:
        correlation_id = current.get()
        if correlation_id is not None:
            self.run = functools.partial(_under, correlation_id, self.run)
        start(self)

    return start_thread


def _submit_with_id(submit: Callable[..., Any]) -> Callable[..., Any]:
    def submit_call(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        correlation_id = current.get()
        # Always under the id of the submitter, as the pool's threads keep the one under which they were started.
        token_bearer = functools.partial(_under, correlation_id) if correlation_id is not None else _without
        return submit(self, token_bearer, fn, *args, **kwargs)

    return submit_call


def _spawn_in_context(spawn: Callable[..., Any]) -> Callable[..., Any]:
    # A greenlet begins with an empty context, where a task has a copy of its maker's: trace and id.
    def spawn_greenlet(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return spawn(contextvars.copy_context().run, function, *args, **kwargs)

    return spawn_greenlet


def _spawn_of_group_in_context(spawn: Callable[..., Any]) -> Callable[..., Any]:
    def spawn_greenlet(self: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return spawn(self, contextvars.copy_context().run, function, *args, **kwargs)

    return spawn_greenlet


def _without(call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    if current.get() is None:
        return call(*args, **kwargs)
    token = current.set(None)
    try:
        return call(*args, **kwargs)
    finally:
        current.reset(token)


def _send_with_header(send: Callable[..., Any]) -> Callable[..., Any]:
    def send_request(self: Any, request: Any, **kwargs: Any) -> Any:
        add_headers(request.headers)
        return send(self, request, **kwargs)

    return send_request


def _instrument_httpx(module: ModuleType) -> None:
    def send_wrapper(send: Callable[..., Any]) -> Callable[..., Any]:
        def send_request(self: Any, request: Any, **kwargs: Any) -> Any:
            add_headers(request.headers)
            return send(self, request, **kwargs)

        return send_request

    _replace(module.Client, "send", send_wrapper)
    _replace(module.AsyncClient, "send", send_wrapper)


def _request_with_header(request: Callable[..., Any]) -> Callable[..., Any]:
    async def send_request(self: Any, method: str, url: Any, **kwargs: Any) -> Any:
        if current.get() is not None:
            from multidict import CIMultiDict  # comes with aiohttp

            headers: Any = CIMultiDict(kwargs.get("headers") or ())
            add_headers(headers)
            kwargs["headers"] = headers
        return await request(self, method, url, **kwargs)

    return send_request


def _instrument_celery(signals: ModuleType) -> None:
    signals.before_task_publish.connect(_publishing, weak=False, dispatch_uid="otero_sdk.correlation")


def _publishing(headers: Any = None, **_: Any) -> None:
    # Protocol 2 keeps headers apart from the body; they become attributes of the task's request.
    if isinstance(headers, dict) and (correlation_id := current.get()) is not None:
        headers.setdefault(HEADER, correlation_id)
