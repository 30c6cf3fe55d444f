"""Acts on libraries when the application imports them, so that those it does not use are never loaded."""

import importlib.abc
import importlib.machinery
import importlib.util
import logging
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

_logger = logging.getLogger(__name__)
_waiting: dict[str, list[Callable[[ModuleType], None]]] = {}


def when_imported(name: str, act: Callable[[ModuleType], None]) -> None:
    """Call `act` with the module: now if it is loaded, else once it is.

    An error of `act` is logged and never reaches the import statement of the application.
    """
    module = sys.modules.get(name)
    if module is not None:
        _call(act, module)
        return
    _waiting.setdefault(name, []).append(act)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _call(act: Callable[[ModuleType], None], module: ModuleType) -> None:
    try:
        act(module)
    except Exception:
        _logger.exception("%s is not instrumented", module.__name__)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the awaited modules by asking the other finders, and wraps their loader."""

    def __init__(self) -> None:
        self._asking: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname not in _waiting or fullname in self._asking:
            return None
        self._asking.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking.discard(fullname)
        if spec is None or spec.loader is None:
            return None
        loader = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            for act in _waiting.pop(fullname, ()):
                _call(act, module)

        # The instance's attribute, so that the loader keeps its other abilities (resources, source).
        loader.exec_module = exec_module
        return spec
