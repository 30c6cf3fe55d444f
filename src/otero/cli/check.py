"""`otero check`: one line per file, then one per finding."""

import sys
from pathlib import Path

from otero.check import FileReport, Kind, Severity, check_files
from otero.cli.client import Client
from otero.source import is_file


def check(files: list[Path], features: frozenset[str] = frozenset(), server: Client | None = None) -> int:
    """Prints what each file is and what is wrong with it; `features` are the flags of PromQL that are on.

    A server tells which metrics there are for rules to read.

    Returns 0 when all is good (warnings allowed), 1 with findings, 2 when a file cannot be read at all.
    """
    if not files:
        print("otero check: no file given; for example: otero check prometheus.yml", file=sys.stderr)
        return 2
    missing = [file for file in files if not is_file(file)]
    for file in missing:
        print(f"otero check: {file}: no such file", file=sys.stderr)
    if missing:
        return 2
    metrics = None if server is None else metric_names(server)
    reports = check_files(files, features=features, metrics=metrics)
    for report in reports:
        print(f"{report.file}: {report.kind}: {_verdict(report)}")
        for finding in report.findings:
            print(finding)
    if metrics is None and any(report.kind is Kind.RULES for report in reports):
        print("not checked: whether the metrics of the rules are there; --server URL asks a running server")
    return 0 if all(report.good for report in reports) else 1


def metric_names(server: Client) -> frozenset[str]:
    """Every metric that a server of Prometheus' API has now."""
    return frozenset(server.get("/api/v1/label/__name__/values")["data"])


def _verdict(report: FileReport) -> str:
    errors = sum(finding.severity is Severity.ERROR for finding in report.findings)
    warnings = len(report.findings) - errors
    parts = [f"{errors} error{'s' * (errors != 1)}"] if errors else []
    parts += [f"{warnings} warning{'s' * (warnings != 1)}"] if warnings else []
    if not report.checked and not errors:
        parts.append("readable; not checked further yet, a later release does")
    return ", ".join(parts) or "good"
