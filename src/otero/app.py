"""The composition root: `build(config)` makes every part, in the order in which data flows; `start` and `stop` follow it.

scrape, host ─▶ intake ─▶ store (journal, head, engine) ─▶ remote reader ─▶ query engine ─▶ HTTP API
                  ▲                                                              │
                  └────────────────────────── rules ◀────────────────────────────┘
                                                └─▶ alertmanager ─▶ receivers
"""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from otero.alerting.alertmanager import Alertmanager
from otero.alerting.external import ExternalAlertmanagers
from otero.api import build_alertmanager, build_api, build_pushgateway
from otero.api.context import ApiContext, Settings
from otero.api.prometheus.targets import global_url
from otero.api.queries import QueryPool
from otero.clock import Clock, SystemClock
from otero.config import Config, Token
from otero.errors import BadConfig, OteroError, Problem
from otero.fields import Duration
from otero.http_client import Hosts
from otero.http_server import Access, HttpServer, Tls, bind, is_loopback, split_listen
from otero.ingest.host import HostCollector
from otero.ingest.intake import Intake
from otero.ingest.receivers.otlp.doors import OtlpDoors
from otero.ingest.receivers.otlp.export import OtlpExport
from otero.ingest.receivers.otlp_metrics.receiver import OtlpMetrics
from otero.ingest.receivers.pushgateway import Pushgateway, PushgatewayReceiver
from otero.ingest.receivers.remote_write import RemoteWriteReceiver
from otero.ingest.scrape.config import ScrapeConfig
from otero.ingest.scrape.discovery_config import TargetGroup
from otero.ingest.scrape.manager import ScrapeManager
from otero.model.alerts import Alert
from otero.query.promql.engine import Engine
from otero.remote.reader import RemoteReader
from otero.remote.sender import RemoteWriter
from otero.rules.group import Surroundings
from otero.rules.languages import PROMQL
from otero.rules.metrics import RuleCollector
from otero.rules.rule import RuleQueries
from otero.rules.scheduler import OnAlerts, Scheduler
from otero.storage.ledger import Ledger
from otero.storage.metrics import MetricStore, StorageSettings, StoreCollector
from otero.storage.push_groups import PushGroupTable
from otero.storage.records import RecordStorage
from otero.storage.state import State
from otero.telemetry import REGISTRY

_log = logging.getLogger(__name__)

Reload = Callable[[], Config]


@dataclass(frozen=True, slots=True)
class _Port:
    """A port besides the main one, and the dialect that is served at its root."""

    name: str
    listen: str
    socket: socket.socket
    server: HttpServer


class Otero:
    """One server: its parts, and its life from start to stop."""

    def __init__(
        self,
        config: Config,
        reread: Reload,
        *,
        insecure: bool,
        flags: Mapping[str, str],
        clock: Clock,
        on_alerts: OnAlerts | None,
    ) -> None:
        self.config = config
        self.ready = False
        self.reload_ok = True
        self.started_ms = self.reloaded_ms = clock.now_ms()
        self.doors: Sequence[tuple[str, str]] = ()
        self._reread = reread
        self._clock = clock
        self._reloading = asyncio.Lock()
        self._collector: StoreCollector | None = None
        access = access_of(config, insecure=insecure)
        push = config.receivers.pushgateway
        further = [
            (name, receiver.endpoint, build_it)
            for name, receiver, build_it in (
                ("pushgateway", push, build_pushgateway),
                ("alertmanager", config.receivers.alertmanager, build_alertmanager),
            )
            if receiver is not None
        ]
        with contextlib.ExitStack() as undo:
            self._socket = bind(config.listen)
            undo.callback(self._socket.close)
            self.store, self.records, self.ledger = _storage(config, clock)
            undo.callback(self.store.stop)
            undo.callback(self.records.stop)
            undo.callback(self.ledger.stop)
            self._otlp_doors = OtlpDoors(config.receivers.otlp, access, insecure=insecure)
            undo.callback(self._otlp_doors.close)
            sockets: list[socket.socket] = []
            for _, listen, _ in further:
                sockets.append(bind(listen))
                undo.callback(sockets[-1].close)
            self.state = State.beside(Path(config.storage.path))
            undo.pop_all()
        self.intake = Intake(self.store, self.records.stores)
        self.scrapes = ScrapeManager(self.intake, clock, hosts=Hosts(config.hosts))
        self.pushgateway = Pushgateway(
            push or PushgatewayReceiver(), PushGroupTable(self.state), self.intake, clock
        )
        self.host = HostCollector(self.intake, clock, config.host.interval) if config.collects_host else None
        self.remote_write = RemoteWriteReceiver(
            self.intake,
            clock,
            retention_ms=config.storage.retention.metrics,
            max_bytes=config.limits.remote_write_bytes,
        )
        self.remote_writer = RemoteWriter(
            self.store, clock, max_bytes=config.storage.remote_write_max_bytes, hosts=Hosts(config.hosts)
        )
        retention = config.storage.retention
        self.otlp_metrics = OtlpMetrics(
            self.intake,
            clock,
            config.prometheus.otlp,
            retention_ms=retention.metrics,
            lookback_ms=config.query.lookback_delta,
        )
        self.otlp = OtlpExport(
            self.intake,
            clock,
            self.otlp_metrics.write,
            self.records.seen_metrics,
            retention_ms={"logs": retention.logs, "traces": retention.traces},
        )
        self.remote_reader = RemoteReader(self.store, hosts=Hosts(config.hosts))
        self.engine = Engine(
            self.remote_reader,
            lookback_ms=config.query.lookback_delta,
            default_step_ms=config.prometheus.global_.evaluation_interval,
            features=config.query.features,
        )
        self.queries = QueryPool(
            clock,
            workers=config.query.max_concurrency,
            timeout_s=config.query.timeout / 1000,
            max_samples=config.query.max_samples,
        )
        self.alertmanager = Alertmanager(
            self.state,
            clock,
            self.ledger.record,
            config.alertmanager,
            config.templates,
            hosts=Hosts(config.hosts),
            external_url=global_url(self._address(config.listen, self._socket)),
        )
        self.rules = Scheduler(
            RuleQueries(
                {PROMQL: self.engine},
                clock,
                timeout_s=config.query.timeout / 1000,
                max_samples=config.query.max_samples,
            ),
            self.store,
            self.intake,
            clock,
            self._tell,
            record=self.ledger.record,
        )
        self._on_alerts = on_alerts or self.alertmanager.take
        self.external_alertmanagers = ExternalAlertmanagers(clock, hosts=Hosts(config.hosts))
        self._rule_metrics = RuleCollector(lambda: self.rules.groups)
        context = ApiContext(
            clock=clock,
            store=self.store,
            state=self.state,
            engine=self.engine,
            queries=self.queries,
            scrapes=self.scrapes,
            records=self.records,
            ledger=self.ledger,
            rules=self.rules,
            external_alertmanagers=self.external_alertmanagers,
            alertmanager=self.alertmanager,
            remote_write=self.remote_write,
            otlp=self.otlp,
            pushgateway=self.pushgateway,
            lifecycle=self,
            flags=flags,
        )
        headers = config.web.http_server_config.headers
        tls = _tls(config)
        self._server = HttpServer(build_api(context, access, headers), [self._socket], tls=tls)
        self._ports = [
            _Port(name, listen, bound, HttpServer(build_it(context, access, headers), [bound], tls=tls))
            for (name, listen, build_it), bound in zip(further, sockets, strict=True)
        ]

    @property
    def settings(self) -> Settings:
        """What the API shows of the configuration in force."""
        return Settings(
            yaml=self.config.text,
            jobs=tuple(config.job_name for config in self._scrape_configs()),
            external_labels=self.config.prometheus.global_.external_labels,
            retention_ms=self.config.storage.retention.metrics,
        )

    async def start(self) -> None:
        """Answer at once, replay what the journal holds, then take in. Returns when ready."""
        await self._server.start()
        doors = [("http", self._address(self.config.listen, self._socket))]
        for port in self._ports:
            await port.server.start()
            doors.append((port.name, self._address(port.listen, port.socket)))
        self.doors = tuple(doors)
        await asyncio.to_thread(self.store.start)
        self.records.start()
        self.ledger.start()
        self._collector = StoreCollector(self.store)
        REGISTRY.register(self._collector)
        REGISTRY.register(self._rule_metrics)
        REGISTRY.register(self.alertmanager)
        REGISTRY.register(self.external_alertmanagers)
        # What is loaded by now stays: looking through it again and again for garbage would cost more than any garbage.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        await self.pushgateway.start()
        self.doors = (*self.doors, *await self._otlp_doors.start(self.otlp))
        await self.alertmanager.start()
        self.ready = True
        await self._apply_remote()
        await self.scrapes.apply(self._scrape_configs())
        await self.external_alertmanagers.apply(self.config.prometheus.alerting)
        await self.rules.apply(self.config.rule_files, self._around_rules())
        if self.host is not None:
            self.host.start()

    async def stop(self) -> None:
        """Stop in reverse: nothing new comes in, what is under way is answered, everything is flushed."""
        self.ready = False
        if self._collector is not None:
            REGISTRY.unregister(self._collector)
            REGISTRY.unregister(self._rule_metrics)
            REGISTRY.unregister(self.alertmanager)
            REGISTRY.unregister(self.external_alertmanagers)
        await self.rules.stop()
        await self.external_alertmanagers.stop()
        if self.host is not None:
            await self.host.stop()
        await self.scrapes.stop()
        await self._otlp_doors.stop()
        for port in self._ports:
            await port.server.stop()
        await self.remote_writer.stop()
        await self._server.stop()
        await self.alertmanager.stop()
        await self.remote_reader.stop()
        await self.pushgateway.stop()
        self.queries.close()
        self.otlp.close()
        await asyncio.to_thread(self.ledger.stop)
        await asyncio.to_thread(self.records.stop)
        await asyncio.to_thread(self.store.stop)
        self.state.close()

    async def reload(self) -> None:
        """Read the configuration again and put it in force: all of it, or none. Raises BadConfig."""
        async with self._reloading:
            try:
                config = await asyncio.to_thread(self._reread)
            except BadConfig as error:
                self.reload_ok = False
                _log.error(
                    "reload refused, the configuration before stays in force", extra={"reason": str(error)}
                )
                raise
            for problem in config.warnings:
                _log.warning("%s", problem)
            needs_restart = _fixed_settings(self.config, config)
            if config.prometheus.otlp != self.config.prometheus.otlp:
                self.otlp_metrics.configure(config.prometheus.otlp)
            self.config = config
            await self.alertmanager.apply(config.alertmanager, config.templates)
            await self._apply_remote()
            await self.scrapes.apply(self._scrape_configs())
            await self.external_alertmanagers.apply(self.config.prometheus.alerting)
            await self.rules.apply(self.config.rule_files, self._around_rules())
            self.reload_ok = True
            self.reloaded_ms = self._clock.now_ms()
            _log.info("configuration reloaded", extra={"takes_effect_after_restart": needs_restart})

    def _address(self, listen: str, listening: socket.socket) -> str:
        scheme = "https" if self.config.web.tls_server_config else "http"
        host, _ = split_listen(listen)
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"

    async def _apply_remote(self) -> None:
        prometheus = self.config.prometheus
        external_labels = prometheus.global_.external_labels
        await self.remote_writer.apply(prometheus.remote_write, external_labels)
        await self.remote_reader.apply(prometheus.remote_read, external_labels)

    def _tell(self, alerts: Sequence[Alert]) -> None:
        """What rules want sent goes to this server's own Alertmanager and to those elsewhere."""
        self._on_alerts(alerts)
        self.external_alertmanagers.put(alerts)

    def _around_rules(self) -> Surroundings:
        global_ = self.config.prometheus.global_
        return Surroundings(
            interval_ms=global_.evaluation_interval,
            query_offset_ms=global_.rule_query_offset,
            external_labels=global_.external_labels,
            external_url=global_url(self.doors[0][1]),
            features=self.engine.features,
            timing=self.config.otero.alerts,
        )

    def _scrape_configs(self) -> Sequence[ScrapeConfig]:
        """What the configuration says; without any prometheus.yml, Otero's own metrics."""
        if self.config.prometheus_given:
            return self.config.prometheus.scrape_configs
        address = urlsplit(self.doors[0][1])
        host = "127.0.0.1" if address.hostname == "0.0.0.0" else address.hostname  # noqa: S104 — compared, not bound
        target = f"[{host}]:{address.port}" if ":" in (host or "") else f"{host}:{address.port}"
        static = TargetGroup(targets=(target,))
        return (
            ScrapeConfig(
                job_name="otero",
                scheme="https" if self.config.web.tls_server_config else "http",
                scrape_interval=Duration(15_000),
                scrape_timeout=Duration(10_000),
                static_configs=(static,),
            ),
        )


def build(
    config: Config,
    reread: Reload,
    *,
    insecure: bool = False,
    flags: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    on_alerts: OnAlerts | None = None,
) -> Otero:
    """Every part of one server, connected, nothing started but the bound port and the opened data directory.

    `on_alerts` is told the alerts that rules want sent, in place of the Alertmanager inside.
    """
    return Otero(
        config,
        reread,
        insecure=insecure,
        flags=flags or {},
        clock=clock or SystemClock(),
        on_alerts=on_alerts,
    )


async def run(read: Reload, *, insecure: bool = False, flags: Mapping[str, str] | None = None) -> int:
    """Start, say what is open, wait for SIGTERM or SIGINT, drain, flush; the exit code. SIGHUP reloads."""
    try:
        config = await asyncio.to_thread(read)
        for problem in config.warnings:
            print(f"warning: {problem}", file=sys.stderr)
        otero = build(config, read, insecure=insecure, flags=flags)
    except OteroError as error:
        for line in str(error).splitlines():
            print(f"otero: {line}", file=sys.stderr)
        return 1
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    reloads: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        with contextlib.suppress(BadConfig):  # Otero has logged it and keeps the configuration before
            await otero.reload()

    def hang_up() -> None:
        task = asyncio.create_task(reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, hang_up)
    try:
        await otero.start()
        for name, address in otero.doors:
            print(f"{name}: {address}", flush=True)
        print(f"ready on {otero.doors[0][1]}", flush=True)
        await stopping.wait()
        _log.info("stopping: draining and flushing")
    except OteroError as error:
        print(f"otero: {error}", file=sys.stderr)
        return 1
    finally:
        await otero.stop()
    return 0


def access_of(config: Config, *, insecure: bool) -> Access:
    """Who may come in. Raises BadConfig when others could reach an open door unasked."""
    tokens = tuple(_token(token) for token in config.auth.tokens)
    users = config.web.users()
    doors = (config.receivers.pushgateway, config.receivers.alertmanager)
    listens = [config.listen, *(door.endpoint for door in doors if door is not None)]
    exposed = [listen for listen in listens if not is_loopback(split_listen(listen)[0])]
    if exposed and not users and not tokens and not insecure:
        raise BadConfig(
            Problem(
                f"listening on {exposed[0]} would let everyone on the network in: configure basic_auth_users"
                " (--web-config) or auth.tokens (otero.yml), or say --insecure"
            )
        )
    return Access(
        users=users,
        tokens=tokens,
        check_host=not insecure,
        allowed_hosts=frozenset(config.auth.allowed_hosts),
    )


def _storage(config: Config, clock: Clock) -> tuple[MetricStore, RecordStorage, Ledger]:
    """Metrics, log records and spans, decisions about alerts, all in one data directory."""
    settings, retention = _storage_settings(config), config.storage.retention
    store = MetricStore(settings, clock)
    try:
        records = RecordStorage(
            store.engine,
            settings.path / "journal",
            clock,
            retention_ms={"logs": retention.logs, "traces": retention.traces},
            journal_max_bytes=settings.journal_max_bytes,
            fsync=settings.fsync,
        )
        ledger = Ledger(
            store.engine,
            settings.path / "journal" / "decisions",
            clock,
            retention_ms=retention.decisions,
            fsync=settings.fsync,
        )
    except BaseException:
        store.stop()
        raise
    return store, records, ledger


def _storage_settings(config: Config) -> StorageSettings:
    storage = config.storage
    return StorageSettings(
        path=Path(storage.path),
        retention_ms=storage.retention.metrics,
        head_max_bytes=storage.head_max_bytes,
        journal_max_bytes=storage.journal_max_bytes,
        fsync=storage.fsync,
        flush_interval_ms=storage.flush_interval,
        max_series=config.limits.series,
        max_series_per_job=config.limits.series_per_job,
    )


def _token(token: Token) -> str:
    if not token.token_file:
        return token.token.reveal()
    try:
        return Path(token.token_file).read_text().strip()
    except OSError as error:
        raise BadConfig(
            Problem(f"cannot read {token.token_file}: {error.strerror}", path="auth.tokens")
        ) from None


_CLIENT_CERTIFICATES = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_TLS_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}


def _tls(config: Config) -> ssl.SSLContext | None:
    tls = config.web.tls_server_config
    if tls is None:
        return None
    if tls.client_auth_type not in _CLIENT_CERTIFICATES:
        raise BadConfig(
            Problem(
                f"client_auth_type {tls.client_auth_type} asks for certificates without checking them, which Otero does"
                f" not do; use one of {', '.join(_CLIENT_CERTIFICATES)}",
                path="tls_server_config.client_auth_type",
            )
        )
    return Tls(
        cert_file=tls.cert_file,
        key_file=tls.key_file,
        cert=tls.cert,
        key=tls.key.reveal(),
        client_ca_file=tls.client_ca_file,
        client_ca=tls.client_ca,
        client_certificate=_CLIENT_CERTIFICATES[tls.client_auth_type],
        minimum=_TLS_VERSIONS[tls.min_version],
        maximum=_TLS_VERSIONS[tls.max_version],
    ).context()


def _fixed_settings(before: Config, after: Config) -> list[str]:
    """The changed settings that only a restart puts in force."""
    return [
        name
        for name in ("listen", "storage", "auth", "web", "hosts", "host", "query", "limits", "receivers")
        if getattr(before, name) != getattr(after, name)
    ]
