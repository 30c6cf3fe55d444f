from collections.abc import Callable


def test_standard_library_structlog_and_servers_write_the_same_lines(run: Callable) -> None:
    ran = run("""
        import logging, sys
        logging.basicConfig(level="DEBUG", format="plain %(message)s")
        from otero_sdk import correlation, logs
        logs.set_up("orders", redact=["iban"], rate_limit=2)
        logs.set_up("orders", redact=["iban"], rate_limit=2)
        import structlog
        log = structlog.get_logger("shop")
        structlog.contextvars.bind_contextvars(tenant="acme")
        with correlation.use("abc"):
            logging.getLogger("cart").info("added %s", "lamp", extra={"user_id": 7, "password": "x"})
            log.bind(order=3).warning("sold %s", "chair", name="ada", module="mine", token="t", value=object)
            try:
                1 / 0
            except ZeroDivisionError:
                log.exception("failed")
        log.debug("not this")
        for n in range(5):
            logging.info("often %d", n)
        handler = logging.StreamHandler()
        server = logging.getLogger("gunicorn.error")
        server.propagate = False
        server.addHandler(handler)
        logs.set_up("orders")
        server.warning("worker gone")
    """)
    assert len(ran.stderr.splitlines()) == len(ran.lines) == 6
    first, second, third, often, again, server = ran.lines
    assert (
        first.items()
        >= {"message": "added lamp", "user_id": 7, "password": "***", "correlation_id": "abc"}.items()
    )
    assert (first["module"], first["function"], first["logger"]) == ("script", "<module>", "cart")
    expected = {"message": "sold chair", "level": "WARNING", "logger": "shop", "order": 3, "name": "ada"}
    assert second.items() >= {**expected, "tenant": "acme", "token": "***", "extra_module": "mine"}.items()
    assert (second["module"], second["function"], second["line"]) == ("script", "<module>", first["line"] + 1)
    assert third["exception"].endswith("ZeroDivisionError: division by zero")
    assert [often["message"], again["message"]] == ["often 0", "often 1"]
    assert server["message"] == "worker gone"
    assert server["service"] == "orders"


def test_flasks_own_server_writes_no_second_line_for_a_request(run: Callable) -> None:
    ran = run("""
        import logging, threading, urllib.request
        from flask import Flask
        from werkzeug.serving import make_server
        from otero_sdk import instrument
        app = Flask("shop")
        instrument(app, service="shop")
        app.route("/hello")(lambda: "hello")
        server = make_server("127.0.0.1", 0, app)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/hello").read()
        logging.getLogger("werkzeug").info("of another kind")
        server.shutdown()
    """)
    told = [line for line in ran.lines if "/hello" in str(line) or line["logger"] == "werkzeug"]
    assert [line["logger"] == "werkzeug" for line in told] == [False, True], told
    assert told[1]["message"] == "of another kind"
