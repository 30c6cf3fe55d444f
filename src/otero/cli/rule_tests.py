"""`otero test rules`: run unit tests of rules."""

import difflib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import re2
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from otero.errors import BadConfig
from otero.rules.unit_tests.run import Failure, FileReport, TestReport, run_file

_COLOURS = {"+": "green", "-": "red"}


def run_rule_tests(
    files: Sequence[Path],
    *,
    only: Sequence[str] = (),
    diff: bool = False,
    ignore_unknown: bool = False,
    junit: Path | None = None,
    features: frozenset[str] = frozenset(),
) -> int:
    """Run files of unit tests and print every failure with its place, counts per file, and a sum.

    Returns the exit code: 0 when nothing failed, 1 when something did, 2 when a file cannot be read.
    """
    logging.getLogger("otero.rules").setLevel(logging.ERROR)  # failures of rules are told here
    console = Console(soft_wrap=True, highlight=False)
    for pattern in only:
        try:
            re2.compile(pattern)
        except re2.error as error:
            print(f"otero test rules: --run: {error}", file=sys.stderr)
            return 2
    reports: list[FileReport] = []
    unreadable = 0
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=1.0)
        for path in files:
            try:
                report = run_file(
                    path,
                    only=only,
                    features=features,
                    ignore_unknown=ignore_unknown,
                    on_progress=lambda name, share, path=path: progress.update(
                        task, description=f"{path.name}: {name}", completed=share
                    ),
                )
            except BadConfig as error:
                print(error, file=sys.stderr)
                unreadable += 1
                continue
            reports.append(report)
            _print_file(report, console, diff=diff)
    console.print(_counts(reports))
    if junit is not None:
        junit.write_bytes(junit_xml(reports))
    if unreadable:
        return 2
    return 1 if any(report.failed for report in reports) else 0


def _print_file(report: FileReport, console: Console, *, diff: bool) -> None:
    for warning in report.warnings:
        console.print(Text(f"warning: {warning}", "yellow"))
    for error in report.errors:
        console.print(Text(error, "red"))
    for test in report.tests:
        for note in test.notes:
            console.print(Text(f"note: {report.path}:{note}", "yellow"))
        for failure in test.failures:
            console.print(Text(f"{report.path}:{failure.line}: {test.name}: {failure.what}", "bold"))
            for line in _diff(failure) if diff else _findings(failure):
                console.print(Text(f"    {line}", _COLOURS.get(line[:1], "") if diff else ""))
    console.print(Text(f"{report.path}: {_counts([report])}"))


def _findings(failure: Failure) -> list[str]:
    return [line for finding in failure.differences.findings for line in finding.split("\n")]


def _diff(failure: Failure) -> list[str]:
    """All that was expected (-) and all that came (+); what is the same in both stands once."""
    expected, got = failure.differences.expected, failure.differences.got
    if not expected and not got:
        return _findings(failure)
    return [line for line in difflib.ndiff(expected, got) if not line.startswith("?")]


def _counts(reports: Sequence[FileReport]) -> str:
    return f"{sum(report.passed for report in reports)} passed, {sum(report.failed for report in reports)} failed"


def junit_xml(reports: Sequence[FileReport]) -> bytes:
    """The results as CI systems read them: a suite for each file, a case for each of its tests."""
    suites = ET.Element("testsuites")
    for report in reports:
        suite = ET.SubElement(suites, "testsuite", name=str(report.path))
        for test in report.tests:
            _case(suite, test, str(report.path))
        if report.errors:
            case = ET.SubElement(suite, "testcase", name="file", classname=str(report.path))
            ET.SubElement(case, "error", message="unusable").text = "\n".join(report.errors)
        failed = sum(bool(test.failures) for test in report.tests)
        suite.set("tests", str(len(report.tests) + bool(report.errors)))
        suite.set("failures", str(failed))
        suite.set("errors", str(int(bool(report.errors))))
    return ET.tostring(suites, encoding="utf-8", xml_declaration=True)


def _case(suite: ET.Element, test: TestReport, file: str) -> None:
    case = ET.SubElement(suite, "testcase", name=test.name, classname=file, time=f"{test.seconds:.3f}")
    for failure in test.failures:
        told = "\n".join(_findings(failure))
        message = f"line {failure.line}: {failure.what}"
        ET.SubElement(case, "failure", message=message).text = told
