"""Settings of scraping: one entry of `scrape_configs`, and what it takes from `global`."""

from typing import Annotated, Literal

import msgspec

from otero.errors import BadField
from otero.fields import Duration, FilePath, Size, valid_label_name
from otero.http_client import HttpClientConfig
from otero.ingest.relabel_config import RelabelConfig
from otero.ingest.scrape import discovery_config_unserved as unserved
from otero.ingest.scrape.discovery_config import DnsSdConfig, FileSdConfig, HttpSdConfig, TargetGroup
from otero.source import Unserved

ScrapeProtocol = Literal[
    "PrometheusProto", "OpenMetricsText0.0.1", "OpenMetricsText1.0.0", "PrometheusText1.0.0", "PrometheusText0.0.4"
]  # fmt: skip
ValidationScheme = Literal["", "legacy", "utf8"]
EscapingScheme = Literal["", "allow-utf-8", "underscores", "dots", "values"]

DEFAULT_PROTOCOLS: tuple[ScrapeProtocol, ...] = (
    "OpenMetricsText1.0.0",
    "OpenMetricsText0.0.1",
    "PrometheusText1.0.0",
    "PrometheusText0.0.4",
)
PROTO_FIRST_PROTOCOLS: tuple[ScrapeProtocol, ...] = ("PrometheusProto", *DEFAULT_PROTOCOLS)


_LOGS = Unserved("failures are in Otero's own log and on /api/v1/targets")
_Later = Unserved("targets of this service discovery are not found; use file_sd_configs or http_sd_configs")


class GlobalConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `global`. Zero, empty or None means that the key was not given; limits of 0 mean no limit."""

    scrape_interval: Duration = Duration(0)
    scrape_timeout: Duration = Duration(0)
    scrape_protocols: tuple[ScrapeProtocol, ...] | None = None
    evaluation_interval: Duration = Duration(0)
    rule_query_offset: Duration = Duration(0)
    query_log_file: Annotated[FilePath, Unserved()] = FilePath("")
    scrape_failure_log_file: Annotated[FilePath, _LOGS] = FilePath("")
    external_labels: dict[str, str] = {}
    body_size_limit: Size = Size(0)
    sample_limit: int = 0
    target_limit: int = 0
    label_limit: int = 0
    label_name_length_limit: int = 0
    label_value_length_limit: int = 0
    keep_dropped_targets: int = 0
    metric_name_validation_scheme: ValidationScheme = ""
    metric_name_escaping_scheme: EscapingScheme = ""
    scrape_native_histograms: bool | None = None
    convert_classic_histograms_to_nhcb: bool = False
    always_scrape_classic_histograms: bool = False
    extra_scrape_metrics: bool = False

    def __post_init__(self) -> None:
        check_not_negative(self)
        if self.scrape_protocols is not None:
            check_protocols(self.scrape_protocols)
        for name in self.external_labels:
            if not valid_label_name(name):
                raise BadField(f'"{name}" is not a valid label name', f"external_labels.{name}")
        interval = self.scrape_interval or Duration(60_000)
        if self.scrape_timeout > interval:
            raise BadField("global scrape timeout greater than scrape interval", "scrape_timeout")

    def complete(self) -> "GlobalConfig":
        """With Prometheus' defaults for what was not given."""
        interval = self.scrape_interval or Duration(60_000)
        scheme = self.metric_name_validation_scheme or "utf8"
        return msgspec.structs.replace(
            self,
            scrape_interval=interval,
            scrape_timeout=self.scrape_timeout or min(Duration(10_000), interval),
            evaluation_interval=self.evaluation_interval or Duration(60_000),
            scrape_native_histograms=bool(self.scrape_native_histograms),
            metric_name_validation_scheme=scheme,
            metric_name_escaping_scheme=self.metric_name_escaping_scheme
            or ("allow-utf-8" if scheme == "utf8" else "underscores"),
        )


class Discovery(HttpClientConfig, frozen=True, kw_only=True):
    """Where targets come from: the keys that scrape_configs and alertmanagers share."""

    static_configs: tuple[TargetGroup, ...] = ()
    file_sd_configs: tuple[FileSdConfig, ...] = ()
    http_sd_configs: tuple[HttpSdConfig, ...] = ()
    dns_sd_configs: tuple[DnsSdConfig, ...] = ()
    aws_sd_configs: Annotated[tuple[unserved.AwsSdConfig, ...], _Later] = ()
    azure_sd_configs: Annotated[tuple[unserved.AzureSdConfig, ...], _Later] = ()
    consul_sd_configs: Annotated[tuple[unserved.ConsulSdConfig, ...], _Later] = ()
    digitalocean_sd_configs: Annotated[tuple[unserved.DigitaloceanSdConfig, ...], _Later] = ()
    docker_sd_configs: Annotated[tuple[unserved.DockerSdConfig, ...], _Later] = ()
    dockerswarm_sd_configs: Annotated[tuple[unserved.DockerswarmSdConfig, ...], _Later] = ()
    ec2_sd_configs: Annotated[tuple[unserved.Ec2SdConfig, ...], _Later] = ()
    ecs_sd_configs: Annotated[tuple[unserved.AwsClusterSdConfig, ...], _Later] = ()
    elasticache_sd_configs: Annotated[tuple[unserved.AwsClusterSdConfig, ...], _Later] = ()
    eureka_sd_configs: Annotated[tuple[unserved.EurekaSdConfig, ...], _Later] = ()
    gce_sd_configs: Annotated[tuple[unserved.GceSdConfig, ...], _Later] = ()
    hetzner_sd_configs: Annotated[tuple[unserved.HetznerSdConfig, ...], _Later] = ()
    ionos_sd_configs: Annotated[tuple[unserved.IonosSdConfig, ...], _Later] = ()
    kubernetes_sd_configs: Annotated[tuple[unserved.KubernetesSdConfig, ...], _Later] = ()
    kuma_sd_configs: Annotated[tuple[unserved.KumaSdConfig, ...], _Later] = ()
    lightsail_sd_configs: Annotated[tuple[unserved.LightsailSdConfig, ...], _Later] = ()
    linode_sd_configs: Annotated[tuple[unserved.LinodeSdConfig, ...], _Later] = ()
    marathon_sd_configs: Annotated[tuple[unserved.MarathonSdConfig, ...], _Later] = ()
    msk_sd_configs: Annotated[tuple[unserved.AwsClusterSdConfig, ...], _Later] = ()
    nerve_sd_configs: Annotated[tuple[unserved.ZookeeperSdConfig, ...], _Later] = ()
    nomad_sd_configs: Annotated[tuple[unserved.NomadSdConfig, ...], _Later] = ()
    oci_sd_configs: Annotated[tuple[unserved.OciSdConfig, ...], _Later] = ()
    openstack_sd_configs: Annotated[tuple[unserved.OpenstackSdConfig, ...], _Later] = ()
    outscale_sd_configs: Annotated[tuple[unserved.OutscaleSdConfig, ...], _Later] = ()
    ovhcloud_sd_configs: Annotated[tuple[unserved.OvhcloudSdConfig, ...], _Later] = ()
    puppetdb_sd_configs: Annotated[tuple[unserved.PuppetdbSdConfig, ...], _Later] = ()
    rds_sd_configs: Annotated[tuple[unserved.AwsClusterSdConfig, ...], _Later] = ()
    scaleway_sd_configs: Annotated[tuple[unserved.ScalewaySdConfig, ...], _Later] = ()
    serverset_sd_configs: Annotated[tuple[unserved.ZookeeperSdConfig, ...], _Later] = ()
    stackit_sd_configs: Annotated[tuple[unserved.StackitSdConfig, ...], _Later] = ()
    triton_sd_configs: Annotated[tuple[unserved.TritonSdConfig, ...], _Later] = ()
    uyuni_sd_configs: Annotated[tuple[unserved.UyuniSdConfig, ...], _Later] = ()
    vultr_sd_configs: Annotated[tuple[unserved.VultrSdConfig, ...], _Later] = ()
    relabel_configs: tuple[RelabelConfig, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.relabel_configs:
            return
        for group_index, group in enumerate(self.static_configs):
            for index, target in enumerate(group.targets):
                if "/" in target:
                    raise BadField(
                        f'"{target}" is not a valid hostname: write host:port, and scheme and path in their own keys',
                        f"static_configs[{group_index}].targets[{index}]",
                    )


class ScrapeConfig(Discovery, frozen=True, kw_only=True):
    """One job. As parsed, zero, empty or None means "as in global"; after `complete` every field has its value.

    Times are milliseconds (`Duration`), limits of 0 mean no limit, file paths are absolute.
    """

    job_name: str = ""
    honor_labels: bool = False
    honor_timestamps: bool = True
    track_timestamps_staleness: bool = False
    params: dict[str, list[str]] = {}  # noqa: RUF012 (msgspec copies it)
    scrape_interval: Duration = Duration(0)
    scrape_timeout: Duration = Duration(0)
    scrape_protocols: tuple[ScrapeProtocol, ...] | None = None
    fallback_scrape_protocol: ScrapeProtocol | Literal[""] = ""
    scrape_native_histograms: bool | None = None
    always_scrape_classic_histograms: bool | None = None
    convert_classic_histograms_to_nhcb: bool | None = None
    scrape_failure_log_file: Annotated[FilePath, _LOGS] = FilePath("")
    metrics_path: str = "/metrics"
    scheme: Literal["http", "https"] = "http"
    enable_compression: bool = True
    body_size_limit: Size = Size(0)
    sample_limit: int = 0
    target_limit: int = 0
    label_limit: int = 0
    label_name_length_limit: int = 0
    label_value_length_limit: int = 0
    native_histogram_bucket_limit: int = 0
    native_histogram_min_bucket_factor: float = 0.0
    keep_dropped_targets: int = 0
    metric_name_validation_scheme: ValidationScheme = ""
    metric_name_escaping_scheme: EscapingScheme = ""
    extra_scrape_metrics: bool | None = None
    metric_relabel_configs: tuple[RelabelConfig, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.job_name:
            raise BadField("job_name is empty", "job_name")
        check_not_negative(self)
        if self.scrape_protocols is not None:
            check_protocols(self.scrape_protocols)

    @property
    def protocols(self) -> tuple[ScrapeProtocol, ...]:
        """The exposition formats to ask for, the most wanted first."""
        if self.scrape_protocols is not None:
            return self.scrape_protocols
        return PROTO_FIRST_PROTOCOLS if self.scrape_native_histograms else DEFAULT_PROTOCOLS

    def complete(self, global_: GlobalConfig) -> "ScrapeConfig":
        """With the values of `global` for what was not given; raises BadField where both together make no sense."""
        global_ = global_.complete()
        interval = self.scrape_interval or global_.scrape_interval
        if self.scrape_timeout > interval:
            raise BadField(
                f'scrape timeout greater than scrape interval for scrape config with job name "{self.job_name}"',
                "scrape_timeout",
            )
        inherited = {name: getattr(self, name) or getattr(global_, name) for name in _INHERITED}
        switches = {
            name: getattr(global_, name) if getattr(self, name) is None else getattr(self, name)
            for name in _INHERITED_SWITCHES
        }
        complete = msgspec.structs.replace(
            self,
            scrape_interval=interval,
            scrape_timeout=self.scrape_timeout or min(global_.scrape_timeout, interval),
            **inherited,
            **switches,
            **self._naming(global_),
        )
        protocols = self.scrape_protocols if self.scrape_protocols is not None else global_.scrape_protocols
        if protocols is None:
            protocols = complete.protocols
        return msgspec.structs.replace(complete, scrape_protocols=protocols)

    def _naming(self, global_: GlobalConfig) -> dict[str, str]:
        scheme = self.metric_name_validation_scheme or global_.metric_name_validation_scheme
        escaping = self.metric_name_escaping_scheme
        if not escaping and not self.metric_name_validation_scheme:
            escaping = global_.metric_name_escaping_scheme
        if not escaping:
            escaping = "underscores" if scheme == "legacy" else "allow-utf-8"
        if escaping == "allow-utf-8" and scheme != "utf8":
            raise BadField(
                "utf8 metric names requested but validation scheme is not set to UTF8",
                "metric_name_escaping_scheme",
            )
        return {"metric_name_validation_scheme": scheme, "metric_name_escaping_scheme": escaping}


_INHERITED = (
    "body_size_limit",
    "sample_limit",
    "target_limit",
    "label_limit",
    "label_name_length_limit",
    "label_value_length_limit",
    "keep_dropped_targets",
    "scrape_failure_log_file",
)
_INHERITED_SWITCHES = (
    "scrape_native_histograms",
    "always_scrape_classic_histograms",
    "convert_classic_histograms_to_nhcb",
    "extra_scrape_metrics",
)


def check_not_negative(config: msgspec.Struct) -> None:
    """Raises BadField for a number below zero."""
    for name in config.__struct_fields__:
        value = getattr(config, name)
        if isinstance(value, int | float) and value < 0:
            raise BadField(f"{name} must not be negative", name)


def check_protocols(protocols: tuple[ScrapeProtocol, ...]) -> None:
    """Raises BadField for no or repeated protocols."""
    if not protocols:
        raise BadField("scrape_protocols cannot be empty", "scrape_protocols")
    if len(set(protocols)) < len(protocols):
        raise BadField(
            f"duplicated protocol in scrape_protocols, got {', '.join(protocols)}", "scrape_protocols"
        )
