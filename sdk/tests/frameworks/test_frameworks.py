"""What each framework's application answers and exposes, asked through its own test client."""

from collections.abc import Callable

import pytest

ASK = """
def ask(get):
    import json, re
    answer = {}
    first = get("/orders/7", {"X-Correlation-ID": "abc"})
    answer["order"] = [first[0], first[2].get("x-correlation-id")]
    made = get("/orders/8", {"X-Correlation-ID": "not valid!"})[2].get("x-correlation-id")
    answer["made"] = len(made)
    for path in ("/missing", "/fails", "/orders/9/items/lamp", "/stream"):
        answer[path] = get(path, {})[0]
    answer["HEAD"] = get("/orders/7", {}, "HEAD")[0]
    for path in ("/health", "/health/ready", "/health/live"):
        status, body, _ = get(path, {})
        answer[path] = [status, json.loads(body)["status"]]
    body = get("/metrics", {})[1]
    pattern = r'http_requests_total\\{endpoint="([^"]*)",method="([^"]*)",status="([^"]*)"\\} (.*)'
    answer["requests"] = sorted([*found[:3], float(found[3])] for found in re.findall(pattern, body) if float(found[3]))
    answer["zero"] = sorted({found[0] for found in re.findall(pattern, body) if not float(found[3])})
    answer["in flight"] = re.findall(r'http_requests_in_flight\\{method="GET"\\} (.*)', body)
    answer["cpu"] = "cpu_usage_percent " in body
    print(json.dumps(answer))

from otero_sdk import HealthChecks, correlation, instrument
import logging
health = HealthChecks({"always": lambda: None})
def work(order_id):
    logging.getLogger("shop").info("order %s", order_id)
"""

FLASK = """
from flask import Flask, Response
app = Flask("shop")
assert instrument(app, service="shop", health=health) is app
assert instrument(app, service="shop", health=health) is app
@app.get("/orders/<int:order_id>")
def order(order_id): work(order_id); return "ok"
@app.get("/orders/<int:order_id>/items/<item>")
def item(order_id, item): return item
@app.get("/fails")
def fails(): raise ValueError("no")
@app.get("/stream")
def stream(): return Response(str(n) for n in range(3))
@app.get("/never")
def never(): return ""
client = app.test_client()
def get(path, headers, method="GET"):
    answer = client.open(path, headers=headers, method=method)
    body = answer.text
    return answer.status_code, body, {name.lower(): value for name, value in answer.headers.items()}
ask(get)
"""

STARLETTE_CLIENT = """
from starlette.testclient import TestClient
with TestClient(app, raise_server_exceptions=False) as client:
    def get(path, headers, method="GET"):
        answer = client.request(method, path, headers=headers)
        return answer.status_code, answer.text, dict(answer.headers)
    ask(get)
"""

FASTAPI = (
    """
from fastapi import APIRouter, FastAPI
from fastapi.responses import StreamingResponse
app = FastAPI()
assert instrument(app, service="shop", health=health) is app
assert instrument(app, service="shop", health=health) is app
@app.api_route("/orders/{order_id}", methods=["GET", "HEAD"])
async def order(order_id: int): work(order_id); return "ok"
items = APIRouter(prefix="/orders/{order_id}/items")
@items.get("/{item}")
def item(order_id: int, item: str): return item
app.include_router(items)
@app.get("/fails")
def fails(): raise ValueError("no")
@app.get("/stream")
def stream(): return StreamingResponse(str(n) for n in range(3))
@app.get("/never")
def never(): return ""
"""
    + STARLETTE_CLIENT
)

STARLETTE = (
    """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
async def order(request): work(request.path_params["order_id"]); return PlainTextResponse("ok")
async def fails(request): raise ValueError("no")
async def stream(request): return StreamingResponse(str(n) for n in range(3))
app = Starlette(routes=[
    Route("/orders/{order_id:int}", order),
    Mount("/orders/{order_id:int}", routes=[Mount("/items", routes=[Route("/{item}", order)])]),
    Route("/fails", fails), Route("/stream", stream), Route("/never", stream),
])
instrument(app, service="shop", health=health)
"""
    + STARLETTE_CLIENT
)

DJANGO = """
import django
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import include, path
settings.configure(ROOT_URLCONF="__main__", ALLOWED_HOSTS=["testserver"], SECRET_KEY="x", LOGGING_CONFIG=None)
django.setup()
def order(request, order_id): work(order_id); return HttpResponse("ok")
def item(request, order_id, item): return HttpResponse(item)
def fails(request): raise ValueError("no")
def stream(request): return StreamingHttpResponse(str(n) for n in range(3))
urlpatterns = [
    path("orders/<int:order_id>", order), path("fails", fails), path("never", fails),
    path("orders/<int:order_id>/", include([path("items/<str:item>", item)])), path("stream", stream),
]
"""

DJANGO_WSGI = (
    DJANGO
    + """
from django.core.wsgi import get_wsgi_application
from werkzeug.test import Client
app = instrument(get_wsgi_application(), service="shop", health=health)
assert instrument(app, service="shop") is app
client = Client(app)
def get(path, headers, method="GET"):
    answer = client.open(path, headers=headers, method=method, base_url="http://testserver")
    return answer.status_code, answer.text, {name.lower(): value for name, value in answer.headers.items()}
ask(get)
"""
)

DJANGO_ASGI = (
    DJANGO.replace(
        "def stream(request): return StreamingHttpResponse(str(n) for n in range(3))",
        "async def numbers():\n    for n in range(3): yield str(n)\n"
        "def stream(request): return StreamingHttpResponse(numbers())",
    )
    + """
from django.core.asgi import get_asgi_application
app = instrument(get_asgi_application(), service="shop", health=health)
"""
    + STARLETTE_CLIENT.replace(
        "with TestClient(app, raise_server_exceptions=False) as client:",
        "client = TestClient(app, raise_server_exceptions=False)\nif True:",
    )
)

TEMPLATES = {
    "Flask": ("/orders/<int:order_id>", "/orders/<int:order_id>/items/<item>"),
    "FastAPI": ("/orders/{order_id}", "/orders/{order_id}/items/{item}"),
    "Starlette": ("/orders/{order_id:int}", "/orders/{order_id:int}/items/{item}"),
    "Django (WSGI)": ("/orders/<int:order_id>", "/orders/<int:order_id>/items/<str:item>"),
    "Django (ASGI)": ("/orders/<int:order_id>", "/orders/<int:order_id>/items/<str:item>"),
}
APPS = {
    "Flask": FLASK,
    "FastAPI": FASTAPI,
    "Starlette": STARLETTE,
    "Django (WSGI)": DJANGO_WSGI,
    "Django (ASGI)": DJANGO_ASGI,
}


@pytest.mark.parametrize("framework", APPS)
def test_requests_health_logs_and_correlation(framework: str, run: Callable) -> None:
    ran = run(ASK + APPS[framework], PYTHONWARNINGS="ignore")
    answer = ran.answer
    order, item = TEMPLATES[framework]
    assert answer["order"] == [200, "abc"]
    assert answer["made"] == 36
    assert answer["/missing"] == 404
    assert answer["/fails"] == 500
    assert answer["/health"] == [200, "healthy"]
    assert answer["/health/ready"] == [200, "ready"]
    assert answer["/health/live"] == [200, "alive"]
    assert answer["requests"] == sorted(
        [
            ["/fails", "GET", "500", 1.0],
            [order, "GET", "200", 2.0],
            [order, "HEAD", "200", 1.0],
            [item, "GET", "200", 1.0],
            ["/stream", "GET", "200", 1.0],
            ["unknown", "GET", "404", 1.0],
        ]
    )
    assert "/never" in answer["zero"]
    assert answer["in flight"] == ["0.0"]
    assert answer["cpu"]
    logged = [line for line in ran.lines if line["logger"] == "shop" and line["message"] == "order 7"]
    assert [line.get("correlation_id") for line in logged][:1] == ["abc"]
    access = [line for line in ran.lines if line["logger"] == "otero_sdk.access"]
    assert [line["status"] for line in access] == [200, 200, 404, 500, 200, 200, 200]
    assert (
        access[0].items()
        >= {"endpoint": order, "correlation_id": "abc", "message": "GET /orders/7 200"}.items()
    )
    assert {line["service"] for line in ran.lines} == {"shop"}


def test_plain_wsgi(run: Callable) -> None:
    ran = run("""
        import json
        from werkzeug.test import Client
        from otero_sdk import instrument
        def app(environ, start_response):
            if environ["PATH_INFO"].startswith("/orders/"):
                environ["otero_sdk.route"] = "/orders/{id}"
            if environ["PATH_INFO"] == "/breaks":
                def broken():
                    yield b"a"
                    raise ValueError("in the middle")
                start_response("200 OK", [])
                return broken()
            start_response("200 OK", [("X-Correlation-ID", environ["HTTP_X_CORRELATION_ID"])])
            return [b"o", b"k"]
        served = instrument(app, service="shop", metrics_path="/internal/metrics", health_path=None)
        assert instrument(served, service="shop") is served
        client = Client(served)
        answer = client.get("/orders/7", headers={"X-Correlation-ID": "abc"})
        got = [answer.text, answer.headers.getlist("X-Correlation-ID"), client.get("/health", headers={"X-Correlation-ID": "x"}).status_code]
        try:
            client.get("/breaks").data
        except ValueError: pass
        text = client.get("/internal/metrics").text
        print(json.dumps([got, [line for line in text.splitlines() if line.startswith("http_requests_total")]]))
    """)
    got, counted = ran.answer
    assert got == ["ok", ["abc"], 200]
    assert counted == [
        'http_requests_total{endpoint="/orders/{id}",method="GET",status="200"} 1.0',
        'http_requests_total{endpoint="unknown",method="GET",status="200"} 1.0',
        'http_requests_total{endpoint="unknown",method="GET",status="500"} 1.0',
    ]


def test_plain_asgi_and_routes_of_ones_own(run: Callable) -> None:
    ran = run("""
        import json
        from starlette.testclient import TestClient
        from otero_sdk import correlation, instrument
        async def app(scope, receive, send):
            if scope["type"] == "websocket":
                await receive(); await send({"type": "websocket.accept"})
                await send({"type": "websocket.send", "text": correlation.get()}); await send({"type": "websocket.close"})
                return
            await send({"type": "http.response.start", "status": 201, "headers": []})
            await send({"type": "http.response.body", "body": correlation.get().encode()})
        served = instrument(app, service="shop", route=lambda scope: "/all", health_path=None)
        client = TestClient(served)
        got = [client.post("/x", headers={"X-Correlation-ID": "abc"}).text]
        with client.websocket_connect("/ws", headers={"X-Correlation-ID": "socket"}) as socket:
            got.append(socket.receive_text())
        client.request("BREW", "/x")
        text = client.get("/metrics").text
        print(json.dumps([got, [line for line in text.splitlines() if line.startswith("http_requests_total")]]))
    """)
    got, counted = ran.answer
    assert got == ["abc", "socket"]
    assert counted == [
        'http_requests_total{endpoint="/all",method="POST",status="201"} 1.0',
        'http_requests_total{endpoint="/all",method="_OTHER",status="201"} 1.0',
    ]


def test_a_second_service_in_one_process_is_warned_of(run: Callable) -> None:
    ran = run("""
        from flask import Flask
        from otero_sdk import instrument
        instrument(Flask("a"), service="a")
        instrument(Flask("b"), service="b")
        print("0")
    """)
    assert [line["message"] for line in ran.lines if line["level"] == "WARNING"] == [
        "this process is already instrumented as service 'a'; what it shares (metrics, logs, traces) stays as it was"
    ]


def test_degraded_unready_and_hidden_credentials(run: Callable) -> None:
    ran = run("""
        import json
        from flask import Flask
        from otero_sdk import Health, HealthChecks, instrument
        state = {"db": "healthy", "cache": "healthy"}
        def answers(**options):
            app = Flask("shop")
            health = HealthChecks(cache_s=0, **options)
            health.add("db", lambda: Health(state["db"]))
            health.add("cache", lambda: Health(state["cache"]), critical=False)
            instrument(app, service="shop", health=health, access_log=False)
            client = app.test_client()
            return lambda: [client.get(path).status_code for path in ("/health", "/health/ready", "/health/live")]
        strict, lenient = answers(), answers(degraded_is_ok=True)
        got = []
        for db, cache in (("healthy", "healthy"), ("healthy", "unhealthy"), ("degraded", "healthy"), ("unhealthy", "healthy")):
            state.update(db=db, cache=cache)
            got.append([strict(), lenient()])
        print(json.dumps(got))
    """)
    assert ran.answer == [
        [[200, 200, 200], [200, 200, 200]],
        [[503, 200, 200], [200, 200, 200]],
        [[503, 200, 200], [200, 200, 200]],
        [[503, 503, 200], [503, 503, 200]],
    ]


def test_the_base_install_needs_prometheus_client_only(run: Callable) -> None:
    ran = run(
        """
        import json, sys
        import importlib.abc
        class Missing(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name.partition(".")[0] in ("opentelemetry", "flask", "requests", "starlette", "structlog", "psutil"):
                    raise ImportError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, Missing())
        from otero_sdk import instrument
        def app(environ, start_response):
            start_response("200 OK", []); return [b"ok"]
        said = []
        for options in ({"traces": True}, {"otlp_logs": True}):
            try: instrument(lambda environ, start_response: [], service="shop", **options)
            except ImportError as error: said.append(str(error))
        served = instrument(app, service="shop")
        list(served({"PATH_INFO": "/", "REQUEST_METHOD": "GET"}, lambda *_: None))
        print(json.dumps(said))
    """,
        OTEL_TRACES_EXPORTER="otlp",
    )
    assert ran.answer == [
        "traces=True needs opentelemetry.sdk.trace: pip install 'otero-sdk[traces]'",
        "otlp_logs=True needs opentelemetry.sdk.trace: pip install 'otero-sdk[traces]'",
    ]
    assert ran.lines[0]["message"] == "GET / 200"


def test_names_that_the_application_has_itself_are_told(run: Callable) -> None:
    ran = run("""
        import json
        from prometheus_client import Gauge, REGISTRY
        from otero_sdk import instrument
        own = Gauge("cpu_usage_percent", "the application's")
        said = []
        for _ in range(2):
            try: instrument(lambda environ, start_response: [], service="shop")
            except ValueError as error: said.append(str(error))
        REGISTRY.unregister(own)
        instrument(lambda environ, start_response: [], service="shop")
        print(json.dumps(said))
    """)
    assert len(ran.answer) == 2
    assert ran.answer[0] == ran.answer[1]
    assert "cpu_usage_percent" in ran.answer[0]
    assert "delete" in ran.answer[0]


def test_failures_of_recording_are_not_those_of_requests(run: Callable) -> None:
    ran = run("""
        import json
        from flask import Flask
        from otero_sdk import instrument, process
        app = Flask("shop")
        def route(environ): raise RuntimeError("no route")
        instrument(app, service="shop", route=route)
        @app.get("/")
        def home(): return "ok"
        client = app.test_client()
        answers = [client.get("/").text]
        def full(*_): raise OSError("no space left on device")
        process._process.recorder._metrics.observe = full
        answers.append(client.get("/").text)
        process._process.recorder._metrics.active = full
        answers.append(client.get("/").text)
        print(json.dumps(answers))
    """)
    assert ran.answer == ["ok", "ok", "ok"]
    assert "no route" in ran.lines[0]["exception"]
    assert any("no space left" in line.get("exception", "") for line in ran.lines)
