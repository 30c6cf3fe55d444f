"""otero.yml, the command line's flags over it, and the web configuration file."""

from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from otero.config import Config, OteroConfig, load
from otero.config.prometheus import PrometheusConfig, expand, read_prometheus
from otero.config.web import WebConfig, load_web
from otero.errors import BadConfig
from otero.ingest.scrape.config import GlobalConfig, ScrapeConfig
from otero.source import Reader, parse_json, parse_yaml

PROMETHEUS = (
    "global: {scrape_interval: 7s}\nscrape_configs: [{job_name: a, static_configs: [{targets: ['h:1']}]}]\n"
)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def refusal(path: Path, **flags: Any) -> str:
    with pytest.raises(BadConfig) as caught:
        load(path, **flags)
    return str(caught.value)


def test_without_any_file_there_are_only_defaults() -> None:
    config = load()
    assert not config.prometheus_given
    assert config.prometheus.scrape_configs == ()
    assert config.prometheus.global_.scrape_interval == 60_000
    assert (config.listen, config.query.lookback_delta) == ("127.0.0.1:9090", 300_000)
    assert Path(config.storage.path) == Path.cwd() / "data"
    assert config.warnings == ()


def test_every_key_of_the_contract_is_taken(tmp_path: Path) -> None:
    write(tmp_path, "prometheus.yml", PROMETHEUS)
    write(tmp_path, "alertmanager.yml", "{route: {receiver: team}, receivers: [{name: team}]}")
    text = """
        prometheus: prometheus.yml
        alertmanager: alertmanager.yml
        rules: [rules/*.yml]
        dashboards: [dashboards/*.json]
        slis: slis.yml
        slos: slos.yml
        probes: {}
        receivers: {jaeger: {protocols: {thrift_compact: {}}}, pushgateway: {}, otlp: {protocols: {grpc: }}}
        tickets: {}
        hosts: {"app": 127.0.0.1, "app:5000": 127.0.0.1:15000}
        storage: {engine: embedded, path: data, retention: {metrics: 30d, logs: 14d, traces: 7d}}
        listen: 127.0.0.1:9090
        auth: {}
        query: {timeout: 1m, max_samples: 10, max_concurrency: 3, lookback_delta: 2m}
        limits: {series: 5, series_per_job: 4}
    """
    config = load(write(tmp_path, "otero.yml", text.replace("\n        ", "\n")))
    assert config.prometheus.scrape_configs[0].scrape_interval == 7_000
    assert config.hosts == {"app": "127.0.0.1", "app:5000": "127.0.0.1:15000"}
    assert Path(config.storage.path) == tmp_path / "data"
    assert config.storage.retention.logs == 14 * 86_400_000
    assert (config.query.timeout, config.limits.series_per_job) == (60_000, 4)
    assert config.alertmanager.route.receiver == "team"
    assert {warning.path for warning in config.warnings} == {
        "rules[0]", "dashboards", "slis", "slos", "receivers.jaeger"
    }  # fmt: skip
    assert all(warning.line for warning in config.warnings)


def test_receivers_open_by_key_and_by_flag(tmp_path: Path) -> None:
    text = "receivers: {pushgateway: {endpoint: '127.0.0.1:19091', interval: 5s}}\n"
    configured = write(tmp_path, "otero.yml", text)
    assert load().receivers.pushgateway is None
    for config in (load(configured), load(configured, receivers=["pushgateway"])):
        assert config.receivers.pushgateway is not None
        assert config.receivers.pushgateway.endpoint == "127.0.0.1:19091"
        assert config.receivers.pushgateway.interval == 5000
    switched_on = load(receivers=["pushgateway"]).receivers.pushgateway
    assert switched_on is not None
    assert switched_on.endpoint == "127.0.0.1:9091"
    bare = load(write(tmp_path, "bare.yml", "receivers:\n  pushgateway:\n")).receivers.pushgateway
    assert bare == switched_on
    for name, why in (("pushgatway", 'no receiver "pushgatway"'), ("jaeger", "comes with a later release")):
        with pytest.raises(BadConfig, match=why):
            load(receivers=[name])
    bad = write(tmp_path, "bad.yml", "receivers: {pushgateway: {endpoint: here, max_groups: 0}}\n")
    assert (
        'receivers.pushgateway.endpoint: expected HOST:PORT, such as 127.0.0.1:9090, found "here"'
        in refusal(bad)
    )


@pytest.mark.parametrize(
    ("text", "grpc", "http"),
    [
        ("otlp:", "127.0.0.1:4317", "127.0.0.1:4318"),
        ("otlp: {protocols: }", "127.0.0.1:4317", "127.0.0.1:4318"),
        ("otlp: {protocols: {}}", "", ""),
        ("otlp: {protocols: {grpc: }}", "127.0.0.1:4317", ""),
        ("otlp: {protocols: {grpc: , http: {endpoint: '[::1]:14318'}}}", "127.0.0.1:4317", "[::1]:14318"),
    ],
)
def test_the_doors_of_otlp_are_those_that_are_named(text: str, grpc: str, http: str, tmp_path: Path) -> None:
    receiver = load(write(tmp_path, "otero.yml", f"receivers:\n  {text}\n")).receivers.otlp
    assert receiver is not None
    protocols = receiver.protocols
    assert ("" if protocols.grpc is None else protocols.grpc.endpoint) == grpc
    assert ("" if protocols.http is None else protocols.http.endpoint) == http


def test_receivers_of_the_command_line(tmp_path: Path) -> None:
    path = write(tmp_path, "otero.yml", "receivers: {otlp: {protocols: {http: }}}")
    assert load(receivers=["otlp"]).receivers.otlp is not None
    receiver = load(path, receivers=["otlp"]).receivers.otlp
    assert receiver is not None
    assert receiver.protocols.grpc is None, "what the file says of it stays"
    with pytest.raises(BadConfig, match='did you mean "otlp"'):
        load(receivers=["otpl"])


def test_prometheus_may_stand_inline_and_keeps_its_lines(tmp_path: Path) -> None:
    inline = write(tmp_path, "otero.yml", "prometheus:\n  scrape_configs:\n  - job_name: a\n")
    assert load(inline).prometheus.scrape_configs[0].job_name == "a"
    assert load(inline).prometheus_given
    bad = write(
        tmp_path, "bad.yml", "listen: :9090\nprometheus:\n  scrape_configs:\n  - job_name: a\n    sheme: x\n"
    )
    assert f"{bad}:5: prometheus.scrape_configs[0].sheme: unknown field" in refusal(bad)


def test_flags_win_over_keys(tmp_path: Path) -> None:
    otero = write(tmp_path, "otero.yml", "prometheus: absent.yml\nlisten: 127.0.0.1:1\nstorage: {path: a}\n")
    prometheus = write(tmp_path, "p.yml", PROMETHEUS)
    config = load(otero, prometheus=prometheus, listen="127.0.0.1:2", data=tmp_path / "b")
    assert (config.listen, config.storage.path) == ("127.0.0.1:2", str(tmp_path / "b"))
    assert config.prometheus.scrape_configs[0].job_name == "a"
    assert "--listen" in refusal(otero, prometheus=prometheus, listen="nonsense")


def test_the_same_files_give_equal_configurations_and_jobs(tmp_path: Path) -> None:
    path = write(tmp_path, "p.yml", PROMETHEUS + "rule_files: [x.yml]\n")
    assert load(prometheus=path) == load(prometheus=path)
    write(tmp_path, "p.yml", PROMETHEUS.replace("h:1", "h:2"))
    assert load(prometheus=path).prometheus.global_ == load(prometheus=path).prometheus.global_


def test_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    otero = write(tmp_path, "otero.yml", "lisen: x\nhosts: {'a/b': c}\n")
    web = write(tmp_path, "web.yml", "basic_auth_users: {a: plain}\n")
    prometheus = write(
        tmp_path, "p.yml", "scrape_configs: [{job_name: a, scheme: ftp}, {job_name: b, sample_limit: x}]"
    )
    text = refusal(otero, prometheus=prometheus, web_config=web)
    for message in (
        'did you mean "listen"?',
        "not a bcrypt hash",
        'unknown scheme "ftp"',
        "expected a whole number",
    ):
        assert message in text
    assert "plain" not in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("listen: 9090", "expected HOST:PORT"),
        ("listen: '::1:9090'", "brackets"),
        ("listen: '[zz]:9090'", "not an IPv6 address"),
        ("listen: 'a:99999999999'", "expected HOST:PORT"),
        ("hosts: {a: 'b:0'}", "expected a name or name:port"),
        ("storage: {engine: clickhouse}", "later release"),
        ("storage: {engine: x}", "unknown engine"),
        ("storage: {path: ''}", "data directory"),
        ("storage: {head_max_bytes: 1KB}", "at least 1MiB"),
        ("storage: {retention: {metrics: 30}}", "not a valid duration"),
        ("query: {max_samples: 0}", "greater than 0"),
        ("limits: {series: -1}", "must not be negative"),
        ("auth: {tokens: [{name: a}]}", "exactly one of token and token_file"),
        ("prometheus: [a]", "a list cannot stand here"),
        ("prometheus: absent.yml", "cannot be read"),
    ],
)
def test_faults_of_otero_yml_are_told_with_their_line(text: str, message: str, tmp_path: Path) -> None:
    assert message in refusal(write(tmp_path, "otero.yml", text))


def test_web_configuration_takes_bcrypt_users_and_tls(tmp_path: Path) -> None:
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    web, warnings = load_web(
        write(
            tmp_path,
            "web.yml",
            f"tls_server_config: {{cert_file: a.crt, key_file: a.key}}\nbasic_auth_users: {{u: {hashed}}}\n",
        )
    )
    assert web.users() == {"u": hashed}
    assert hashed not in repr(web)
    assert web.tls_server_config is not None
    assert Path(web.tls_server_config.cert_file) == tmp_path / "a.crt"
    assert warnings == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tls_server_config: {}", "missing one of cert or cert_file"),
        ("tls_server_config: {cert_file: a}", "missing one of key or key_file"),
        ("tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}", "without a client auth policy"),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAndVerifyClientCert}",
            "client_ca_file",
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, min_version: TLS13, max_version: TLS12}",
            "max_version",
        ),
        ("tls_server_config: {cert_file: a, key_file: b, min_version: TLS9}", "unknown min_version"),
        ("http_server_config: {headers: {X-Frame-Options: maybe}}", "must be one of deny, sameorigin"),
        ("http_server_config: {headers: {Server: x}}", "cannot be configured"),
        ("basic_auth_user: {}", 'did you mean "basic_auth_users"?'),
    ],
)
def test_faults_of_the_web_configuration_are_told(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=message.replace("?", r"\?")):
        load_web(write(tmp_path, "web.yml", text))


def test_a_job_takes_from_global_what_it_does_not_say() -> None:
    global_ = GlobalConfig(sample_limit=5, label_limit=6, scrape_native_histograms=True)
    job = ScrapeConfig(job_name="a", label_limit=7).complete(global_)
    assert (job.sample_limit, job.label_limit, job.scrape_timeout) == (5, 7, 10_000)
    assert job.protocols[0] == "PrometheusProto"
    assert job.complete(global_) == job


@pytest.mark.parametrize(
    ("text", "expected", "missing"),
    [
        ("$A-${A}-$$A-$", "x-x-$A-$", []),
        ("${B}$B.", ".", ["B", "B"]),
        ("a$", "a$", []),
        ("${A", "${A", []),
        ("$1 $é", " $é", ["1"]),
    ],
)
def test_variables_expand_as_in_go(text: str, expected: str, missing: list[str]) -> None:
    assert expand(text, {"A": "x"}) == (expected, missing)


KEYS = st.sampled_from(
    [
        *PrometheusConfig.__struct_fields__,
        *ScrapeConfig.__struct_fields__,
        *GlobalConfig.__struct_fields__,
        "global",
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "1h", "http://h", "drop", "(", "$1"])
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=25,
)


@given(st.dictionaries(KEYS, TREES, max_size=4), st.dictionaries(KEYS, TREES, max_size=6))
def test_any_structure_is_a_configuration_or_bad_config(top: dict[str, Any], job: dict[str, Any]) -> None:
    tree = {**top, "scrape_configs": [{"job_name": "j", **job}]}
    node = parse_yaml(_dump(tree))
    try:
        config, _ = read_prometheus(node, Reader("f.yml", Path("/nowhere")), {})
    except BadConfig as error:
        assert error.problems  # noqa: PT017 (either is right)
    else:
        assert Config(prometheus=config).text


@given(st.dictionaries(st.sampled_from([*OteroConfig.__struct_fields__, "x"]), TREES, max_size=5))
def test_any_structure_is_an_otero_yml_or_problems(tree: dict[str, Any]) -> None:
    for type_ in (OteroConfig, WebConfig):
        reader = Reader("f.yml", Path("/nowhere"))
        assert isinstance(reader.read(parse_yaml(_dump(tree)), type_), type_) or reader.problems


def _dump(tree: Any) -> str:
    return yaml.safe_dump(tree)


def test_json_is_taken_for_yaml_files_too() -> None:
    config, _ = read_prometheus(parse_json('{"scrape_configs": [{"job_name": "a"}]}'), Reader(), {})
    assert config.scrape_configs[0].job_name == "a"


def test_a_path_too_long_for_the_system_is_only_absent(tmp_path: Path) -> None:
    text = f"rule_files: [{'a' * 5000}]\nscrape_config_files: ['{'b' * 5000}*.yml']\n"
    config = load(prometheus=write(tmp_path, "p.yml", text))
    assert sum("no file matches" in warning.message for warning in config.warnings) == 2
    assert "cannot be read" in refusal(tmp_path / ("c" * 5000))


def test_inline_content_does_not_show_its_secrets(tmp_path: Path) -> None:
    text = (
        "prometheus: {scrape_configs: [{job_name: a, bearer_token: hunter2}]}\n"
        "alertmanager: {route: {receiver: a}, receivers: [{name: a, pagerduty_configs: [{routing_key: hunter2}]}]}\n"
    )
    config = load(write(tmp_path, "otero.yml", text))
    authorization = config.prometheus.scrape_configs[0].authorization
    assert authorization is not None
    assert authorization.credentials.reveal() == "hunter2"
    assert config.alertmanager.receivers[0].integrations[0].name == "pagerduty[0]"
    assert "hunter2" not in repr(config) + config.text + config.alertmanager.text + str(config.warnings)


def test_alertmanager_yml_by_key_by_flag_or_not_at_all(tmp_path: Path) -> None:
    small = "{route: {receiver: %s}, receivers: [{name: %s}]}"
    write(tmp_path, "a.yml", small % ("a", "a"))
    by_key = write(tmp_path, "otero.yml", "alertmanager: a.yml\n")
    assert load(by_key).alertmanager.route.receiver == "a"
    flag = write(tmp_path, "b.yml", small % ("b", "b"))
    assert load(by_key, alertmanager=flag).alertmanager.route.receiver == "b"
    assert load().alertmanager.route.receiver == "default"
    assert load().alertmanager.receivers[0].integrations == ()
    inline = write(tmp_path, "inline.yml", f"alertmanager: {small % ('x', 'y')}\n")
    assert 'inline.yml:1: alertmanager.route.receiver: undefined receiver "x"' in refusal(inline)
    assert "cannot be read" in refusal(write(tmp_path, "otero2.yml", "alertmanager: missing.yml\n"))


def test_templates_that_alertmanager_yml_names_are_parsed(tmp_path: Path) -> None:
    write(tmp_path, "good.tmpl", '{{ define "team" }}x{{ end }}')
    path = write(
        tmp_path,
        "am.yml",
        "{route: {receiver: a}, receivers: [{name: a}], templates: ['*.tmpl', none/*.tmpl]}",
    )
    assert "team" in load(alertmanager=path).templates.names
    write(tmp_path, "bad.tmpl", 'x\n{{ define "b" }}{{ end')
    with pytest.raises(BadConfig) as refused:
        load(alertmanager=path)
    (problem,) = refused.value.problems
    assert (problem.file, problem.line) == (str(tmp_path / "bad.tmpl"), 2)
