"""http_sd: target groups from a URL that answers in JSON."""

from otero.errors import BadInput, OteroError, Unavailable
from otero.http_client import HttpClient
from otero.ingest.scrape.discovery import LabelSets, Report, Trouble, label_sets, pause
from otero.ingest.scrape.discovery.files import json_groups
from otero.ingest.scrape.discovery_config import HttpSdConfig

MAX_ANSWER = 32 << 20


class HttpDiscovery:
    """Asks every `refresh_interval`; a failed answer keeps the last good one."""

    def __init__(self, config: HttpSdConfig, client: HttpClient) -> None:
        self._config = config
        self._client = client
        self._trouble = Trouble(config.url.redacted())

    async def run(self, report: Report) -> None:
        try:
            last: LabelSets | None = None
            while True:
                try:
                    found = await self.ask()
                    self._trouble.over()
                    if found != last:
                        report({self._config.url: found})
                    last = found
                except OteroError as error:
                    self._trouble.say(str(error))
                await pause(int(self._config.refresh_interval))
        finally:
            await self._client.close()

    async def ask(self) -> LabelSets:
        """One answer. Raises an OteroError that says what was wrong with it."""
        url = self._config.url
        interval = self._config.refresh_interval.seconds
        response = await self._client.request(
            "GET",
            url,
            headers={"Accept": "application/json", "X-Prometheus-Refresh-Interval-Seconds": f"{interval:f}"},
            timeout_s=interval,
            max_bytes=MAX_ANSWER,
        )
        if response.status != 200:
            raise Unavailable(f"server returned HTTP status {response.status} {response.reason}")
        media = response.content_type.partition(";")[0].strip().lower()
        if media != "application/json":
            raise BadInput(f'unsupported content type "{response.content_type[:100]}"')
        return label_sets(json_groups(response.body), {"__meta_url": url})
