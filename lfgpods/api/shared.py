"""One PodManager for a process, so that every call finds an open connection."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lfgpods.api.manager import PodManager
from lfgpods.core.settings import Settings, load_settings


@dataclass(eq=False)
class _Open:
    """An open manager, its settings and process, and the number of its users."""

    manager: PodManager
    settings: Settings
    process: int
    users: int = 0
    is_closed: bool = False


class SharedManager:
    """Lends the manager for the current settings. Safe for threads and across a fork."""

    def __init__(self, open_manager: Callable[[Settings], PodManager] = PodManager) -> None:
        self._open_manager = open_manager
        self._changing = threading.Lock()
        self._current: _Open | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        """Replace the lock in a forked process, because the thread that held it does not exist there."""
        self._changing = threading.Lock()

    @contextmanager
    def lent(self) -> Iterator[PodManager]:
        """Lend the manager and keep it open. After a change of settings, the last user closes the old one."""
        settings = load_settings()
        with self._changing:
            replaced = self._current
            if replaced is None or (replaced.settings, replaced.process) != (settings, os.getpid()):
                self._current = _Open(self._open_manager(settings), settings, os.getpid())
            used = self._current
            assert used is not None
            used.users += 1
        if replaced is not None and replaced is not used:
            self._close_unless_used(replaced)
        try:
            yield used.manager
        finally:
            with self._changing:
                used.users -= 1
            if used is not self._current:
                self._close_unless_used(used)

    def close(self) -> None:
        """Close the manager. The next call opens a new one."""
        with self._changing:
            current, self._current = self._current, None
        if current is not None:
            self._close_unless_used(current)

    def _close_unless_used(self, opened: _Open) -> None:
        with self._changing:
            ends = opened.users == 0 and not opened.is_closed
            opened.is_closed |= ends
        if ends and opened.process == os.getpid():  # a manager inherited by a fork is closed by its parent
            opened.manager.close()
