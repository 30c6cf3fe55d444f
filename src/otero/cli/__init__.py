"""The command line: one file per sub-command, put together here."""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from otero import __version__
from otero.errors import OteroError

_URL_HELP = "The server to ask (default: $OTERO_URL, then http://127.0.0.1:9090)."
Url = Annotated[str | None, Parameter(name="--url", help=_URL_HELP)]
Moment = Annotated[str | None, Parameter(allow_leading_hyphen=True)]
Token = Annotated[str | None, Parameter(name="--token", help="Bearer token (default: $OTERO_TOKEN).")]

app = App(
    name="otero",
    version=f"otero {__version__}",
    help="Metrics, logs, traces, alerts, dashboards and SLOs of a DevOps team in one process.",
)
test = App(name="test", help="Run tests of rules and queries.")
app.command(test)


def main() -> None:
    """Entry point: an expected error is one line on stderr and exit code 1, a wrong call exit code 2."""
    try:
        code = app(exit_on_error=True)
    except OteroError as error:
        print(f"otero: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


@app.command
def serve(
    *,
    config: Path | None = None,
    prometheus: Path | None = None,
    alertmanager: Path | None = None,
    rules: tuple[Path, ...] = (),
    dashboards: Path | None = None,
    slis: Path | None = None,
    slos: Path | None = None,
    data: Path | None = None,
    listen: str | None = None,
    receiver: tuple[str, ...] = (),
    web_config: Path | None = None,
    enable_feature: tuple[str, ...] = (),
    insecure: bool = False,
    log_level: str = "info",
) -> int:
    """Run the server.

    Example: `otero serve --prometheus prometheus.yml --data /var/lib/otero`

    Without any file it scrapes itself and this host.

    Parameters
    ----------
    config
        otero.yml; each flag below is a shortcut for its key of the same name.
    prometheus
        Prometheus' configuration file, as it is.
    alertmanager
        Alertmanager's configuration file, as it is.
    rules
        Rule files besides those that prometheus.yml names (evaluated by a later release).
    dashboards
        Folder of Grafana dashboard JSON (served by a later release).
    slis
        SLI file (served by a later release).
    slos
        SLO file (served by a later release).
    data
        Data directory (default: ./data).
    listen
        HOST:PORT of the main port (default: 127.0.0.1:9090).
    receiver
        Open a receiver on its usual ports, or fail: otlp (4317 gRPC, 4318 HTTP), pushgateway (9091),
        alertmanager (9093).
    web_config
        Prometheus' web configuration file: TLS and basic authentication.
    enable_feature
        Feature flags of PromQL, named as Prometheus names them; commas or repeated.
    insecure
        Allow listening beyond this machine without authentication.
    log_level
        debug, info, warning or error.
    """
    import uvloop

    from otero.cli.serve import Flags
    from otero.cli.serve import serve as run

    flags = Flags(
        config=config,
        prometheus=prometheus,
        alertmanager=alertmanager,
        rules=rules,
        dashboards=dashboards,
        slis=slis,
        slos=slos,
        data=data,
        listen=listen,
        receivers=receiver,
        web_config=web_config,
        enable_feature=enable_feature,
        insecure=insecure,
    )
    return uvloop.run(run(flags, log_level))


@app.command
def check(
    *files: Path,
    enable_feature: tuple[str, ...] = (),
    server: str | None = None,
    token: Token = None,
) -> int:
    """Say of what kind each file is and what is wrong with it, with its line; several together, whether they agree.

    Examples: `otero check prometheus.yml rules.yml alertmanager.yml`, `otero check rules.yml --server http://127.0.0.1:9090`

    Exit code 0: good, 1: findings, 2: a file cannot be read.

    Parameters
    ----------
    files
        Any of the files that Otero reads.
    enable_feature
        Feature flags of PromQL that the server will have, named as Prometheus names them; commas or repeated.
    server
        An Otero or Prometheus that is asked whether the metrics of the rules are there.
    """
    from otero.cli.check import check as run
    from otero.cli.client import Client

    if not files:
        print("otero check: name at least one file, such as: otero check prometheus.yml", file=sys.stderr)
        return 2
    features = _features(enable_feature, "check")
    if features is None:
        return 2
    return run(list(files), features, None if server is None else Client(server, token))


def _features(given: tuple[str, ...], command: str) -> frozenset[str] | None:
    """The feature flags that a command line names; None, and a line on stderr, when one of them is none."""
    from otero.config import check_features
    from otero.errors import BadField

    features = frozenset(name for names in given for name in names.split(",") if name)
    try:
        check_features(sorted(features))
    except BadField as error:
        print(f"otero {command}: --enable-feature: {error}", file=sys.stderr)
        return None
    return features


@app.command
def query(
    expr: str,
    *,
    time: Moment = None,
    start: Moment = None,
    end: Moment = None,
    step: str | None = None,
    output: Annotated[str, Parameter(name="--format", help="table, json or csv.")] = "table",
    url: Url = None,
    token: Token = None,
) -> None:
    """Ask a server in PromQL.

    Examples: `otero query up`, `otero query 'rate(http_requests_total[5m])' --start -1h --step 30s`

    Parameters
    ----------
    time
        Moment of an instant query: Unix seconds, RFC 3339, or a span before now such as -5m.
    start
        Begin of a range, as --time; makes this a range query, drawn as a plot.
    end
        End of the range (default: now).
    step
        Distance of its points (default: 120 points).
    """
    from otero.cli.client import Client
    from otero.cli.query import query as run

    if output not in ("table", "json", "csv"):
        print(f"otero query: --format is table, json or csv, not {output}", file=sys.stderr)
        sys.exit(2)
    run(expr, Client(url, token), time_=time, start=start, end=end, step=step, format_=output)


@app.command
def trace(
    trace_id: str,
    *,
    output: Annotated[str, Parameter(name="--format", help="tree or json.")] = "tree",
    url: Url = None,
    token: Token = None,
) -> None:
    """Show a trace: its spans as a tree, with bars for when they ran, durations and errors.

    Example: `otero trace 4bf92f3577b34da6a3ce929d0e0e4736`

    Parameters
    ----------
    trace_id
        Its id in hexadecimal, as it stands in logs and headers.
    """
    from otero.cli.client import Client
    from otero.cli.trace import trace as run

    if output not in ("tree", "json"):
        print(f"otero trace: --format is tree or json, not {output}", file=sys.stderr)
        sys.exit(2)
    run(trace_id, Client(url, token), output)


@app.command
def why(
    alert: str,
    *,
    label: tuple[str, ...] = (),
    since: str = "24h",
    json: bool = False,
    url: Url = None,
    token: Token = None,
) -> int:
    """Tell why an alert fired, who was told, and why others were not: every decision, in order.

    Examples: `otero why ServiceDown`, `otero why ServiceDown --label instance=app:5000 --since 7d`

    Exit code 1 when there is neither such a rule nor such an alert.

    Parameters
    ----------
    alert
        Its name, or its fingerprint.
    label
        name=value that the alert must have; may be repeated.
    since
        How far to look back.
    json
        Print the answer of the API.
    """
    from otero.cli.client import Client
    from otero.cli.why import why as run

    return run(alert, Client(url, token), labels=label, since=since, as_json=json)


@app.command
def status(*, url: Url = None, token: Token = None) -> int:
    """Show the state of a server: doors, targets, storage, resources.

    Example: `otero status --url http://127.0.0.1:9090`
    """
    from otero.cli.client import Client
    from otero.cli.status import status as run

    return run(Client(url, token))


@app.command
def backup(directory: Path, *, url: Url = None, token: Token = None) -> None:
    """Let a running server write a backup of everything it has stored, and read it back as a check.

    Example: `otero backup /backups/2026-11-24`

    Parameters
    ----------
    directory
        A folder on the server's machine that does not exist yet or is empty.
    """
    from otero.cli.backup import backup as run
    from otero.cli.client import Client

    run(directory, Client(url, token, timeout_s=24 * 3600))


@app.command
def restore(directory: Path, *, data: Path = Path("data")) -> None:
    """Fill an empty data directory from a backup; the server must not run on it.

    Example: `otero restore /backups/2026-11-24 --data data`

    Parameters
    ----------
    directory
        What `otero backup` wrote.
    data
        The data directory to fill.
    """
    from otero.cli.backup import restore as run

    run(directory, data)


@app.command
def replay(
    rules: Path,
    *,
    since: str = "1d",
    until: Moment = None,
    alert: tuple[str, ...] = (),
    step: str = "",
    json: bool = False,
    url: Url = None,
    token: Token = None,
) -> int:
    """Tell when the alerts of a rule file would have fired over what a server has stored.

    Example: `otero replay alert_rules.yml --since 30d`

    Exit code 1 when an expression could not be evaluated.

    Parameters
    ----------
    rules
        A rule file; it need not be one that the server runs.
    since
        How far back, such as 30d.
    until
        End of the time (default: now): Unix seconds, RFC 3339, or a span before now such as -1d.
    alert
        Only the alerts of this name; may be repeated.
    step
        Time between evaluations (default: the interval of each group, else the server's).
    json
        Print everything as JSON, each episode included.
    """
    from otero.cli.client import Client
    from otero.cli.replay import replay as run

    return run(
        rules,
        Client(url, token, timeout_s=660),
        since=since,
        until=until,
        alerts=alert,
        step=step,
        as_json=json,
    )


@test.command(name="promql")
def promql(*files: Path, grid: bool = False) -> int:
    """Run files of the plain-text PromQL test language.

    Example: `otero test promql tests/spec/promql/*.test`

    The last line is `N passed, M failed`; exit code 0: all passed, 1: failures, 2: a file cannot be read.

    Parameters
    ----------
    files
        What to run, one after the other.
    grid
        Also ask every query both ways, at once for a range and step by step: the answers must agree.
    """
    from otero.cli.test import test_promql

    if not files:
        print("otero test promql: name at least one file", file=sys.stderr)
        return 2
    return test_promql(list(files), grid=grid)


@test.command(name="rules")
def rule_tests(
    *files: Path,
    run: tuple[str, ...] = (),
    diff: bool = False,
    ignore_unknown_fields: bool = False,
    junit: Path | None = None,
    enable_feature: tuple[str, ...] = (),
) -> int:
    """Run unit tests of alerting and recording rules, in promtool's format.

    Example: `otero test rules alerts_test.yml`

    The last line is `N passed, M failed`; exit code 0: all passed, 1: failures, 2: a file cannot be read.

    Parameters
    ----------
    files
        What to run, one after the other.
    run
        Only the tests in whose name this regular expression is found; may be repeated.
    diff
        Show all that was expected and all that came as a coloured difference.
    ignore_unknown_fields
        Pass over fields of rule files that nobody knows.
    junit
        Write the results to this file as JUnit XML, too.
    enable_feature
        Feature flags of PromQL, named as Prometheus names them; commas or repeated.
    """
    from otero.cli.rule_tests import run_rule_tests

    if not files:
        print("otero test rules: name at least one file", file=sys.stderr)
        return 2
    features = _features(enable_feature, "test rules")
    if features is None:
        return 2
    return run_rule_tests(
        list(files), only=run, diff=diff, ignore_unknown=ignore_unknown_fields, junit=junit, features=features
    )


@app.command
def demo(
    *,
    listen: str = "127.0.0.1:9090",
    data: Path | None = None,
    faults: str = "none",
    database: str | None = None,
    redis: str | None = None,
    seed: int = 0,
) -> int:
    """Start a server, three instrumented Flask services with customers, and faults to switch on.

    Example: `otero demo --faults latency,errors`

    Parameters
    ----------
    listen
        HOST:PORT of the server, on loopback.
    data
        Data directory (default: a temporary one, removed at the end).
    faults
        What goes wrong once data is there: none, all (one after the other), or names with commas, each with :SERVICE
        or without: latency, errors, down, cpu, memory, slow-query, database, deploy.
    database
        URL of a PostgreSQL database for the order service (default: SQLite).
    redis
        URL of a Redis for the user service's sessions (default: its memory).
    seed
        Of the customers' random choices.
    """
    import uvloop

    from otero.demo.asked import Asked
    from otero.demo.faults import parse
    from otero.demo.run import demo as run

    chosen, in_turn = parse(faults)
    asked = Asked(
        listen=listen,
        data=data,
        faults=chosen,
        in_turn=in_turn,
        database=database,
        redis=redis,
        seed=seed,
    )
    return uvloop.run(run(asked))
