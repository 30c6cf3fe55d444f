"""A port of its own for metrics: for processes that serve no HTTP, such as Celery's workers."""

import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from otero_sdk.metrics.exposition import Exposition

_logger = logging.getLogger(__name__)


def serve(exposition: Exposition, host: str, port: int) -> ThreadingHTTPServer | None:
    """Answer every GET with the metrics, in daemon threads. Where the port is taken, warn: another process serves them."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, content_type = exposition.render(self.headers.get("Accept", ""))
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — as the base class names it
            _logger.debug(format, *args)

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        _logger.warning("metrics are not served on %s:%d: %s", host, port, error)
        return None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="otero-sdk-metrics", daemon=True).start()
    return server
