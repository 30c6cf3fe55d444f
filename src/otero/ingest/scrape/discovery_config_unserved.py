"""Settings of the service discoveries that Otero reads and checks but does not serve yet.

The checks are those of Prometheus' own parser; a use of any of these is warned about with its line.
"""

import re
from typing import Literal

from otero.errors import BadField
from otero.fields import Duration, FilePath, Secret, Url
from otero.http_client import HttpClientConfig, TlsConfig, at_most_one
from otero.ingest.scrape.discovery_config import DiscoveryConfig

_MINUTE = Duration(60_000)


class _Http(HttpClientConfig, frozen=True, kw_only=True):
    """What most discoveries over HTTP share."""

    refresh_interval: Duration = _MINUTE
    port: int = 80


class AwsFilter(DiscoveryConfig, frozen=True, kw_only=True):
    name: str = ""
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.values:
            raise BadField("EC2 SD configuration filter values cannot be empty", "values")


class _Aws(_Http, frozen=True, kw_only=True):
    endpoint: str = ""
    region: str = ""
    access_key: str = ""
    secret_key: Secret = Secret("")
    profile: str = ""
    role_arn: str = ""
    external_id: str = ""


class Ec2SdConfig(_Aws, frozen=True, kw_only=True):
    filters: tuple[AwsFilter, ...] = ()


class LightsailSdConfig(_Aws, frozen=True, kw_only=True):
    """Amazon Lightsail."""


class AwsClusterSdConfig(_Aws, frozen=True, kw_only=True):
    """ECS, MSK, ElastiCache, RDS: the same account keys and a list of clusters."""

    clusters: tuple[str, ...] = ()
    request_concurrency: int = 20


class AwsSdConfig(_Aws, frozen=True, kw_only=True):
    role: Literal["ec2", "lightsail", "ecs", "msk", "elasticache", "rds"] = "ec2"
    filters: tuple[AwsFilter, ...] = ()
    clusters: tuple[str, ...] = ()
    request_concurrency: int = 20


class AzureSdConfig(_Http, frozen=True, kw_only=True):
    environment: str = "AzurePublicCloud"
    authentication_method: str = "OAuth"
    subscription_id: str = ""
    tenant_id: str = ""
    client_id: str = ""
    client_secret: Secret = Secret("")
    resource_group: str = ""
    refresh_interval: Duration = Duration(300_000)

    def __post_init__(self) -> None:
        super().__post_init__()
        method = self.authentication_method
        if method not in ("OAuth", "ManagedIdentity", "SDK", "WorkloadIdentity"):
            raise BadField(
                f'unknown authentication_type "{method}"; supported are OAuth, ManagedIdentity and SDK',
                "authentication_method",
            )
        needed = (
            ("subscription_id", "tenant_id", "client_id", "client_secret")
            if method == "OAuth"
            else ("subscription_id",)
        )
        for name in needed:
            if not getattr(self, name):
                raise BadField(f"azure SD configuration requires a {name}", name)


class ConsulSdConfig(HttpClientConfig, frozen=True, kw_only=True):
    server: str = "localhost:8500"
    path_prefix: str = ""
    token: Secret = Secret("")
    datacenter: str = ""
    namespace: str = ""
    partition: str = ""
    tag_separator: str = ","
    scheme: str = "http"
    username: str = ""
    password: Secret = Secret("")
    allow_stale: bool = True
    refresh_interval: Duration = Duration(30_000)
    services: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    node_meta: dict[str, str] = {}  # noqa: RUF012 (msgspec copies it)
    filter: str = ""
    health_filter: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.server.strip():
            raise BadField("consul SD configuration requires a server address", "server")
        if (self.username or self.password) and self.basic_auth is not None:
            raise BadField(
                "at most one of consul SD configuration username and password and basic auth can be configured"
            )
        if self.token and (self.authorization is not None or self.oauth2 is not None):
            raise BadField(
                "at most one of consul SD token, authorization, or oauth2 can be configured", "token"
            )


class DigitaloceanSdConfig(_Http, frozen=True, kw_only=True):
    """DigitalOcean droplets."""


class DockerFilter(DiscoveryConfig, frozen=True, kw_only=True):
    name: str = ""
    values: tuple[str, ...] = ()


class DockerSdConfig(_Http, frozen=True, kw_only=True):
    host: str = ""
    filters: tuple[DockerFilter, ...] = ()
    host_networking_host: str = "localhost"
    match_first_network: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.host:
            raise BadField("host missing", "host")


class DockerswarmSdConfig(_Http, frozen=True, kw_only=True):
    host: str = ""
    role: Literal["services", "nodes", "tasks"]
    filters: tuple[DockerFilter, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.host:
            raise BadField("host missing", "host")


class EurekaSdConfig(HttpClientConfig, frozen=True, kw_only=True):
    server: Url = Url("")
    refresh_interval: Duration = Duration(30_000)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.server:
            raise BadField("eureka_sd: empty or null eureka server", "server")
        if not self.server.parts.scheme or not self.server.parts.hostname:
            raise BadField("eureka_sd: invalid eureka server URL", "server")


class GceSdConfig(DiscoveryConfig, frozen=True, kw_only=True):
    project: str
    zone: str
    filter: str = ""
    refresh_interval: Duration = _MINUTE
    port: int = 80
    tag_separator: str = ","


class HetznerSdConfig(_Http, frozen=True, kw_only=True):
    role: Literal["hcloud", "robot"]
    label_selector: str = ""


class IonosSdConfig(_Http, frozen=True, kw_only=True):
    datacenter_id: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.datacenter_id:
            raise BadField("datacenter id can't be empty", "datacenter_id")


class KubernetesNamespaces(DiscoveryConfig, frozen=True, kw_only=True):
    own_namespace: bool = False
    names: tuple[str, ...] = ()


class KubernetesSelector(DiscoveryConfig, frozen=True, kw_only=True):
    role: str = ""
    label: str = ""
    field: str = ""

    def __post_init__(self) -> None:
        for part in self.field.split(",") if self.field else ():
            if re.fullmatch(r"\s*[^=!\s]+\s*(=|==|!=)[^=!]*", part) is None:
                raise BadField(f"invalid selector: '{self.field}'; can't understand '{part}'", "field")


class KubernetesAttachMetadata(DiscoveryConfig, frozen=True, kw_only=True):
    node: bool = False
    namespace: bool = False


_SELECTORS = {
    "pod": ("pod", "node", "namespace"),
    "service": ("service", "namespace"),
    "endpointslice": ("pod", "service", "endpointslice", "namespace"),
    "endpoints": ("pod", "service", "endpoints", "namespace"),
    "node": ("node",),
    "ingress": ("ingress", "namespace"),
}
_ATTACHED = ("node", "namespace")


class KubernetesSdConfig(HttpClientConfig, frozen=True, kw_only=True):
    api_server: Url = Url("")
    role: Literal["node", "pod", "service", "endpoints", "endpointslice", "ingress"]
    kubeconfig_file: FilePath = FilePath("")
    namespaces: KubernetesNamespaces = KubernetesNamespaces()
    selectors: tuple[KubernetesSelector, ...] = ()
    attach_metadata: KubernetesAttachMetadata = KubernetesAttachMetadata()

    def __post_init__(self) -> None:
        super().__post_init__()
        own_client = self.http_client() != HttpClientConfig()
        if self.kubeconfig_file and self.api_server:
            raise BadField("cannot use 'kubeconfig_file' and 'api_server' simultaneously", "kubeconfig_file")
        if self.kubeconfig_file and own_client:
            raise BadField(
                "cannot use a custom HTTP client configuration together with 'kubeconfig_file'",
                "kubeconfig_file",
            )
        if not self.api_server and own_client:
            raise BadField(
                "to use custom HTTP client configuration please provide the 'api_server' URL explicitly"
            )
        for key in ("api_server", "kubeconfig_file"):
            if getattr(self, key) and self.namespaces.own_namespace:
                raise BadField(
                    f"cannot use '{key}' and 'namespaces.own_namespace' simultaneously", "namespaces"
                )
        self._check_selectors()

    def _check_selectors(self) -> None:
        seen: set[str] = set()
        for index, selector in enumerate(self.selectors):
            at = f"selectors[{index}].role"
            if selector.role in seen:
                raise BadField(f"duplicated selector role: {selector.role}", at)
            seen.add(selector.role)
            allowed = _SELECTORS[self.role]
            if selector.role not in allowed:
                named = [role for role in allowed if role not in _ATTACHED] or list(allowed)
                raise BadField(f"{self.role} role supports only {', '.join(named)} selectors", at)


class KumaSdConfig(HttpClientConfig, frozen=True, kw_only=True):
    server: Url = Url("")
    client_id: str = ""
    refresh_interval: Duration = Duration(30_000)
    fetch_timeout: Duration = Duration(120_000)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.server:
            raise BadField("kuma SD server must not be empty", "server")
        if not self.server.parts.scheme or not self.server.parts.hostname:
            raise BadField("kuma SD server must have a scheme and a host", "server")


class LinodeSdConfig(_Http, frozen=True, kw_only=True):
    region: str = ""
    tag_separator: str = ","


class MarathonSdConfig(HttpClientConfig, frozen=True, kw_only=True):
    servers: tuple[str, ...] = ()
    refresh_interval: Duration = Duration(30_000)
    auth_token: Secret = Secret("")
    auth_token_file: FilePath = FilePath("")

    def __post_init__(self) -> None:
        bearer = self.bearer_token or self.bearer_token_file
        super().__post_init__()
        if not self.servers:
            raise BadField("marathon_sd: must contain at least one Marathon server", "servers")
        at_most_one(self, "auth_token", "auth_token_file")
        if not (self.auth_token or self.auth_token_file):
            return
        both = "auth_token & auth_token_file"
        if self.basic_auth is not None:
            raise BadField(f"marathon_sd: at most one of basic_auth, {both} must be configured", "basic_auth")
        if bearer:
            raise BadField(
                f"marathon_sd: at most one of bearer_token, bearer_token_file, {both} must be configured"
            )
        if self.authorization is not None:
            raise BadField(
                "marathon_sd: at most one of auth_token, auth_token_file & authorization must be configured",
                "authorization",
            )


class ZookeeperSdConfig(DiscoveryConfig, frozen=True, kw_only=True):
    """Serversets and Nerve."""

    servers: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    timeout: Duration = Duration(10_000)

    def __post_init__(self) -> None:
        if not self.servers:
            raise BadField("must contain at least one Zookeeper server", "servers")
        if not self.paths:
            raise BadField("must contain at least one path", "paths")
        for index, path in enumerate(self.paths):
            if not path.startswith("/"):
                raise BadField(f'path must begin with "/": "{path}"', f"paths[{index}]")


class NomadSdConfig(HttpClientConfig, frozen=True, kw_only=True):
    server: str = "http://localhost:4646"
    namespace: str = "default"
    region: str = "global"
    allow_stale: bool = True
    refresh_interval: Duration = _MINUTE
    tag_separator: str = ","

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.server.strip():
            raise BadField("nomad SD configuration requires a server address", "server")


class OciSdConfig(_Http, frozen=True, kw_only=True):
    auth: str = "api_key"
    region: str = ""
    tenancy: str = ""
    user: str = ""
    fingerprint: str = ""
    key_file: FilePath = FilePath("")
    key_passphrase: Secret = Secret("")
    compartments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.auth not in ("api_key", "instance_principal", "resource_principal", "workload_identity"):
            raise BadField(f'unknown authentication method "{self.auth}"', "auth")


class OpenstackSdConfig(_Http, frozen=True, kw_only=True):
    identity_endpoint: str = ""
    username: str = ""
    userid: str = ""
    password: Secret = Secret("")
    project_name: str = ""
    project_id: str = ""
    domain_name: str = ""
    domain_id: str = ""
    application_credential_name: str = ""
    application_credential_id: str = ""
    application_credential_secret: Secret = Secret("")
    role: Literal["instance", "hypervisor", "loadbalancer"]
    region: str = ""
    all_tenants: bool = False
    availability: Literal["public", "admin", "internal"] = "public"


class OutscaleSdConfig(_Http, frozen=True, kw_only=True):
    region: str = ""
    access_key: str = ""
    secret_key: Secret = Secret("")
    secret_key_file: FilePath = FilePath("")
    endpoint: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.region:
            raise BadField("outscale SD configuration requires a region", "region")
        if not self.access_key:
            raise BadField("outscale SD configuration requires an access_key", "access_key")
        _one_secret_key(self.secret_key, self.secret_key_file)


class OvhcloudSdConfig(DiscoveryConfig, frozen=True, kw_only=True):
    endpoint: str = "ovh-eu"
    application_key: str = ""
    application_secret: Secret = Secret("")
    consumer_key: Secret = Secret("")
    refresh_interval: Duration = _MINUTE
    service: str = ""

    def __post_init__(self) -> None:
        for name in ("endpoint", "application_key", "application_secret", "consumer_key"):
            if not getattr(self, name):
                raise BadField(f"{name.replace('_', ' ')} can not be empty", name)
        if self.service not in ("vps", "dedicated_server"):
            raise BadField(f"unknown service: {self.service}", "service")


class PuppetdbSdConfig(_Http, frozen=True, kw_only=True):
    url: Url = Url("")
    query: str = ""
    include_parameters: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.url:
            raise BadField("URL is missing", "url")
        self.url.require_http()
        if not self.query:
            raise BadField("query missing", "query")


class ScalewaySdConfig(_Http, frozen=True, kw_only=True):
    project_id: str = ""
    role: Literal["instance", "baremetal"]
    api_url: str = "https://api.scaleway.com"
    zone: str = "fr-par-1"
    access_key: str = ""
    secret_key: Secret = Secret("")
    secret_key_file: FilePath = FilePath("")
    name_filter: str = ""
    tags_filter: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("project_id", "access_key"):
            if not getattr(self, name):
                raise BadField(f"{name} is mandatory", name)
        _one_secret_key(self.secret_key, self.secret_key_file)


class StackitSdConfig(_Http, frozen=True, kw_only=True):
    project: str = ""
    region: str = "eu01"
    endpoint: str = ""
    service_account_key: Secret = Secret("")
    service_account_key_path: FilePath = FilePath("")
    private_key: Secret = Secret("")
    private_key_path: FilePath = FilePath("")
    credentials_file_path: FilePath = FilePath("")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.endpoint and re.match(r"https?://[^/]", self.endpoint) is None:
            raise BadField(f'stackit: invalid endpoint "{self.endpoint}"', "endpoint")


class TritonSdConfig(DiscoveryConfig, frozen=True, kw_only=True):
    account: str
    role: Literal["container", "cn"] = "container"
    dns_suffix: str
    endpoint: str
    groups: tuple[str, ...] = ()
    port: int = 9163
    refresh_interval: Duration = _MINUTE
    version: int = 1
    tls_config: TlsConfig = TlsConfig()


class UyuniSdConfig(HttpClientConfig, frozen=True, kw_only=True):
    server: Url = Url("")
    username: str = ""
    password: Secret = Secret("")
    entitlement: str = "monitoring_entitled"
    separator: str = ","
    refresh_interval: Duration = _MINUTE

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.server:
            raise BadField("Uyuni SD configuration requires server host", "server")
        for name in ("username", "password"):
            if not getattr(self, name):
                raise BadField(f"Uyuni SD configuration requires a {name}", name)


class VultrSdConfig(_Http, frozen=True, kw_only=True):
    """Vultr instances."""


def _one_secret_key(secret: Secret, file: FilePath) -> None:
    if secret and file:
        raise BadField("at most one of secret_key & secret_key_file must be configured", "secret_key_file")
    if not secret and not file:
        raise BadField("one of secret_key & secret_key_file must be configured")
