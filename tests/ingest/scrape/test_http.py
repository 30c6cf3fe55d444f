"""How targets are asked: credentials, TLS, proxies, redirects, names led elsewhere."""

import base64
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from aiohttp import web

from otero.fields import FilePath, Secret, Url
from otero.http_client import Authorization, BasicAuth, TlsConfig
from tests.ingest.scrape.loopback import OPENMETRICS, TEXT, eventually, job, page, scraping, serving


async def test_basic_auth_with_a_password_file_that_changes(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("old\n")
    auth = BasicAuth(username="me", password_file=FilePath(str(password)))
    async with page("a 1\n") as target, scraping(job(target.address, basic_auth=auth)) as made:
        await made.scrapes(1)
        assert target.requests[0].headers["Authorization"] == f"Basic {base64.b64encode(b'me:old').decode()}"
        password.write_text("newer\n")
        wanted = f"Basic {base64.b64encode(b'me:newer').decode()}"
        await eventually(lambda: target.requests[-1].headers["Authorization"] == wanted)


async def test_bearer_token_file_and_what_happens_when_it_is_gone(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret-one\n")
    auth = Authorization(credentials_file=FilePath(str(token)))
    async with page("a 1\n") as target, scraping(job(target.address, authorization=auth)) as made:
        await made.scrapes(1)
        assert target.requests[0].headers["Authorization"] == "Bearer secret-one"
        token.unlink()
        error = await made.failure()
        assert "cannot read" in error
        assert "secret" not in error


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA (`ca.pem`) and a server certificate of it for the name `target.test` (`server.pem`, `server.key`)."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test CA",
            "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=target.test")
    (folder / "names").write_text("subjectAltName=DNS:target.test\nauthorityKeyIdentifier=keyid\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", "server.pem", "-days", "2", "-extfile", "names")  # fmt: skip
    return folder


def server_context(certificates: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    return context


async def fine(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(body=b"a 1\n", headers={"Content-Type": TEXT})


async def test_tls_with_a_private_ca_checks_name_and_chain(certificates: Path) -> None:
    ca = TlsConfig(ca_file=FilePath(str(certificates / "ca.pem")))
    async with serving(fine, ssl_context=server_context(certificates)) as address:
        port = address.partition(":")[2]
        hosts = {"target.test": "127.0.0.1", "other.test": "127.0.0.1"}
        named = f"target.test:{port}"
        async with scraping(job(named, scheme="https", tls_config=ca), hosts=hosts) as made:
            await made.scrapes(1)
            assert made.target().last.error == ""
            assert made.store.values(name="a") == [1.0] * len(made.store.values(name="a"))
        async with scraping(job(f"other.test:{port}", scheme="https", tls_config=ca), hosts=hosts) as made:
            assert "tls" in await made.failure()
        async with scraping(job(named, scheme="https"), hosts=hosts) as made:
            assert "tls" in await made.failure()
        server_name = TlsConfig(ca_file=ca.ca_file, server_name="target.test")
        async with scraping(job(address, scheme="https", tls_config=server_name)) as made:
            await made.until(lambda: made.store.values(name="up")[-1:] == [1.0])
        unchecked = TlsConfig(insecure_skip_verify=True)
        async with scraping(job(address, scheme="https", tls_config=unchecked)) as made:
            await made.until(lambda: made.store.values(name="up")[-1:] == [1.0])


async def test_a_ca_file_that_is_missing_fails_the_scrape_only(tmp_path: Path) -> None:
    tls = TlsConfig(ca_file=FilePath(str(tmp_path / "none.pem")))
    async with page() as target, scraping(job(target.address, scheme="https", tls_config=tls)) as made:
        assert "none.pem" in await made.failure()


async def test_a_proxy_gets_the_whole_url() -> None:
    async with page("a 1\n") as proxy:
        config = job("far.example:9100", proxy_url=Url(f"http://{proxy.address}"))
        async with scraping(config) as made:
            await made.until(lambda: made.store.values(name="a"))
        assert proxy.requests[0].headers["Host"] == "far.example:9100"
        assert proxy.requests[0]._message.path == "http://far.example:9100/metrics"  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("follow", [True, False])
async def test_redirects(follow: bool) -> None:
    async with page("a 1\n") as target:

        async def elsewhere(request: web.BaseRequest) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": f"http://{target.address}/moved"})

        async with serving(elsewhere) as address, scraping(job(address, follow_redirects=follow)) as made:
            if follow:
                await made.until(lambda: made.store.values(name="a"))
                assert target.requests[0].path == "/moved"
            else:
                assert "HTTP status 302" in await made.failure()


async def test_redirects_in_a_circle_end() -> None:
    async def again(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "/again"})

    async with serving(again) as address, scraping(job(address)) as made:
        assert "stopped after 10 redirects" in await made.failure()


async def test_credentials_do_not_follow_to_another_host() -> None:
    auth = Authorization(credentials=Secret("mine"))
    async with page("a 1\n") as target:

        async def elsewhere(request: web.BaseRequest) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": f"http://{target.address}/moved"})

        async with serving(elsewhere) as address, scraping(job(address, authorization=auth)) as made:
            await made.until(lambda: made.store.values(name="a"))
        assert "Authorization" not in target.requests[0].headers


async def test_hosts_lead_a_name_elsewhere_and_keep_the_labels() -> None:
    async with page("a 1\n") as target, scraping(job("app:5000"), hosts={"app:5000": target.address}) as made:
        await made.until(lambda: made.store.values(name="a"))
        assert made.store.samples(name="a")[0].labels["instance"] == "app:5000"
        assert target.requests[0].headers["Host"] == "app:5000"


async def test_a_closed_port_and_an_unknown_content_type_say_so() -> None:
    async with page("a 1\n") as target:
        gone = target.address
    async with scraping(job(gone)) as made:
        assert "connection refused" in await made.failure()
    async with page("a 1\n", content_type="application/json") as target:
        async with scraping(job(target.address)) as made:
            await made.failure()
        config = job(target.address, fallback_scrape_protocol="PrometheusText0.0.4")
        async with scraping(config) as made:
            await made.until(lambda: made.store.values(name="a"))


async def test_the_content_type_may_change_between_scrapes() -> None:
    async with page("a 1\n") as target, scraping(job(target.address)) as made:
        await made.scrapes(2)
        target.body, target.content_type = "# TYPE a gauge\na 2\n# EOF\n", OPENMETRICS
        await made.until(lambda: 2.0 in made.store.values(name="a"))
        assert 0.0 not in made.store.values(name="up")


async def test_one_connection_serves_scrape_after_scrape() -> None:
    peers: set[object] = set()

    async def note(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response(body=b"a 1\n", headers={"Content-Type": TEXT})

    async with serving(note) as address, scraping(job(address)) as made:
        await made.scrapes(6)
        assert set(made.store.values(name="up")) == {1.0}
        assert len(peers) == 1
