"""`otero test`: run test files of the query language."""

import sys
from collections.abc import Sequence
from pathlib import Path

from otero.errors import BadInput
from otero.query.promql.spec import FileReport, run_file


def test_promql(files: Sequence[Path]) -> int:
    """Run files of PromQL's test language and print counts per file, every failure with its line, and a sum.

    Returns the exit code: 0 when nothing failed, 1 otherwise.
    """
    reports: list[FileReport] = []
    unreadable = 0
    for path in files:
        try:
            report = run_file(path)
        except (BadInput, OSError, UnicodeDecodeError) as error:
            print(f"{path}: cannot be read: {error}", file=sys.stderr)
            unreadable += 1
            continue
        reports.append(report)
        for failure in report.failures:
            print(f"{path}:{failure.line}: {failure.expr}\n    {failure.reason}")
        print(f"{path}: {_counts([report])}")
    print(_counts(reports))
    return 1 if unreadable or any(report.failures for report in reports) else 0


test_promql.__test__ = False  # pyright: ignore[reportFunctionMemberAccess] a command, not a test


def _counts(reports: Sequence[FileReport]) -> str:
    passed = sum(report.passed for report in reports)
    failed = sum(len(report.failures) for report in reports)
    unsupported = sum(len(report.unsupported) for report in reports)
    return f"{passed} passed, {failed} failed" + (f", {unsupported} unsupported" if unsupported else "")
