"""From a discovered label set to a target: Prometheus' defaults, relabelling, checks."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import xxhash

from otero.errors import BadField, BadInput
from otero.fields import Duration
from otero.ingest.relabel import Relabel, Step
from otero.ingest.scrape.config import ScrapeConfig
from otero.model.labels import encode_labels

ADDRESS = "__address__"
SCHEME = "__scheme__"
METRICS_PATH = "__metrics_path__"
SCRAPE_INTERVAL = "__scrape_interval__"
SCRAPE_TIMEOUT = "__scrape_timeout__"
PARAM = "__param_"
META = "__meta_"


@dataclass(frozen=True, slots=True)
class Target:
    """One endpoint to scrape.

    discovered  labels before relabelling, defaults included.
    labels      labels after it, `__…` included but for `__meta_…`: with `url` the target's identity.
    public      the labels that its series get.
    """

    discovered: Mapping[str, str]
    labels: Mapping[str, str]
    public: Mapping[str, str]
    url: str
    interval_ms: int
    timeout_ms: int

    @property
    def identity(self) -> bytes:
        return encode_labels(self.labels) + self.url.encode()

    def offset_ms(self) -> int:
        """Where in the interval it is scraped: from its identity, so that a restart keeps its phase."""
        return xxhash.xxh3_64_intdigest(self.identity) % self.interval_ms


def with_defaults(discovered: Mapping[str, str], config: ScrapeConfig) -> dict[str, str]:
    """The labels that relabelling starts from."""
    defaults = {
        "job": config.job_name,
        SCRAPE_INTERVAL: str(Duration(config.scrape_interval)),
        SCRAPE_TIMEOUT: str(Duration(config.scrape_timeout)),
        METRICS_PATH: config.metrics_path,
        SCHEME: config.scheme,
    }
    labels = {name: value for name, value in discovered.items() if value}
    for name, value in defaults.items():
        labels.setdefault(name, value)
    for name, values in config.params.items():
        if values:
            labels[PARAM + name] = values[0]
    return labels


def build_target(discovered: Mapping[str, str], config: ScrapeConfig, relabel: Relabel) -> Target | None:
    """The target of `discovered` (as `with_defaults` gives it), None when relabelling drops it.

    Raises BadInput for what cannot be scraped.
    """
    labels = relabel(discovered)
    if labels is None:
        return None
    address = labels.get(ADDRESS, "")
    if not address:
        raise BadInput("no address")
    if "/" in address:
        raise BadInput(f'"{address}" is not a valid hostname')
    interval = _duration(labels, SCRAPE_INTERVAL, "interval")
    timeout = _duration(labels, SCRAPE_TIMEOUT, "timeout")
    if timeout > interval:
        raise BadInput(
            "scrape timeout cannot be greater than scrape interval"
            f' ("{labels[SCRAPE_TIMEOUT]}" > "{labels[SCRAPE_INTERVAL]}")'
        )
    scheme = labels.get(SCHEME, "")
    if scheme not in ("http", "https"):
        raise BadInput(f'invalid scheme: "{scheme}"')
    labels = {name: value for name, value in labels.items() if not name.startswith(META)}
    labels.setdefault("instance", address)
    for name, value in labels.items():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadInput(f'invalid label value for "{name}": {value!r}') from None
    return Target(
        discovered=discovered,
        labels=labels,
        public={name: value for name, value in labels.items() if not name.startswith("__")},
        url=_url(labels, config),
        interval_ms=int(interval),
        timeout_ms=int(timeout),
    )


def explain(discovered: Mapping[str, str], relabel: Relabel) -> list[Step]:
    """What each relabelling rule did to a target: the answer to "why is my target gone"."""
    return relabel.explain(discovered)


def _duration(labels: Mapping[str, str], name: str, what: str) -> Duration:
    try:
        duration = Duration.parse(labels.get(name, ""))
    except BadField as error:
        raise BadInput(f"error parsing scrape {what}: {error}") from None
    if duration == 0:
        raise BadInput(f"scrape {what} cannot be 0")
    return duration


def _url(labels: Mapping[str, str], config: ScrapeConfig) -> str:
    params = {name: list(values) for name, values in config.params.items()}
    for name, value in labels.items():
        if name.startswith(PARAM):
            key = name.removeprefix(PARAM)
            params[key] = [value, *params.get(key, [])[1:]]
    path = quote(labels.get(METRICS_PATH, ""), safe="/$&+,:;=@~")
    if path and not path.startswith("/"):
        path = f"/{path}"
    query = urlencode(sorted(params.items()), doseq=True)
    return f"{labels[SCHEME]}://{labels[ADDRESS]}{path}{'?' if query else ''}{query}"
