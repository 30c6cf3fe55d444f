"""What errors of outgoing requests tell."""

import pytest
from yarl import URL

from otero.errors import Unavailable
from otero.fields import Url
from otero.http_client import HttpClient, HttpClientConfig
from tests.e2e.server import free_port


@pytest.mark.parametrize("kind", [str, Url, URL])
async def test_passwords_of_urls_stay_out_of_errors(kind: type[str | URL]) -> None:
    client = HttpClient(HttpClientConfig())
    address = f"127.0.0.1:{free_port()}/write"
    try:
        with pytest.raises(Unavailable) as caught:
            await client.request("POST", kind(f"http://user:hunter2@{address}"), timeout_s=10, max_bytes=10)
    finally:
        await client.close()
    assert f"http://user:xxxxx@{address}" in str(caught.value)
    assert "hunter2" not in str(caught.value)
