"""What telemetry is about: one entity, whatever the names by which its metrics, logs and spans say so.

Every signal names its origin in its own words: Prometheus by `job` and `instance`, OpenTelemetry by `service.name` and
its like (with underscores where they became labels), Loki by `service_name` or `app`, Kubernetes by its labels, Envoy by
the workload's name. `entity` reads them all, so that signals of one origin join.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entity:
    """Who sent it; empty texts are not known."""

    service: str = ""
    namespace: str = ""
    instance: str = ""
    version: str = ""

    @property
    def job(self) -> str:
        """The label `job` that metrics of this entity have: `namespace/service` where there is a namespace."""
        return f"{self.namespace}/{self.service}" if self.namespace and self.service else self.service

    def __bool__(self) -> bool:
        """Whether anything says who it is."""
        return bool(self.service or self.instance)


_SERVICE = (
    "service.name", "service_name",
    "app.kubernetes.io/name", "app_kubernetes_io_name", "k8s.deployment.name", "k8s_deployment_name",
    "canonical_service", "service.istio.io/canonical-name", "workload_name", "workload", "destination_workload",
    "app", "k8s-app", "k8s_app", "deployment", "container", "k8s.container.name", "container_name",
)  # fmt: skip
_NAMESPACE = (
    "service.namespace", "service_namespace",
    "k8s.namespace.name", "k8s_namespace_name", "kubernetes_namespace", "workload_namespace", "destination_workload_namespace",
    "namespace",
)  # fmt: skip
_INSTANCE = (
    "service.instance.id", "service_instance_id",
    "instance",
    "k8s.pod.name", "k8s_pod_name", "kubernetes_pod_name", "pod", "pod_name", "host.name", "host_name", "host", "hostname",
)  # fmt: skip
_VERSION = (
    "service.version", "service_version",
    "app.kubernetes.io/version", "app_kubernetes_io_version", "canonical_revision",
    "service.istio.io/canonical-revision", "version",
)  # fmt: skip
_UNKNOWN = "unknown_service"
"""What SDKs of OpenTelemetry say when nobody named the service, alone or with `:program` behind it."""


def entity(labels: Mapping[str, str]) -> Entity:
    """The entity that labels of a series, attributes of a resource or labels of a log stream speak of.

    OpenTelemetry's own names win, then `job` as Prometheus' translation writes it (`namespace/service`), then those of
    Kubernetes and Envoy. `unknown_service` counts as a name only when there is no other.
    """
    said = _first(labels, _SERVICE[:2])
    unknown = said == _UNKNOWN or said.startswith(f"{_UNKNOWN}:")
    service = "" if unknown else said
    namespace = _first(labels, _NAMESPACE[:2])
    job = labels.get("job", "")
    if not service and job:
        before, slash, after = job.rpartition("/")
        service = after if slash and after else job
        namespace = namespace or (before if after else "")
    service = service or _first(labels, _SERVICE[2:]) or said
    return Entity(
        service,
        namespace or _first(labels, _NAMESPACE[2:]),
        _first(labels, _INSTANCE),
        _first(labels, _VERSION),
    )


def _first(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    """The first of these that says anything."""
    return next((value for name in names if (value := labels.get(name, ""))), "")
