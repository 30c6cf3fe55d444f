"""Every HTTP API of the main port, assembled.

Each dialect is a folder whose handlers parse, call and render; errors become answers in `problem`, by path.
"""

from collections.abc import Awaitable, Callable, Mapping

from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from otero.api.alertmanager.routes import METHODS as ALERTMANAGER_METHODS
from otero.api.alertmanager.routes import alertmanager_paths, unknown
from otero.api.context import ApiContext
from otero.api.health import HealthRoutes
from otero.api.native.routes import NativeApi
from otero.api.problem import alertmanager_problem, plain_problem, prometheus_problem
from otero.api.prometheus.federate import FederateRoutes
from otero.api.prometheus.metadata import MetadataRoutes
from otero.api.prometheus.query import QueryRoutes
from otero.api.prometheus.remote_read import RemoteReadRoutes
from otero.api.prometheus.remote_write import RemoteWriteRoutes
from otero.api.prometheus.rules import RuleRoutes
from otero.api.prometheus.status import StatusRoutes
from otero.api.prometheus.targets import TargetRoutes
from otero.api.pushgateway import METHODS, PATH, PushRoutes, push_problem
from otero.errors import NotFound, Unavailable
from otero.http_server import Access, Gate, SecurityHeaders, measured
from otero.ingest.receivers.otlp.config import OtlpHttp
from otero.ingest.receivers.otlp.http_door import routes as otlp_routes
from otero.telemetry import REGISTRY

Handler = Callable[[Request], Awaitable[Response]]


def build_api(context: ApiContext, access: Access, headers: Mapping[str, str]) -> Starlette:
    """The ASGI application of the main port; `headers` go out with every answer."""
    query, metadata = QueryRoutes(context), MetadataRoutes(context)
    targets, status = TargetRoutes(context), StatusRoutes(context)
    rules = RuleRoutes(context)
    federate, health = FederateRoutes(context), HealthRoutes(context)
    remote_write = RemoteWriteRoutes(context.remote_write)
    push = PushRoutes(context.pushgateway)
    both = ["GET", "POST"]
    prometheus: list[tuple[str, Handler, list[str]]] = [
        ("/api/v1/query", query.query, both),
        ("/api/v1/query_range", query.query_range, both),
        ("/api/v1/query_exemplars", query.query_exemplars, both),
        ("/api/v1/format_query", query.format_query, both),
        ("/api/v1/parse_query", query.parse_query, both),
        ("/api/v1/series", metadata.series, both),
        ("/api/v1/labels", metadata.labels, both),
        ("/api/v1/label/{name}/values", metadata.label_values, ["GET"]),
        ("/api/v1/metadata", metadata.metadata, ["GET"]),
        ("/api/v1/targets", targets.targets, ["GET"]),
        ("/api/v1/targets/metadata", targets.targets_metadata, ["GET"]),
        ("/api/v1/scrape_pools", targets.scrape_pools, ["GET"]),
        ("/api/v1/rules", rules.rules, ["GET"]),
        ("/api/v1/alerts", rules.alerts, ["GET"]),
        ("/api/v1/alertmanagers", rules.alertmanagers, ["GET"]),
        ("/api/v1/status/config", status.config, ["GET"]),
        ("/api/v1/status/flags", status.flags, ["GET"]),
        ("/api/v1/status/runtimeinfo", status.runtimeinfo, ["GET"]),
        ("/api/v1/status/buildinfo", status.buildinfo, ["GET"]),
        ("/api/v1/status/tsdb", status.tsdb, ["GET"]),
        ("/api/v1/read", RemoteReadRoutes(context).read, ["POST"]),
        ("/api/v1/write", remote_write.write, ["POST"]),
    ]
    plain: list[tuple[str, Handler, list[str]]] = [
        ("/federate", federate.federate, ["GET"]),
        ("/metrics", _own_metrics, ["GET"]),
        ("/-/healthy", health.healthy, ["GET"]),
        ("/-/ready", health.ready, ["GET"]),
        ("/-/reload", health.reload, ["POST", "PUT"]),
        ("/health", health.health, ["GET"]),
        ("/health/live", health.live, ["GET"]),
        ("/health/ready", health.health, ["GET"]),
    ]
    routes = [
        *(
            _route(path, handler, methods, prometheus_problem, context)
            for path, handler, methods in prometheus
        ),
        *_alertmanager_routes(context),
        *(_route(path, handler, methods, plain_problem, None) for path, handler, methods in plain),
        _route(PATH, push.change, METHODS, push_problem, context),
        *otlp_routes(context.otlp, OtlpHttp().max_request_body_size, lambda: context.lifecycle.ready),
        *NativeApi(context).routes(),
        Route("/api/{rest:path}", measured("/api/{rest}", _answering(_unknown, prometheus_problem, None))),
        Route("/", measured("/", _front_page), methods=["GET"]),
    ]
    return _guarded(routes, access, headers)


def build_pushgateway(context: ApiContext, access: Access, headers: Mapping[str, str]) -> Starlette:
    """The ASGI application of the Pushgateway's own port."""
    push = PushRoutes(context.pushgateway)
    handlers: list[tuple[str, Handler, list[str]]] = [
        (PATH, push.change, METHODS),
        ("/metrics", push.metrics, ["GET"]),
        ("/api/v1/metrics", push.api_metrics, ["GET"]),
    ]
    routes = [
        *(_route(path, handler, methods, push_problem, context) for path, handler, methods in handlers),
        _route("/-/healthy", push.ok, ["GET"], push_problem, None),
        _route("/-/ready", push.ok, ["GET"], push_problem, context),
    ]
    return _guarded(routes, access, headers)


def build_alertmanager(context: ApiContext, access: Access, headers: Mapping[str, str]) -> Starlette:
    """The ASGI application of the Alertmanager's own port."""
    health = HealthRoutes(context)
    routes = [
        *_alertmanager_routes(context),
        _route("/-/healthy", _ok, ["GET"], plain_problem, None),
        _route("/-/ready", _ok, ["GET"], plain_problem, context),
        _route("/-/reload", health.reload, ["POST"], plain_problem, None),
        _route("/{rest:path}", unknown, ALERTMANAGER_METHODS, alertmanager_problem, None),
    ]
    return _guarded(routes, access, headers)


def _alertmanager_routes(context: ApiContext) -> list[Route]:
    paths = alertmanager_paths(context.alertmanager, context.lifecycle, context.clock)
    return [
        _route(path, handler, ALERTMANAGER_METHODS, alertmanager_problem, context)
        for path, handler in paths.items()
    ]


async def _ok(_request: Request) -> Response:
    return PlainTextResponse("OK")


def _guarded(routes: list[Route], access: Access, headers: Mapping[str, str]) -> Starlette:
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(SecurityHeaders, headers=headers),
            Middleware(Gate, access=access),
            Middleware(GZipMiddleware, minimum_size=1024, compresslevel=1),
        ],
    )


def _route(
    path: str,
    handler: Handler,
    methods: list[str],
    problem: Callable[[Exception], Response],
    needs_ready: ApiContext | None,
) -> Route:
    return Route(path, measured(path, _answering(handler, problem, needs_ready)), methods=methods)


def _answering(
    handler: Handler, problem: Callable[[Exception], Response], context: ApiContext | None
) -> Handler:
    async def answer(request: Request) -> Response:
        try:
            if context is not None and not context.lifecycle.ready:
                raise Unavailable("Otero is starting: it reads back what it has stored", retry_after_s=1)
            return await handler(request)
        except Exception as error:
            return problem(error)

    return answer


async def _unknown(request: Request) -> Response:
    raise NotFound(f"there is no {request.url.path} here; /api/otero/v1/openapi.json lists the native API")


async def _own_metrics(request: Request) -> Response:
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(REGISTRY), media_type=content_type)


async def _front_page(_request: Request) -> Response:
    return PlainTextResponse(
        "Otero is running.\n\n"
        "  /api/v1/query?query=up     ask (the Prometheus HTTP API; point Grafana here)\n"
        "  /api/v1/targets            what is scraped\n"
        "  /api/otero/v1/status       state of the server\n"
        "  /metrics                   its own metrics\n"
    )
