"""What files are and what is wrong with them, alone and together."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from otero.alerting.config import read_alertmanager
from otero.alerting.template import Templates
from otero.check.kinds import NOT_CHECKED_YET, Kind, kind_of
from otero.check.references import check_files_exist, check_references
from otero.check.rule_tests import check_rule_tests
from otero.check.rules import check_rules
from otero.check.together import Source, check_together
from otero.config import load
from otero.config.prometheus import read_prometheus
from otero.config.web import WebConfig
from otero.errors import BadConfig, Problem
from otero.ingest.scrape.discovery_config import TargetGroup
from otero.source import Node, Reader, Scalar, parse, parse_json, read_file

__all__ = ["FileReport", "Finding", "Kind", "Severity", "check_files"]


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know about a file. Warnings do not make a file unusable."""

    severity: Severity
    problem: Problem

    def __str__(self) -> str:
        """`file:line: path: message`, a warning marked as one."""
        if self.severity is Severity.ERROR:
            return str(self.problem)
        p = self.problem
        return str(Problem(f"warning: {p.message}", p.file, p.line, p.column, p.path))


@dataclass(frozen=True, slots=True)
class FileReport:
    """What one file is, and its findings in the order of their lines. `checked` is False for kinds of later releases."""

    file: Path
    kind: Kind
    findings: tuple[Finding, ...]
    checked: bool = True

    @property
    def good(self) -> bool:
        return all(finding.severity is not Severity.ERROR for finding in self.findings)


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What files are checked against: environment variables, and the feature flags of PromQL that are on."""

    environ: Mapping[str, str]
    features: frozenset[str]


def check_files(
    paths: Sequence[Path],
    environ: Mapping[str, str] | None = None,
    *,
    features: frozenset[str] = frozenset(),
    metrics: Collection[str] | None = None,
) -> list[FileReport]:
    """One report per file, in order. A file that cannot be read is a finding, too.

    Files that are good each are looked at together. `metrics` are those that a running server has; None asks none.
    """
    around = _Surroundings(os.environ if environ is None else environ, features)
    sources = [_read(path, around) for path in paths]
    check_together(sources, around.environ, features, metrics)
    return [_report(source) for source in sources]


def _read(path: Path, around: _Surroundings) -> Source:
    kind = Kind.UNKNOWN
    node: Node = Scalar("", None, 1, 1)
    reader = Reader(str(path), path.absolute().parent)
    try:
        data = read_file(path)
        node = parse_json(data, str(path)) if data.lstrip()[:1] == b"{" else parse(data, str(path))
        kind = kind_of(node)
        _CHECKS.get(kind, _check_nothing)(node, reader, path, around)
    except BadConfig as error:
        known = set(reader.problems)
        reader.problems += [problem for problem in error.problems if problem not in known]
    return Source(path, kind, node, reader)


def _report(source: Source) -> FileReport:
    path, kind, reader = source.path, source.kind, source.reader
    findings = [Finding(Severity.ERROR, problem) for problem in reader.problems]
    findings += [Finding(Severity.WARNING, problem) for problem in dict.fromkeys(reader.warnings)]
    findings.sort(key=lambda finding: (finding.problem.file != str(path), finding.problem.line))
    return FileReport(path, kind, tuple(findings), kind not in NOT_CHECKED_YET)


def _check_prometheus(node: Node, reader: Reader, _path: Path, around: _Surroundings) -> None:
    config, _ = read_prometheus(node, reader, around.environ)
    check_references(config, node, reader)


def _check_alertmanager(node: Node, reader: Reader, _path: Path, _around: _Surroundings) -> None:
    Templates.load(read_alertmanager(node, reader).templates)


def _check_otero(_node: Node, reader: Reader, path: Path, around: _Surroundings) -> None:
    reader.warnings += load(path, environ=around.environ).warnings


def _check_web(node: Node, reader: Reader, _path: Path, _around: _Surroundings) -> None:
    web = reader.read(node, WebConfig)
    if isinstance(web, WebConfig):
        check_files_exist(web, node, reader)


def _check_targets(node: Node, reader: Reader, _path: Path, _around: _Surroundings) -> None:
    reader.read(node, tuple[TargetGroup, ...])


def _check_rules(node: Node, reader: Reader, _path: Path, around: _Surroundings) -> None:
    check_rules(node, reader, around.features)


def _check_rule_tests(node: Node, reader: Reader, _path: Path, around: _Surroundings) -> None:
    check_rule_tests(node, reader, around.features)


def _check_unknown(node: Node, reader: Reader, _path: Path, _around: _Surroundings) -> None:
    reader.problem("not a file that Otero knows: none of its keys tells of what kind it is", node)


def _check_nothing(_node: Node, _reader: Reader, _path: Path, _around: _Surroundings) -> None:
    """Reading it has shown its syntax and duplicate keys; the rest is a later release's."""


_CHECKS: dict[Kind, Callable[[Node, Reader, Path, _Surroundings], None]] = {
    Kind.PROMETHEUS: _check_prometheus,
    Kind.ALERTMANAGER: _check_alertmanager,
    Kind.OTERO: _check_otero,
    Kind.WEB: _check_web,
    Kind.RULES: _check_rules,
    Kind.RULE_TESTS: _check_rule_tests,
    Kind.TARGETS: _check_targets,
    Kind.UNKNOWN: _check_unknown,
}
