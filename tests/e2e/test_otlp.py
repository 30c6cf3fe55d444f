"""The official exporters against a running server: every field reads back, also through `kill -9`, nothing twice."""

import base64
import json
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otero.wire.otlp_json import to_tree
from tests.e2e.server import ServerProcess, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

COUNT = 10_000
NPM = ["@opentelemetry/sdk-trace-base", "@opentelemetry/exporter-trace-otlp-http"]
NODE = """
const { BasicTracerProvider, SimpleSpanProcessor, InMemorySpanExporter } = require('@opentelemetry/sdk-trace-base');
const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-http');
const memory = new InMemorySpanExporter();
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(memory)] });
const tracer = provider.getTracer('node', '2.0');
for (let n = 0; n < Number(process.argv[3]); n++) {
  const span = tracer.startSpan('op ' + n, { kind: n % 5, attributes: { n, half: n / 2 + 0.25, ok: true, list: ['a', 'b'], text: 'ü' } });
  span.addEvent('happened', { at: n });
  if (n % 10 == 0) span.setStatus({ code: 2, message: 'no' });
  span.end();
}
const spans = memory.getFinishedSpans();
const exporter = new OTLPTraceExporter({ url: process.argv[2], timeoutMillis: 60000 });
(async () => {
  for (let at = 0; at < spans.length; at += 500) {
    await new Promise((done, fail) => exporter.export(spans.slice(at, at + 500), (r) => r.code ? fail(r.error) : done()));
  }
  await exporter.shutdown();
  console.log(JSON.stringify(spans.map((s) => [s.spanContext().traceId, s.spanContext().spanId, s.name, s.kind, s.attributes])));
})();
"""


class Doors(ServerProcess):
    """A server with OTLP's doors on free ports."""

    def __init__(self, folder: Path) -> None:
        self.grpc, self.http = free_port(), free_port()
        config = folder / "otero.yml"
        config.write_text(
            "host: {enabled: false}\nreceivers: {otlp: {protocols: {"
            f"grpc: {{endpoint: '127.0.0.1:{self.grpc}'}}, http: {{endpoint: '127.0.0.1:{self.http}'}}}}}}}}\n"
        )
        super().__init__(["--config", config], data=folder / "data")

    def endpoint(self, signal: str, protocol: str) -> str:
        return f"http://127.0.0.1:{self.grpc if protocol == 'grpc' else f'{self.http}/v1/{signal}'}"

    def records(self, signal: str, trace_ids: set[str]) -> Counter[str]:
        """Everything that is stored, each record with all that it belongs to as one JSON text."""
        if signal == "logs":
            return Counter(map(text, self.get("/api/otero/v1/logs", limit="10000")["logs"]))
        found: Counter[str] = Counter()
        for trace_id in trace_ids:
            found.update(flat(self.get(f"/api/otero/v1/traces/{trace_id}"), "Spans", "spans"))
        return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Doors]:
    server = Doors(tmp_path)
    server.start(120)
    yield server
    server.kill()


def text(tree: dict[str, Any]) -> str:
    """As one text; a message that is there and empty (`"status": {}`) says the same as none."""
    return json.dumps({key: value for key, value in tree.items() if value != {}}, sort_keys=True)


def flat(tree: dict[str, Any], kind: str, member: str) -> Counter[str]:
    out: Counter[str] = Counter()
    for resource in tree[f"resource{kind}"]:
        for scope in resource[f"scope{kind}"]:
            around = {"resource": resource.get("resource", {}), "scope": scope.get("scope", {})}
            if "schemaUrl" in resource:
                around["resourceSchemaUrl"] = resource["schemaUrl"]
            if "schemaUrl" in scope:
                around["scopeSchemaUrl"] = scope["schemaUrl"]
            out.update(text(record | around) for record in scope[member])
    return out


class Sender:
    """The exporter's process; `sent` is what it says that it sends."""

    def __init__(self, signal: str, protocol: str, endpoint: str, count: int) -> None:
        command = [sys.executable, "-m", "tests.e2e.otlp_sender", signal, protocol, endpoint, str(count)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._signal = signal
        self.sent: Counter[str] = Counter()
        self.trace_ids: set[str] = set()
        assert self._process.stdout is not None
        self._lines = self._process.stdout
        for line in self._lines:
            if line == "sending\n":
                break
            self._note(base64.b64decode(line))

    def _note(self, raw: bytes) -> None:
        if self._signal == "logs":
            self.sent.update(flat(to_tree(ExportLogsServiceRequest.FromString(raw)), "Logs", "logRecords"))
            return
        request = ExportTraceServiceRequest.FromString(raw)
        self.sent.update(flat(to_tree(request), "Spans", "spans"))
        self.trace_ids |= {
            span.trace_id.hex() for r in request.resource_spans for s in r.scope_spans for span in s.spans
        }

    def exported(self) -> str:
        """The next line of the process: one more batch was sent, or how it ended."""
        return self._lines.readline()

    def end(self) -> str:
        last = ""
        for line in self._lines:
            last = line
        self._process.wait(60)
        self._lines.close()
        return last


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("signal", ["traces", "logs"])
def test_every_field_of_ten_thousand_records_reads_back(server: Doors, signal: str, protocol: str) -> None:
    sender = Sender(signal, protocol, server.endpoint(signal, protocol), COUNT)
    assert sender.end() == "sent, 0 failed\n"
    assert sum(sender.sent.values()) == COUNT
    found = server.records(signal, sender.trace_ids)
    assert found == sender.sent


@pytest.mark.parametrize("signal", ["traces", "logs"])
def test_killed_in_the_middle_nothing_is_lost_and_nothing_doubled(server: Doors, signal: str) -> None:
    sender = Sender(signal, "grpc", server.endpoint(signal, "grpc"), COUNT)
    for _ in range(4):
        assert sender.exported() == "exported\n"
    server.kill()
    starting = threading.Thread(target=server.start, args=(120,))
    starting.start()
    last = sender.end()
    starting.join()
    assert last == "sent, 0 failed\n"
    found = server.records(signal, sender.trace_ids)
    assert found == sender.sent
    deadline_s = time.monotonic() + 60
    while server.get("/api/otero/v1/status")["records"][signal]["waiting"]:
        assert time.monotonic() < deadline_s
        time.sleep(0.2)
    assert server.records(signal, sender.trace_ids) == sender.sent, "the same once all is in the engine"


def test_the_exporter_of_node_sends_json(server: Doors, tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: apt-get install npm")
    done = subprocess.run(
        ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *NPM],
        cwd=tmp_path,
        capture_output=True,
        timeout=300,
    )
    if done.returncode:
        pytest.skip("npm cannot install the exporter: npm install " + " ".join(NPM))
    (tmp_path / "send.js").write_text(NODE)
    command = ["node", "send.js", server.endpoint("traces", "http"), str(COUNT)]
    sent = json.loads(
        subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=200).stdout
    )
    assert len(sent) == COUNT
    for trace_id, span_id, name, kind, attributes in sent[:: COUNT // 500]:
        trace = server.get(f"/api/otero/v1/traces/{trace_id}")
        [span] = trace["resourceSpans"][0]["scopeSpans"][0]["spans"]
        assert (span["spanId"], span["name"], span["kind"]) == (span_id, name, kind + 1)
        values = {a["key"]: a["value"] for a in span["attributes"]}
        assert values["n"] == {"intValue": str(attributes["n"])}
        assert values["half"] == {"doubleValue": attributes["half"]}
        assert values["list"] == {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}}
        assert span["events"][0]["name"] == "happened"
    listed = server.get("/api/otero/v1/traces", limit="10000")["traces"]
    assert len(listed) == COUNT


def test_otero_trace_draws_a_trace_and_says_when_there_is_none(server: Doors) -> None:
    sender = Sender("traces", "http", server.endpoint("traces", "http"), 2)
    sender.end()
    [trace_id] = sender.trace_ids

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "otero", "trace", *arguments, "--url", server.url]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    drawn = run(trace_id)
    assert drawn.returncode == 0
    assert "2 spans" in drawn.stdout
    assert "ERROR it failed" in drawn.stdout
    assert len(json.loads(run(trace_id, "--format", "json").stdout)["resourceSpans"]) == 1
    missing = run("ab" * 16)
    assert (missing.returncode, "there is no trace abab" in missing.stderr) == (1, True)
    assert "hexadecimal" in run("xyz").stderr
