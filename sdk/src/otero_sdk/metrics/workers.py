"""Metrics of servers with several worker processes: prometheus-client's multiprocess mode, set up by itself.

In that mode each process writes its values into files of its own in one directory, and any of them can answer a scrape
by adding the files up. The mode has to be chosen before the first metric is made and all processes have to agree on the
directory; so its name is derived from the process that owns the workers, which each of them can find out:
`<temporary directory>/otero-sdk-<user>/<pid>-<start of the process>`. Directories of owners that are gone are removed.

What is automatic: gunicorn (with and without --preload), uWSGI, the workers of Celery and of uvicorn. Elsewhere set
PROMETHEUS_MULTIPROC_DIR, or OTERO_SDK_MULTIPROCESS=1 in the process that forks; =0 turns it off.
"""

import atexit
import inspect
import logging
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import prometheus_client.values

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
SWITCH: Final = "OTERO_SDK_MULTIPROCESS"

_logger = logging.getLogger(__name__)


def prepare(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Choose the mode for this process: the directory of the files, or None for values in memory.

    Called when `otero_sdk.metrics` is imported, that is before it makes a metric. Metrics that the application made
    before with prometheus-client stay those of one process.
    """
    if folder := environ.get(VARIABLE):
        Path(folder).mkdir(parents=True, exist_ok=True)
        _use_files()
        return Path(folder)
    switch = environ.get(SWITCH, "")
    owner = os.getpid() if switch == "1" else None if switch == "0" else owner_of_workers()
    if owner is None:
        return None
    try:
        folder = _own_folder() / f"{owner}-{_started(owner)}"
        folder.mkdir(exist_ok=True)
    except OSError as error:
        # A service that serves without right counters is better than none.
        _logger.warning(
            "each worker process counts for itself: %s; set %s to a directory for all", error, VARIABLE
        )
        return None
    os.environ[VARIABLE] = str(folder)
    _use_files()
    if owner == os.getpid():
        atexit.register(_remove, folder, owner)
    return folder


def is_own(folder: Path | None) -> bool:
    """Whether the directory is one of ours, rather than one that the user named."""
    return folder is not None and folder.parent.name == f"otero-sdk-{os.getuid()}"


def owner_of_workers() -> int | None:
    """The process whose children serve with us, or that will fork them; None when we are alone."""
    if "gunicorn.arbiter" in sys.modules and (pid := _gunicorn_arbiter()) is not None:
        return pid
    if (uwsgi := sys.modules.get("uwsgi") or _import_uwsgi()) is not None:
        return int(uwsgi.masterpid()) or os.getpid()
    # `celery …`, or `python -m celery …`.
    if "worker" in sys.argv and "celery" in Path(sys.argv[0]).parts[-2:]:
        return os.getpid()
    if "uvicorn" in sys.modules and "multiprocessing" in sys.modules:
        parent = sys.modules["multiprocessing"].parent_process()
        if parent is not None:
            return int(parent.pid)
    return None


def _gunicorn_arbiter() -> int | None:
    # The application is imported below the arbiter's frames: by itself with --preload, else by a worker it forked.
    arbiter_class = getattr(sys.modules["gunicorn.arbiter"], "Arbiter", None)
    frame = inspect.currentframe()
    while frame is not None:
        candidate = frame.f_locals.get("self")
        if arbiter_class is not None and isinstance(candidate, arbiter_class):
            # The pid is set by start(); with --preload the application comes before.
            return getattr(candidate, "pid", None) or os.getpid()
        frame = frame.f_back
    return None


def _import_uwsgi() -> Any:
    # The module exists only inside of uWSGI; a package of that name on the path is not it.
    if "uwsgi" in sys.builtin_module_names:
        import uwsgi  # type: ignore[import-not-found]

        return uwsgi
    return None


def _use_files() -> None:
    values = prometheus_client.values
    if not getattr(values.ValueClass, "_multiprocess", False):
        values.ValueClass = prometheus_client.values.MultiProcessValue()
    os.register_at_fork(after_in_child=_forget_earlier_namesake)


def _forget_earlier_namesake() -> None:
    """Requests in flight of a dead process do not live on in one that was given its pid."""
    if folder := os.environ.get(VARIABLE):
        for file in Path(folder).glob(f"gauge_live*_{os.getpid()}.db"):
            file.unlink(missing_ok=True)


def _own_folder() -> Path:
    """This user's folder of directories; those of dead owners are removed first."""
    base = Path(tempfile.gettempdir()) / f"otero-sdk-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{base} is not a directory that only this user can write")
    for folder in base.iterdir():
        pid, _, started = folder.name.partition("-")
        if pid.isdigit() and not (alive(int(pid)) and _started(int(pid)) == started):
            shutil.rmtree(folder, ignore_errors=True)
    return base


def alive(pid: int) -> bool:
    """Whether there is such a process, of whoever it is; one that ended and was not waited for is none."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] != b"Z"
    except OSError:
        return True


def _started(pid: int) -> str:
    """When the process started, in clock ticks since boot: tells it from a later one with the same pid."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19]
    except (OSError, IndexError):
        return "0"


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
