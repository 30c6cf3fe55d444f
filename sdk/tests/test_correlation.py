import uuid
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero_sdk import correlation


def test_new_ids_are_uuids_of_version_4() -> None:
    ids = {correlation.new() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(uuid.UUID(text).version == 4 and str(uuid.UUID(text)) == text for text in ids)
    assert all(uuid.UUID(text).variant == uuid.RFC_4122 for text in ids)


@given(st.text(max_size=300))
def test_an_accepted_id_is_harmless_in_headers_and_logs(sent: str) -> None:
    accepted = correlation.accept(sent)
    assert 1 <= len(accepted) <= correlation.MAX_LENGTH
    assert accepted.isascii()
    assert accepted.isprintable()
    assert not set(accepted) & set(' "\\\r\n,;{}<>')


@pytest.mark.parametrize(
    "sent", ["abc", "a" * 128, "550e8400-e29b-41d4-a716-446655440000", "order:7/retry=2"]
)
def test_valid_ids_are_kept(sent: str) -> None:
    assert correlation.accept(sent) == sent


@pytest.mark.parametrize("sent", [None, "", "a" * 129, "a b", "a\nb", "é", "-x", '"; DROP'])
def test_others_are_replaced(sent: str | None) -> None:
    accepted = correlation.accept(sent)
    assert accepted != sent
    assert uuid.UUID(accepted)


def test_baggage_names_the_id_too() -> None:
    assert correlation.accept(None, "user=7;ttl=1, correlation_id=order%3A7;prop=x,b=c") == "order:7"
    assert correlation.accept("header", "correlation_id=bag") == "header"
    assert uuid.UUID(correlation.accept(None, "correlation_id=%0Aevil"))


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,40}", fullmatch=True))
def test_baggage_carries_any_valid_id(sent: str) -> None:
    header = correlation.with_baggage("user=7", sent)
    assert header.startswith("user=7,")
    assert correlation.accept(None, header) == sent
    assert correlation.with_baggage(header, "other") == header


def test_use() -> None:
    assert correlation.get() is None
    with correlation.use("job-1"), correlation.use() as inner:
        assert correlation.get() == inner != "job-1"
    assert correlation.get() is None
    with pytest.raises(ValueError, match="at most 128"), correlation.use("a b"):
        pass


def test_it_goes_along_with_calls_threads_and_tasks(run: Callable) -> None:
    ran = run("""
        import asyncio, json, threading, http.server, concurrent.futures
        from otero_sdk import correlation
        from otero_sdk.correlation import carriers
        carriers.install(); carriers.install()
        import requests, httpx, aiohttp

        seen = []
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                seen.append([self.headers.get_all("X-Correlation-ID"), self.headers.get_all("baggage")])
                self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
            def log_message(self, *_): pass
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        answer = {}
        requests.get(url)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            with correlation.use("first"):
                pool.submit(correlation.get).result()
            with correlation.use("job-7"):
                requests.get(url)
                httpx.get(url, headers={"baggage": "a=b"})
                requests.get(url, headers={"X-Correlation-ID": "mine"})
                async def calls():
                    async with httpx.AsyncClient() as client: await client.get(url)
                    async with aiohttp.ClientSession() as session:
                        async with session.get(url, headers={"a": "b"}): pass
                    answer["task"] = await asyncio.create_task(task())
                    answer["to_thread"] = await asyncio.to_thread(correlation.get)
                    answer["executor"] = await asyncio.get_running_loop().run_in_executor(None, correlation.get)
                async def task(): return correlation.get()
                asyncio.run(calls())
                found = []
                class Mine(threading.Thread):
                    def run(self): found.append(correlation.get())
                for thread in (Mine(), threading.Thread(target=lambda: found.append(correlation.get()))):
                    thread.start(); thread.join()
                answer["threads"] = found
                answer["pool"] = pool.submit(correlation.get).result()
            answer["pool outside"] = pool.submit(correlation.get).result()
        answer["seen"] = seen
        print(json.dumps(answer))
    """)
    carried = [["job-7"], ["correlation_id=job-7"]]
    assert ran.answer == {
        "task": "job-7",
        "to_thread": "job-7",
        "executor": "job-7",
        "threads": ["job-7", "job-7"],
        "pool": "job-7",
        "pool outside": None,
        "seen": [
            [None, None],
            carried,
            [["job-7"], ["a=b,correlation_id=job-7"]],
            [["mine"], ["correlation_id=mine"]],
            carried,
            carried,
        ],
    }


def test_it_goes_along_with_greenlets(run: Callable) -> None:
    ran = run("""
        import gevent.monkey; gevent.monkey.patch_all()
        import json, threading, gevent.pool
        from otero_sdk import correlation
        from otero_sdk.correlation import carriers
        carriers.install()
        with correlation.use("job-7"):
            found = [gevent.spawn(correlation.get), gevent.pool.Pool(2).spawn(correlation.get)]
            gevent.joinall(found)
            values = [greenlet.value for greenlet in found]
            threading.Thread(target=lambda: values.append(correlation.get())).start()
            gevent.sleep(0)
        print(json.dumps([*values, gevent.pool.Pool(2).map(lambda _: correlation.get(), [1])]))
    """)
    assert ran.answer == ["job-7", "job-7", "job-7", [None]]
