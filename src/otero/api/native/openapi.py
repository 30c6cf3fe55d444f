"""The native API as a table of endpoints, and the OpenAPI 3.1 description that follows from it."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from otero import __version__
from otero.api.native.schema import Problem

Handler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class Endpoint:
    """One operation: `handler(body, path parameters)` takes and returns the declared messages.

    With `query`, a Struct of parameters, and with `is_query`, for work that ends when the client hangs up, the request
    is the third argument. `max_bytes` is the most that a body may have.
    """

    method: str
    path: str
    summary: str
    handler: Handler
    result: Any
    body: Any = None
    query: type[msgspec.Struct] | None = None
    is_query: bool = False
    max_bytes: int = 1 << 20

    @property
    def name(self) -> str:
        """The operation's id: `list_queries` for `GET /queries`."""
        return self.handler.__name__


def describe(endpoints: Sequence[Endpoint], prefix: str) -> dict[str, Any]:
    """The OpenAPI document of the endpoints, mounted under `prefix`."""
    types = [t for endpoint in endpoints for t in (endpoint.result, endpoint.body) if t is not None]
    schemas, components = msgspec.json.schema_components(
        [*types, Problem], ref_template="#/components/schemas/{name}"
    )
    by_type = dict(zip(map(repr, [*types, Problem]), schemas, strict=True))
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        operation: dict[str, Any] = {
            "operationId": endpoint.name,
            "summary": endpoint.summary,
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in re.findall(r"\{(\w+)\}", endpoint.path)
            ]
            + _query_parameters(endpoint),
            "responses": {
                "200": {"description": "Done.", "content": _json(by_type[repr(endpoint.result)])},
                "default": {
                    "description": "Refused.",
                    "content": {"application/problem+json": {"schema": by_type[repr(Problem)]}},
                },
            },
        }
        if endpoint.body is not None:
            operation["requestBody"] = {"required": True, "content": _json(by_type[repr(endpoint.body)])}
        paths.setdefault(prefix + endpoint.path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Otero", "version": __version__},
        "paths": paths,
        "components": {"schemas": components},
    }


def _query_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    if endpoint.query is None:
        return []
    return [
        {
            "name": field.encode_name,
            "in": "query",
            "required": field.required,
            "description": endpoint.query.__doc__ or "",
            "schema": msgspec.json.schema(field.type) | _default(field),
        }
        for field in msgspec.structs.fields(endpoint.query)
    ]


def _default(field: msgspec.structs.FieldInfo) -> dict[str, Any]:
    if field.required:
        return {}
    made = field.default_factory
    return {"default": field.default if made is msgspec.NODEFAULT else made()}


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
