"""`otero test promql`: run test files of the query language."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from otero.errors import BadInput
from otero.query.promql.spec import Failure, FileReport, run_file


def test_promql(files: Sequence[Path], *, grid: bool) -> int:
    """Run files of PromQL's test language and print counts per file, every failure with its line, and a sum.

    Returns the exit code: 0 when nothing failed, 1 when something did, 2 when a file cannot be read.
    """
    reports: list[FileReport] = []
    unreadable = 0
    console = Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(files))
        for path in files:
            progress.update(task, description=path.name)
            try:
                report = run_file(path, grid=grid)
            except (BadInput, OSError, UnicodeDecodeError) as error:
                print(f"{path}: cannot be read: {error}", file=sys.stderr)
                unreadable += 1
                continue
            finally:
                progress.advance(task)
            reports.append(report)
            for failure in report.failures:
                print(_told(path, failure))
            print(f"{path}: {_counts([report])}")
    print(_counts(reports))
    if unreadable:
        return 2
    return 1 if any(report.failures for report in reports) else 0


test_promql.__test__ = False  # pyright: ignore[reportFunctionMemberAccess] a command, not a test


def _told(path: Path, failure: Failure) -> str:
    reason = failure.reason.replace("\n", "\n    ")
    return f"{path}:{failure.line}: {failure.expr}\n    {reason}"


def _counts(reports: Sequence[FileReport]) -> str:
    passed = sum(report.passed for report in reports)
    failed = sum(len(report.failures) for report in reports)
    return f"{passed} passed, {failed} failed"
