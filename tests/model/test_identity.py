"""Whose telemetry it is, by whichever names."""

import pytest

from otero.model.identity import Entity, entity


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, Entity()),
        ({"job": "api", "instance": "10.0.0.1:8080"}, Entity("api", instance="10.0.0.1:8080")),
        ({"job": "shop/cart", "instance": "a"}, Entity("cart", "shop", "a")),
        ({"job": "a/b/c"}, Entity("c", "a/b")),
        ({"job": "odd/"}, Entity("odd/")),
        (
            {
                "service.name": "cart",
                "service.namespace": "shop",
                "service.instance.id": "cart-1",
                "service.version": "1.2",
                "job": "other",
                "k8s.namespace.name": "prod",
            },
            Entity("cart", "shop", "cart-1", "1.2"),
        ),
        ({"service_name": "cart", "filename": "/var/log/x"}, Entity("cart")),
        ({"app": "cart", "namespace": "prod", "pod": "cart-7f"}, Entity("cart", "prod", "cart-7f")),
        (
            {"app.kubernetes.io/name": "cart", "app.kubernetes.io/version": "3", "app": "legacy"},
            Entity("cart", version="3"),
        ),
        (
            {"app_kubernetes_io_name": "cart", "kubernetes_namespace": "p", "kubernetes_pod_name": "q"},
            Entity("cart", "p", "q"),
        ),
        (
            {"k8s.deployment.name": "cart", "k8s.pod.name": "cart-1", "k8s.container.name": "main"},
            Entity("cart", instance="cart-1"),
        ),
        (
            {"workload_name": "cart-v1", "workload_namespace": "mesh", "canonical_service": "cart"},
            Entity("cart", "mesh"),
        ),
        ({"service.name": "unknown_service:python", "app": "cart"}, Entity("cart")),
        ({"service.name": "unknown_service:python", "job": "x/cart"}, Entity("cart", "x")),
        ({"service.name": "unknown_service:python"}, Entity("unknown_service:python")),
        ({"service.name": "", "job": "api"}, Entity("api")),
    ],
)
def test_each_dialect_of_names(labels: dict[str, str], expected: Entity) -> None:
    assert entity(labels) == expected


def test_an_entity_leads_back_to_its_job() -> None:
    for job in ("api", "shop/cart"):
        assert entity({"job": job}).job == job
    assert entity({"service.name": "cart", "service.namespace": "shop"}).job == "shop/cart"


def test_nothing_known_is_no_entity() -> None:
    assert not entity({"level": "info"})
    assert entity({"host.name": "h"})
