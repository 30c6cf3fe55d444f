"""This host's own metrics, under node_exporter's names, labels and types, so that known rules and dashboards work.

`samples_of_host` reads psutil once and gives families; `HostCollector` does so at an interval and hands the columns to
the intake with `job="node"` and `instance` = the host's name, beside `up`.
"""

import asyncio
import contextlib
import logging
import os
import platform
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from otero.clock import Clock
from otero.errors import OteroError
from otero.ingest.intake import Intake
from otero.model.labels import LabelBytes, encode_labels
from otero.model.metrics import Metadata, MetricBatch
from otero.model.samples import STALE

_log = logging.getLogger(__name__)

_DOOR = "host"
_PSEUDO_FILESYSTEMS = frozenset(
    {"autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "fusectl",
     "hugetlbfs", "iso9660", "mqueue", "nsfs", "overlay", "proc", "procfs", "pstore", "rpc_pipefs", "securityfs",
     "selinuxfs", "squashfs", "sysfs", "tracefs"}
)  # fmt: skip
_PSEUDO_MOUNTS = re.compile(
    r"/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)"
)
"""Mount points that node_exporter leaves out unless told otherwise; so do the types above."""

_PROC = Path("/proc")
_NET = Path("/sys/class/net")
_MEMORY_FIELDS = (
    "MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "Shmem", "Slab", "Active", "Inactive", "SwapTotal",
    "SwapFree",
)  # fmt: skip
_CPU_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_MS_PER_S = 1000.0


@dataclass(frozen=True, slots=True)
class Family:
    """One metric of the host: its samples as pairs of labels and value."""

    name: str
    type: str
    help: str
    samples: tuple[tuple[dict[str, str], float], ...]


def samples_of_host() -> Iterator[Family]:
    """What psutil knows now. Families that this system does not offer are left out."""
    yield from _cpu()
    for reader in (_memory, _filesystems, _disks, _network, _processes, _system):
        with contextlib.suppress(
            psutil.Error, OSError, NotImplementedError, AttributeError, LookupError, ValueError
        ):
            yield from reader()


def _one(name: str, type_: str, help_: str, value: float) -> Family:
    return Family(name, type_, help_, (({}, float(value)),))


def _cpu() -> Iterator[Family]:
    yield Family(
        "node_cpu_seconds_total",
        "counter",
        "Seconds the CPUs spent in each mode.",
        tuple(
            ({"cpu": str(number), "mode": mode}, float(getattr(times, mode)))
            for number, times in enumerate(psutil.cpu_times(percpu=True))
            for mode in _CPU_MODES
            if hasattr(times, mode)
        ),
    )
    for minutes, load in zip((1, 5, 15), psutil.getloadavg(), strict=True):
        yield _one(f"node_load{minutes}", "gauge", f"{minutes}m load average.", load)


def _memory() -> Iterator[Family]:
    values = _meminfo() if platform.system() == "Linux" else _memory_elsewhere()
    for name in _MEMORY_FIELDS:
        if name in values:
            help_ = f"Memory information field {name}_bytes."
            yield _one(f"node_memory_{name}_bytes", "gauge", help_, values[name])


def _meminfo() -> dict[str, float]:
    """The kernel's own figures: psutil counts reclaimable slabs as Cached, node_exporter does not."""
    rows = (line.split() for line in (_PROC / "meminfo").read_text().splitlines())
    return {row[0].rstrip(":"): float(row[1]) * 1024 for row in rows if row[-1] == "kB"}


def _memory_elsewhere() -> dict[str, float]:
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    values = {
        "MemTotal": memory.total,
        "MemFree": memory.free,
        "MemAvailable": memory.available,
        "Buffers": getattr(memory, "buffers", None),
        "Cached": getattr(memory, "cached", None),
        "Active": getattr(memory, "active", None),
        "Inactive": getattr(memory, "inactive", None),
        "SwapTotal": swap.total,
        "SwapFree": swap.free,
    }
    return {name: float(value) for name, value in values.items() if value is not None}


def _filesystems() -> Iterator[Family]:
    rows: list[tuple[dict[str, str], os.statvfs_result]] = []
    seen: set[str] = set()
    for part in psutil.disk_partitions(all=True):
        if (
            part.fstype in _PSEUDO_FILESYSTEMS
            or part.mountpoint in seen
            or _PSEUDO_MOUNTS.match(part.mountpoint)
        ):
            continue
        seen.add(part.mountpoint)
        with contextlib.suppress(OSError):
            labels = {"device": part.device, "fstype": part.fstype, "mountpoint": part.mountpoint}
            rows.append((labels, os.statvfs(part.mountpoint)))
    for name, help_, read in (
        ("size_bytes", "Filesystem size in bytes.", lambda s: s.f_blocks * s.f_frsize),
        ("free_bytes", "Filesystem free space in bytes.", lambda s: s.f_bfree * s.f_frsize),
        (
            "avail_bytes",
            "Filesystem space available to non-root users in bytes.",
            lambda s: s.f_bavail * s.f_frsize,
        ),
        ("files", "Filesystem total file nodes.", lambda s: s.f_files),
        ("files_free", "Filesystem total free file nodes.", lambda s: s.f_ffree),
        ("readonly", "Filesystem read-only status.", lambda s: bool(s.f_flag & os.ST_RDONLY)),
    ):
        yield Family(
            f"node_filesystem_{name}", "gauge", help_, tuple((labels, float(read(s))) for labels, s in rows)
        )


def _disks() -> Iterator[Family]:
    disks = {
        name: counters
        for name, counters in (psutil.disk_io_counters(perdisk=True) or {}).items()
        if not name.startswith(("ram", "loop"))
    }
    for name, help_, read in (
        (
            "reads_completed_total",
            "The total number of reads completed successfully.",
            lambda c: c.read_count,
        ),
        (
            "writes_completed_total",
            "The total number of writes completed successfully.",
            lambda c: c.write_count,
        ),
        ("read_bytes_total", "The total number of bytes read successfully.", lambda c: c.read_bytes),
        ("written_bytes_total", "The total number of bytes written successfully.", lambda c: c.write_bytes),
        (
            "read_time_seconds_total",
            "The total number of seconds spent by all reads.",
            lambda c: c.read_time / _MS_PER_S,
        ),
        (
            "write_time_seconds_total",
            "This is the total number of seconds spent by all writes.",
            lambda c: c.write_time / _MS_PER_S,
        ),
        ("io_time_seconds_total", "Total seconds spent doing I/Os.", lambda c: c.busy_time / _MS_PER_S),
    ):
        yield Family(
            f"node_disk_{name}",
            "counter",
            help_,
            tuple(({"device": d}, float(read(c))) for d, c in disks.items()),
        )


def _network() -> Iterator[Family]:
    devices = psutil.net_io_counters(pernic=True)
    for name, read in (
        ("receive_bytes_total", lambda c: c.bytes_recv),
        ("transmit_bytes_total", lambda c: c.bytes_sent),
        ("receive_packets_total", lambda c: c.packets_recv),
        ("transmit_packets_total", lambda c: c.packets_sent),
        ("receive_errs_total", lambda c: c.errin),
        ("transmit_errs_total", lambda c: c.errout),
        ("receive_drop_total", lambda c: c.dropin),
        ("transmit_drop_total", lambda c: c.dropout),
    ):
        help_ = f"Network device statistic {name.removesuffix('_total')}."
        yield Family(
            f"node_network_{name}",
            "counter",
            help_,
            tuple(({"device": d}, float(read(c))) for d, c in devices.items()),
        )
    stats = psutil.net_if_stats()
    yield Family(
        "node_network_up", "gauge", "Value is 1 if operstate is 'up', 0 otherwise.",
        tuple(({"device": d}, float(_operational(d, s.isup))) for d, s in stats.items()),
    )  # fmt: skip


def _operational(device: str, is_up: bool) -> bool:
    try:
        return (_NET / device / "operstate").read_text().strip() == "up"
    except OSError:
        return is_up


def _processes() -> Iterator[Family]:
    running, blocked = _kernel_counts() if platform.system() == "Linux" else _process_counts()
    yield _one("node_procs_running", "gauge", "Number of processes in runnable state.", running)
    yield _one(
        "node_procs_blocked", "gauge", "Number of processes blocked waiting for I/O to complete.", blocked
    )


def _kernel_counts() -> tuple[int, int]:
    """Threads, as the kernel counts them: one small file instead of one for each process."""
    rows = dict(line.split(maxsplit=1) for line in (_PROC / "stat").read_text().splitlines())
    return int(rows["procs_running"]), int(rows["procs_blocked"])


def _process_counts() -> tuple[int, int]:
    states: dict[str, int] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            state = process.status()
            states[state] = states.get(state, 0) + 1
    return states.get(psutil.STATUS_RUNNING, 0), states.get(psutil.STATUS_DISK_SLEEP, 0)


def _system() -> Iterator[Family]:
    stats = psutil.cpu_stats()
    yield _one("node_boot_time_seconds", "gauge", "Node boot time, in unixtime.", psutil.boot_time())
    yield _one(
        "node_context_switches_total", "counter", "Total number of context switches.", stats.ctx_switches
    )
    yield _one("node_intr_total", "counter", "Total number of interrupts serviced.", stats.interrupts)
    name = os.uname()
    labels = {
        "sysname": name.sysname, "release": name.release, "version": name.version, "machine": name.machine,
        "nodename": name.nodename, "domainname": "(none)",
    }  # fmt: skip
    yield Family(
        "node_uname_info",
        "gauge",
        "Labeled system information as provided by the uname system call.",
        ((labels, 1.0),),
    )
    if platform.system() == "Linux":
        allocated, _, maximum = (_PROC / "sys/fs/file-nr").read_text().split()
        yield _one(
            "node_filefd_allocated", "gauge", "File descriptor statistics: allocated.", float(allocated)
        )
        yield _one("node_filefd_maximum", "gauge", "File descriptor statistics: maximum.", float(maximum))


class HostCollector:
    """Collects this host every `interval_ms`. Lives in one event loop; psutil is asked in a thread."""

    def __init__(self, intake: Intake, clock: Clock, interval_ms: int = 15_000) -> None:
        self._intake = intake
        self._clock = clock
        self._interval_s = interval_ms / 1000
        self._target = {"job": "node", "instance": socket.gethostname()}
        self._keys: list[LabelBytes] = []
        self._refs: NDArray[np.int64] = np.zeros(0, np.int64)
        self._epoch = -1
        self._described: frozenset[Metadata] = frozenset()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to collect."""
        self._task = asyncio.create_task(self._run(), name="host")

    async def stop(self) -> None:
        """Collect no more; as with targets, no series is marked as ended because the server stops."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.collect)
            except OteroError as error:
                _log.warning("this host's metrics were not stored", extra={"reason": str(error)})
            except Exception:  # a reading that psutil cannot take today may work at the next turn
                _log.exception("this host could not be read")
            await asyncio.sleep(self._interval_s - self._clock.now_ms() / 1000 % self._interval_s)

    def collect(self) -> int:
        """Read the host once and store it; the number of samples. Raises what the intake raises."""
        families = list(samples_of_host())
        keys = [encode_labels({"__name__": "up", **self._target})]
        values = [1.0]
        for family in families:
            for labels, value in family.samples:
                keys.append(encode_labels({"__name__": family.name, **labels, **self._target}))
                values.append(value)
        now_ms = self._clock.now_ms()
        if keys != self._keys or self._epoch != self._intake.epoch:
            present = set(keys)
            gone = [key for key in self._keys if key not in present]
            if gone:
                ended = self._intake.resolve(gone, _DOOR)
                self._write(ended[ended >= 0], [STALE] * int(np.count_nonzero(ended >= 0)), now_ms)
            self._refs = self._intake.resolve(keys, _DOOR)
            self._keys, self._epoch = keys, self._intake.epoch
        metadata = frozenset(Metadata(family.name, family.type, family.help) for family in families)
        known = self._refs >= 0
        refs = self._refs if known.all() else self._refs[known]
        column = np.array(values)[known]
        new = tuple(metadata - self._described)
        self._intake.write_metrics(MetricBatch(refs, np.full(len(refs), now_ms), column, metadata=new), _DOOR)
        self._described = metadata
        return len(refs)

    def _write(self, refs: NDArray[np.int64], values: list[float], now_ms: int) -> None:
        self._intake.write_metrics(MetricBatch(refs, np.full(len(refs), now_ms), np.array(values)), _DOOR)
