"""`otero backup` and `otero restore`."""

import sys
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal

from otero.cli.client import Client
from otero.storage.backup import restore as restore_data


def backup(directory: Path, client: Client) -> None:
    """Ask the server to write a backup and say what it wrote."""
    with Console(stderr=True).status("writing and checking the backup …"):
        report = client.post("/api/otero/v1/backup", {"directory": str(directory.resolve())})
    print(
        f"backup in {report['directory']}: {report['samples']:,} samples, {report['logs']:,} log records,"
        f" {report['spans']:,} spans, {report['decisions']:,} decisions about alerts, {decimal(report['bytes'])},"
        f" written and checked in {report['seconds']:.1f} s"
    )


def restore(directory: Path, data: Path) -> None:
    """Fill `data` from the backup and say what came back."""
    with Console(stderr=True).status("restoring …"):
        report = restore_data(directory, data)
    print(
        f"restored {report.samples:,} samples, {report.logs:,} log records, {report.spans:,} spans,"
        f" {report.decisions:,} decisions about alerts into {data}; start with: otero serve --data {data}",
        file=sys.stdout,
    )
