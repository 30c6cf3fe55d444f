"""SIGTERM: readiness turns false, and the server's own handler ends the process, now or after `drain_s`."""

import os
import signal
import sys
import threading
from _thread import start_new_thread
from collections.abc import Callable
from time import sleep
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any] | int | None


class Draining:
    """Puts itself before whatever handles SIGTERM.

    Servers set their handlers at different moments: `install` is called again when a process begins to serve, and puts
    itself before a handler that was set since. Signals can be handled in the main thread only; elsewhere it does nothing.
    """

    def __init__(self, drain_s: float = 0.0) -> None:
        self.is_draining = False
        self._drain_s = drain_s
        self._before: Handler = None
        self._pid = 0

    def install(self) -> None:
        """Be told of SIGTERM, in this process."""
        if threading.current_thread() is not threading.main_thread():
            return
        present = signal.getsignal(signal.SIGTERM)
        if present == self._on_signal:
            return
        # A handler that was not set from Python cannot be called from it; without a server's handler there is nobody to
        # go on serving, unless it is wanted.
        if present is None or present == signal.SIG_IGN or (present == signal.SIG_DFL and not self._drain_s):
            return
        self._before = present
        signal.signal(signal.SIGTERM, self._on_signal)

    def install_in_gunicorn(self) -> None:
        """See that gunicorn's workers, which set their handlers after a preloaded application, are told too."""
        base = sys.modules.get("gunicorn.workers.base")
        if base is None or hasattr(base.Worker.init_signals, "__otero_sdk__"):
            return
        original = base.Worker.init_signals

        def init_signals(worker: Any) -> None:
            original(worker)
            self.is_draining = False
            self.install()

        init_signals.__otero_sdk__ = True  # type: ignore[attr-defined]
        base.Worker.init_signals = init_signals

    def _again(self, number: int) -> None:
        sleep(self._drain_s)
        os.kill(os.getpid(), number)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        again = self.is_draining
        self.is_draining = True
        if self._drain_s and not again:
            # Serving goes on; the same signal then comes once more. Not by threading.Timer, which waits for its thread
            # to begin: gevent forbids that to a signal's handler.
            start_new_thread(self._again, (number,))
            return
        before = self._before
        if callable(before):
            before(number, frame)
        elif before == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
