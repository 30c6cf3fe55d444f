"""Prometheus' own configuration test data: what it takes, Otero takes; what it refuses, Otero refuses for that reason."""

import shutil
from pathlib import Path

import pytest

from otero.config import Config, effective_yaml
from otero.config.prometheus import PrometheusConfig, load_prometheus, read_prometheus
from otero.errors import BadConfig
from otero.source import Reader, parse_yaml
from tests.conftest import SHARED

FOLDER = SHARED / "conformance" / "prometheus-config"

BEARER = "at most one of bearer_token & bearer_token_file must be configured"
BASIC = "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured"
ONLY_REGEX = "action requires only 'regex', and no other fields"
NULL = "empty or null section in "
RESERVED = "x-prometheus-remote-write-version is a reserved header"
PARTNERS = "action requires only 'source_labels' and 'target_label'"
TIMEOUT = "scrape timeout greater than scrape interval"

FAULTS: dict[str, str] = {
    "azure_authentication_method.bad.yml": 'unknown authentication_type "invalid"',
    "azure_bearertoken_basicauth.bad.yml": BASIC,
    "azure_client_id_missing.bad.yml": "requires a client_id",
    "azure_client_secret_missing.bad.yml": "requires a client_secret",
    "azure_subscription_id_missing.bad.yml": "requires a subscription_id",
    "azure_tenant_id_missing.bad.yml": "requires a tenant_id",
    "bearertoken.bad.yml": BEARER,
    "bearertoken_basicauth.bad.yml": BASIC,
    "dropequal.bad.yml": "dropequal action requires 'target_label' value",
    "dropequal1.bad.yml": f"dropequal {PARTNERS}",
    "ec2_filters_empty_values.bad.yml": "filter values cannot be empty",
    "ec2_token_file.bad.yml": BEARER,
    "empty_alert_relabel_config.bad.yml": f"{NULL}alert_relabel_configs",
    "empty_alertmanager_relabel_config.bad.yml": f"{NULL}relabel_configs",
    "empty_metric_relabel_config.bad.yml": f"{NULL}metric_relabel_configs",
    "empty_rr_config.bad.yml": f"{NULL}remote_read",
    "empty_rw_config.bad.yml": f"{NULL}remote_write",
    "empty_rw_relabel_config.bad.yml": f"{NULL}write_relabel_configs",
    "empty_scrape_config.bad.yml": f"{NULL}scrape_configs",
    "empty_scrape_config_action.bad.yml": "action cannot be empty",
    "empty_static_config.bad.yml": f"{NULL}static_configs",
    "empty_target_relabel_config.bad.yml": f"{NULL}relabel_configs",
    "eureka_invalid_server.bad.yml": "invalid eureka server URL",
    "eureka_no_server.bad.yml": "empty or null eureka server",
    "hetzner_role.bad.yml": 'unknown role "invalid"',
    "http_token_file.bad.yml": BEARER,
    "http_url_bad_scheme.bad.yml": "URL scheme must be 'http' or 'https'",
    "http_url_no_host.bad.yml": "host is missing in URL",
    "http_url_no_scheme.bad.yml": "URL scheme must be 'http' or 'https'",
    "ionos_datacenter.bad.yml": "datacenter id can't be empty",
    "jobname.bad.yml": "job_name is empty",
    "jobname_dup.bad.yml": 'multiple scrape configs with job name "prometheus"',
    "keepequal.bad.yml": "keepequal action requires 'target_label' value",
    "keepequal1.bad.yml": f"keepequal {PARTNERS}",
    "kubernetes_api_server_with_own_namespace.bad.yml": "'api_server' and 'namespaces.own_namespace'",
    "kubernetes_authorization_basicauth.bad.yml": "at most one of basic_auth, oauth2 & authorization",
    "kubernetes_bearertoken.bad.yml": BEARER,
    "kubernetes_bearertoken_basicauth.bad.yml": BASIC,
    "kubernetes_http_config_without_api_server.bad.yml": "please provide the 'api_server' URL explicitly",
    "kubernetes_kubeconfig_with_apiserver.bad.yml": "'kubeconfig_file' and 'api_server' simultaneously",
    "kubernetes_kubeconfig_with_http_config.bad.yml": "HTTP client configuration together with 'kubeconfig_file'",
    "kubernetes_kubeconfig_with_own_namespace.bad.yml": "'kubeconfig_file' and 'namespaces.own_namespace'",
    "kubernetes_namespace_discovery.bad.yml": 'unknown field "foo"',
    "kubernetes_role.bad.yml": 'unknown role "vacation"',
    "kubernetes_selectors_duplicated_role.bad.yml": "duplicated selector role: pod",
    "kubernetes_selectors_endpoints.bad.yml": "endpoints role supports only pod, service, endpoints selectors",
    "kubernetes_selectors_incorrect_selector.bad.yml": "can't understand 'metadata.status-Running'",
    "kubernetes_selectors_ingress.bad.yml": "ingress role supports only ingress selectors",
    "kubernetes_selectors_node.bad.yml": "node role supports only node selectors",
    "kubernetes_selectors_pod.bad.yml": "pod role supports only pod selectors",
    "kubernetes_selectors_service.bad.yml": "service role supports only service selectors",
    "labelmap.bad.yml": "!!binary value contains invalid base64 data",
    "labelname.bad.yml": "not valid UTF-8",
    "labelvalue.bad.yml": "not valid UTF-8",
    "lightsail_token_file.bad.yml": BEARER,
    "lowercase.bad.yml": "lowercase action requires 'target_label' value",
    "lowercase3.bad.yml": "'replacement' can not be set for lowercase action",
    "marathon_authtoken_authorization.bad.yml": "at most one of auth_token, auth_token_file & authorization",
    "marathon_authtoken_authtokenfile.bad.yml": "at most one of auth_token & auth_token_file",
    "marathon_authtoken_basicauth.bad.yml": "at most one of basic_auth, auth_token & auth_token_file",
    "marathon_authtoken_bearertoken.bad.yml": "at most one of bearer_token, bearer_token_file, auth_token",
    "marathon_no_servers.bad.yml": "must contain at least one Marathon server",
    "metric_name_validation_scheme.bad.yml": 'unknown metric_name_validation_scheme "invalid_scheme"',
    "modulus_missing.bad.yml": "hashmod requires non-zero modulus",
    "oci_authentication_method.bad.yml": 'unknown authentication method "invalid"',
    "openstack_availability.bad.yml": 'unknown availability "invalid"',
    "openstack_role.bad.yml": 'unknown role "invalid"',
    "otlp_allow_utf8.bad.yml": 'unknown translation_strategy "Invalid"',
    "otlp_ignore_resource_attributes_without_promote_all.bad.yml": "unless 'promote_all_resource_attributes' is true",
    "otlp_promote_all_resource_attributes.bad.yml": "cannot be configured simultaneously",
    "otlp_sanitize_ignore_resource_attributes.bad.yml": 'duplicated ignored OTel resource attribute "k8s.job.name"',
    "otlp_sanitize_promote_resource_attributes.bad.yml": "empty promoted OTel resource attribute",
    "outscale_no_region.bad.yml": "requires a region",
    "outscale_no_secret.bad.yml": "one of secret_key & secret_key_file",
    "outscale_two_secrets.bad.yml": "at most one of secret_key & secret_key_file",
    "ovhcloud_bad_service.bad.yml": "unknown service: fakeservice",
    "ovhcloud_no_secret.bad.yml": "application secret can not be empty",
    "puppetdb_bad_url.bad.yml": "host is missing in URL",
    "puppetdb_no_query.bad.yml": "query missing",
    "puppetdb_no_scheme.bad.yml": "URL scheme must be 'http' or 'https'",
    "puppetdb_no_url.bad.yml": "URL is missing",
    "puppetdb_token_file.bad.yml": BEARER,
    "regex.bad.yml": "invalid regular expression 'abc(def'",
    "remote_read_dup.bad.yml": 'multiple remote read configs with job name "queue1"',
    "remote_read_header.bad.yml": RESERVED,
    "remote_read_url_missing.bad.yml": "url for remote_read is empty",
    "remote_write_authorization_header.bad.yml": "authorization header must be changed via",
    "remote_write_dup.bad.yml": 'multiple remote write configs with job name "queue1"',
    "remote_write_header.bad.yml": RESERVED,
    "remote_write_queue_capacity_zero.bad.yml": "capacity must be greater than 0",
    "remote_write_queue_max_backoff_less_than_min.bad.yml": "max_backoff must not be less than min_backoff",
    "remote_write_queue_max_samples_per_send_zero.bad.yml": "max_samples_per_send must be greater than 0",
    "remote_write_queue_max_shards_zero.bad.yml": "max_shards must be greater than 0",
    "remote_write_queue_min_shards_greater_than_max.bad.yml": "min_shards must not be greater than max_shards",
    "remote_write_queue_min_shards_zero.bad.yml": "min_shards must be greater than 0",
    "remote_write_url_missing.bad.yml": "url for remote_write is empty",
    "remote_write_wrong_msg.bad.yml": 'did you mean "io.prometheus.write.v2.Request"?',
    "rules.bad.yml": "invalid rule file path",
    "scaleway_no_secret.bad.yml": "one of secret_key & secret_key_file",
    "scaleway_role.bad.yml": 'unknown role "invalid"',
    "scaleway_two_secrets.bad.yml": "at most one of secret_key & secret_key_file",
    "scrape_body_size_limit.bad.yml": 'missing unit in size "100"',
    "scrape_config_files.bad.yml": TIMEOUT,
    "scrape_config_files_double_import.bad.yml": 'multiple scrape configs with job name "prometheus"',
    "scrape_config_files_duplicate.bad.yml": 'multiple scrape configs with job name "prometheus"',
    "scrape_config_files_fallback_scrape_protocol1.bad.yml": 'unknown fallback_scrape_protocol "prometheusproto"',
    "scrape_config_files_fallback_scrape_protocol2.bad.yml": "found a list",
    "scrape_config_files_glob.bad.yml": 'scrape_configs/*/*"',
    "scrape_config_files_global.bad.yml": TIMEOUT,
    "scrape_config_files_global_duplicate.bad.yml": 'multiple scrape configs with job name "prometheus"',
    "scrape_config_files_scrape_protocols.bad.yml": 'unknown scrape_protocols "prometheusproto"',
    "scrape_config_files_scrape_protocols2.bad.yml": "duplicated protocol in scrape_protocols",
    "scrape_config_utf8_conflicting.bad.yml": "utf8 metric names requested but validation scheme is not set to UTF8",
    "scrape_interval.bad.yml": TIMEOUT,
    "section_key_dup.bad.yml": 'key "scrape_configs" is given twice; first on line 1',
    "stackit_endpoint.bad.yml": "invalid endpoint",
    "static_config.bad.yml": "not valid UTF-8",
    "target_label_hashmod_missing.bad.yml": "hashmod action requires 'target_label' value",
    "target_label_missing.bad.yml": "replace action requires 'target_label' value",
    "tracing_invalid_authorization_header.bad.yml": "authorization header configuration is not yet supported",
    "tracing_invalid_compression.bad.yml": "invalid compression type foo",
    "tracing_invalid_header.bad.yml": RESERVED,
    "tracing_missing_endpoint.bad.yml": "tracing endpoint must be set",
    "tsdb_chunk_encoding_floats.bad.yml": '"xor3"',
    "tsdb_chunk_encoding_floats_wrong_case.bad.yml": '"XOR"',
    "tsdb_chunk_encoding_floats_wrong_case_xor2.bad.yml": '"XOR2"',
    "tsdb_retention_percentage.bad.yml": "percentage must be between 0 and 100, not 101",
    "tsdb_retention_percentage_negative.bad.yml": "percentage must be between 0 and 100, not -1",
    "tsdb_retention_size.bad.yml": 'not a size: "-1GB"',
    "tsdb_retention_time.bad.yml": 'not a valid duration string: "-1h"',
    "unknown_attr.bad.yml": 'unknown field "consult_sd_configs", did you mean "consul_sd_configs"?',
    "unknown_global_attr.bad.yml": 'unknown field "nonexistent_field"',
    "uppercase.bad.yml": "uppercase action requires 'target_label' value",
    "uppercase3.bad.yml": "'replacement' can not be set for uppercase action",
    "url_in_targetgroup.bad.yml": '"http://bad" is not a valid hostname',
    "uyuni_no_server.bad.yml": "requires server host",
    "uyuni_token_file.bad.yml": BEARER,
    # Without good or bad in their names; Prometheus' test suite refuses these.
    "config_with_deprecated_am_api_config.yml": 'unknown api_version "v1"',
    "otlp_allow_utf8.incompatible.yml": "not allowed when UTF8 is disabled",
    "otlp_no_translation.incompatible.yml": "not allowed when UTF8 is disabled",
} | {
    f"{action}{number}.bad.yml": f"{action} {ONLY_REGEX}"
    for action in ("labeldrop", "labelkeep")
    for number in ("", 2, 3, 4, 5)
}

NOT_AS_IT_STANDS = {
    "scrape_config_files_combined.good.yml": "it includes scrape_config_files2.good.yml, whose place in this flat copy"
    " is taken by another file of that name; test_included_files_as_laid_out_by_prometheus lays both out anew",
}
"""Files that cannot be judged as they lie in the folder, each with the reason."""


def names() -> list[str]:
    return sorted(path.name for path in FOLDER.glob("*.yml"))


@pytest.mark.parametrize("name", names())
def test_each_file_of_prometheus_is_judged_as_prometheus_judges_it(name: str, shared: Path) -> None:
    path = shared / "conformance" / "prometheus-config" / name
    if name in NOT_AS_IT_STANDS:
        with pytest.raises(BadConfig):
            load_prometheus(path, {})
        return
    if name not in FAULTS:
        assert ".bad." not in name
        config, warnings = load_prometheus(path, {})
        assert isinstance(config, PrometheusConfig)
        assert all(warning.line for warning in warnings)
        return
    with pytest.raises(BadConfig) as refusal:
        load_prometheus(path, {})
    problems = refusal.value.problems
    assert any(FAULTS[name] in problem.message for problem in problems), str(refusal.value)
    assert all(problem.line and problem.file for problem in problems)


def test_the_table_of_faults_names_only_files_that_exist(shared: Path) -> None:
    assert FAULTS.keys() | NOT_AS_IT_STANDS.keys() <= set(names())


def test_included_files_as_laid_out_by_prometheus(shared: Path, tmp_path: Path) -> None:
    folder = shared / "conformance" / "prometheus-config"
    for name in ("scrape_config_files_combined.good.yml", "scrape_config_files_glob.good.yml"):
        shutil.copy(folder / name, tmp_path)
    shutil.copy(folder / "scrape_config_files.good.yml", tmp_path)
    other = (folder / "scrape_config_files.good.yml").read_text().replace("prometheus", "alertmanager")
    (tmp_path / "scrape_config_files2.good.yml").write_text(other)
    (tmp_path / "scrape_configs").mkdir()
    for number in (1, 2):
        shutil.copy(folder / f"scrape_config_files{number}.good.yml", tmp_path / "scrape_configs")

    combined, _ = load_prometheus(tmp_path / "scrape_config_files_combined.good.yml", {})
    assert [scrape.job_name for scrape in combined.scrape_configs] == ["node", "prometheus", "alertmanager"]

    globbed, _ = load_prometheus(tmp_path / "scrape_config_files_glob.good.yml", {})
    assert [scrape.job_name for scrape in globbed.scrape_configs] == ["prometheus", "node"]
    tls = [scrape.tls_config for scrape in globbed.scrape_configs]
    assert Path(tls[0].cert_file) == tmp_path / "scrape_configs" / "valid_cert_file"
    assert Path(tls[1].cert_file).resolve() == tmp_path.resolve() / "valid_cert_file"


@pytest.mark.parametrize("name", ["conf.good.yml", "roundtrip.good.yml", "external_labels.good.yml"])
def test_the_effective_yaml_loads_again_and_says_the_same(name: str, shared: Path) -> None:
    config, _ = load_prometheus(shared / "conformance" / "prometheus-config" / name, {"TEST": "v"})
    text = effective_yaml(Config(prometheus=config))
    if "$" in str(config.global_.external_labels):  # `$$` became `$` once and would again
        text = text.replace("$", "$$")
    again, _ = read_prometheus(parse_yaml(text), Reader(), {})
    assert effective_yaml(Config(prometheus=again)) == effective_yaml(Config(prometheus=config))


def test_the_effective_yaml_hides_every_secret(shared: Path) -> None:
    config, _ = load_prometheus(shared / "conformance" / "prometheus-config" / "conf.good.yml", {})
    text = effective_yaml(Config(prometheus=config))
    for secret in ("credentials: abcdef", "testAppSecret", "client_secret: '456'", "- bar\n"):
        assert secret not in text
    assert "mysecret" not in text
    assert "mysecret" not in repr(config)
    assert text.count("<secret>") >= 25


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, {"bar": "foo", "baz": "foobar", "foo": "", "qux": "foo${TEST}", "xyz": "foo$bar"}),
        (
            {"TEST": "Value"},
            {"bar": "foo", "baz": "fooValuebar", "foo": "Value", "qux": "foo${TEST}", "xyz": "foo$bar"},
        ),
    ],
)
def test_external_labels_take_environment_variables(
    environ: dict[str, str], expected: dict[str, str], shared: Path
) -> None:
    path = shared / "conformance" / "prometheus-config" / "external_labels.good.yml"
    config, warnings = load_prometheus(path, environ)
    assert config.global_.external_labels == expected
    assert bool(warnings) == (not environ)


def test_the_seed_file_loads_as_it_is(shared: Path) -> None:
    config, warnings = load_prometheus(shared / "seed" / "prometheus.yml", {})
    assert [
        (scrape.job_name, scrape.scrape_interval, scrape.scrape_timeout) for scrape in config.scrape_configs
    ] == [
        ("prometheus", 15_000, 10_000),
        ("application", 5_000, 5_000),
        ("node-exporter", 15_000, 10_000),
        ("docker", 15_000, 10_000),
    ]
    assert warnings == []
