"""The demo, as a whole: what it shows, what goes wrong in it, and that nothing of it is left."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from otero.demo.faults import FAULTS
from otero.demo.layout import STACK
from otero.demo.services.names import PASSWORD
from tests.e2e.demo import DemoProcess, ask, eventually, query

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

SERVICES = {"gateway", "users", "orders"}


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[DemoProcess]:
    demo = DemoProcess(tmp_path)
    yield demo
    demo.end()


def test_from_first_data_to_the_end_by_kill_9(demo: DemoProcess) -> None:
    """All with one demo, as its start takes longer than any of what is asked of it."""
    demo.wait_for_line(r"first data: metrics of all three services \d+\.\d s after the command, a trace")
    demo.find_places()
    one_request_is_one_trace_in_all_services(demo)
    every_query_of_the_dashboards_gives_data(demo)
    health_is_right_while_the_database_is_cut_off(demo)
    a_fault_leads_to_its_alert_and_messages(demo)
    nothing_is_left_after_kill_9(demo)


def one_request_is_one_trace_in_all_services(demo: DemoProcess) -> None:
    gateway, correlation_id = demo.services["gateway"], "e2e-one-request"
    _, session = ask(f"{gateway}/login", "POST", {"user": "ada", "password": PASSWORD})
    headers = {"Authorization": f"Bearer {session['token']}", "X-Correlation-ID": correlation_id}
    status, order = ask(f"{gateway}/orders", "POST", {"product": "lamp", "quantity": 2}, **headers)
    assert (status, order["total"]) == (200, 78.0)

    lines = {
        name: [line for line in map(json.loads, log.read_text().splitlines())
               if line.get("correlation_id") == correlation_id]
        for name, log in demo.logs.items()
    }  # fmt: skip
    assert {name for name, found in lines.items() if found} == SERVICES
    [trace_id] = {line["trace_id"] for found in lines.values() for line in found}
    placed = next(line for line in lines["orders"] if line["message"] == "order placed")
    assert (placed["service"], placed["order"]) == ("orders", order["number"])

    def whole() -> list[tuple[str, dict[str, Any]]] | None:
        status, trace = ask(f"{demo.otero}/api/otero/v1/traces/{trace_id}")
        spans = [] if status != 200 else spans_of(trace)
        return spans if {service for service, _ in spans} >= SERVICES else None

    spans = eventually(whole)
    servers = {service: span for service, span in spans if span["kind"] == 2}
    assert {service: span["name"] for service, span in servers.items()} == {
        "gateway": "POST /orders",
        "users": "POST /users/me/orders",
        "orders": "POST /orders",
    }
    by_id = {span["spanId"]: (service, span) for service, span in spans}
    for below, above in (("orders", "users"), ("users", "gateway")):
        client_of, client = by_id[servers[below]["parentSpanId"]]
        assert (client_of, client["kind"]) == (above, 3)
        assert client["parentSpanId"] == servers[above]["spanId"]
    assert "parentSpanId" not in servers["gateway"]
    statements = [span["name"] for service, span in spans if service == "orders" and span["kind"] == 3]
    assert any(name.startswith("INSERT") for name in statements), statements

    status, answer = ask(f"{demo.otero}/api/otero/v1/logs?trace_id={trace_id}")
    assert status == 200
    assert "order placed" in {log["body"].get("stringValue") for log in answer["logs"]}


def spans_of(trace: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Spans with their service."""
    out: list[tuple[str, dict[str, Any]]] = []
    for resource in trace["resourceSpans"]:
        [service] = [
            a["value"]["stringValue"]
            for a in resource["resource"]["attributes"]
            if a["key"] == "service.name"
        ]
        out += [(service, span) for scope in resource["scopeSpans"] for span in scope["spans"]]
    return out


def every_query_of_the_dashboards_gives_data(demo: DemoProcess) -> None:
    expressions = [
        target["expr"].replace("$job", ".+").replace("$__rate_interval", "20s")
        for path in (STACK / "dashboards").glob("*.json")
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    ]
    assert len(expressions) > 15

    def without_data() -> list[str]:
        return [expr for expr in expressions if not query(demo.otero, expr)]

    eventually(lambda: not without_data())
    jobs = {series["metric"]["job"] for series in query(demo.otero, "http_requests_total > 0")}
    assert jobs >= SERVICES


def health_is_right_while_the_database_is_cut_off(demo: DemoProcess) -> None:
    def seen() -> tuple[int, int, str, int, str]:
        orders, gateway = demo.services["orders"], demo.services["gateway"]
        ready, _ = ask(f"{orders}/health/ready")
        live, _ = ask(f"{orders}/health/live")
        _, of_orders = ask(f"{orders}/health")
        gateway_ready, _ = ask(f"{gateway}/health/ready")
        _, of_gateway = ask(f"{gateway}/health")
        return ready, live, of_orders["status"], gateway_ready, of_gateway["status"]

    good = (200, 200, "healthy", 200, "healthy")
    eventually(lambda: seen() == good)
    ask(f"{demo.door}/faults/database", "POST")
    eventually(lambda: seen() == (503, 200, "unhealthy", 200, "degraded"))
    _, report = ask(f"{demo.services['orders']}/health")
    error = report["checks"]["database"]["error"]
    assert "locked" in error or "QueuePool limit" in error, "by now others wait for all connections"
    ask(f"{demo.door}/faults/database", "DELETE")
    eventually(lambda: seen() == good)


def a_fault_leads_to_its_alert_and_messages(demo: DemoProcess) -> None:
    _, answer = ask(f"{demo.door}/faults/errors", "POST")
    assert answer["active"] == [{"fault": "errors", "service": "orders", "alert": "HighErrorRate"}]

    def told() -> set[str]:
        _, answer = ask(f"{demo.door}/messages")
        return {
            message["kind"]
            for message in answer["messages"]
            if "HighErrorRate" in message["alerts"] and message["status"] == "firing"
        }

    eventually(lambda: told() == {"mail", "webhook"}, 90)
    demo.wait_for_line(r"message: mail to on-call@demo\.example: .*HighErrorRate")
    status, why = ask(f"{demo.otero}/api/otero/v1/alerts/why?alertname=HighErrorRate")
    assert status == 200
    assert "delivered" in {decision["kind"] for alert in why["alerts"] for decision in alert["decisions"]}


def nothing_is_left_after_kill_9(demo: DemoProcess) -> None:
    children = demo.children()
    assert len(children) == 4, "three services, and who removes the folder"
    assert len(list(demo.folder.iterdir())) == 1
    demo.process.kill()
    demo.process.wait(30)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
    assert list(demo.folder.iterdir()) == []


def test_ctrl_c_stops_all_even_while_it_starts(demo: DemoProcess) -> None:
    demo.wait_for_line("the services answer|Otero is ready")
    children = demo.children()
    assert children
    assert demo.interrupt() == 0
    assert psutil.wait_procs(children, timeout=30)[1] == []
    assert list(demo.folder.iterdir()) == []
    assert "stopping" in demo.lines[-1]


@pytest.mark.soak
@pytest.mark.timeout(2000)
def test_every_fault_leads_to_the_alert_that_it_promises(demo: DemoProcess) -> None:
    demo.find_places()
    for fault in FAULTS.values():
        ask(f"{demo.door}/messages", "DELETE")
        ask(f"{demo.door}/faults/{fault.name}", "POST")

        def told(alert: str = fault.alert) -> bool:
            _, answer = ask(f"{demo.door}/messages")
            return any(alert in message["alerts"] for message in answer["messages"])

        eventually(told, 120)
        ask(f"{demo.door}/faults", "DELETE")
        eventually(lambda: not query(demo.otero, 'ALERTS{alertstate="firing"}'), 120)
