"""Calls with the same settings share a manager, which is closed after its last use."""

from __future__ import annotations

import os
import threading

import pytest

from lfgpods.api.shared import SharedManager
from lfgpods.core.settings import Settings
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("empty_folder")


class Manager:
    """A PodManager that records when it is opened and closed."""

    opened: list[Manager]

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.is_closed = False
        Manager.opened.append(self)

    def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True


@pytest.fixture
def shared() -> SharedManager:
    Manager.opened = []
    return SharedManager(Manager)  # type: ignore[arg-type]


def test_the_same_settings_share_an_open_manager(shared: SharedManager) -> None:
    with shared.lent() as one, shared.lent() as other:
        assert one is other
    with shared.lent() as later:
        assert later is one
    assert [manager.is_closed for manager in Manager.opened] == [False]
    shared.close()
    assert [manager.is_closed for manager in Manager.opened] == [True]


def test_new_settings_get_a_new_manager_and_the_last_user_closes_the_old_one(
    shared: SharedManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shared.lent():
        monkeypatch.setenv("LFGPODS_TIMEOUT", "77")
        with shared.lent() as other:
            assert other.settings.timeout == 77  # type: ignore[attr-defined]
            assert [manager.is_closed for manager in Manager.opened] == [False, False]
    assert [manager.is_closed for manager in Manager.opened] == [True, False]


def test_a_manager_that_is_closed_in_use_stays_open_for_its_user(shared: SharedManager) -> None:
    with shared.lent():
        shared.close()
        assert not Manager.opened[0].is_closed
    assert Manager.opened[0].is_closed
    with shared.lent():
        assert len(Manager.opened) == 2


def test_a_fork_opens_its_own_manager_and_does_not_close_its_parents(
    shared: SharedManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shared.lent():
        parent = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: parent + 1)
        with shared.lent():
            assert len(Manager.opened) == 2
    assert not Manager.opened[0].is_closed


def test_many_threads_open_one_manager(shared: SharedManager) -> None:
    together = threading.Barrier(8)

    def use() -> None:
        together.wait(20)
        with shared.lent():
            pass

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(Manager.opened) == 1


def test_a_fork_does_not_wait_for_a_lock_of_its_parents_thread() -> None:
    opening, go_on = threading.Event(), threading.Event()
    parent = os.getpid()

    def slowly(settings: Settings) -> Manager:
        if os.getpid() == parent:
            opening.set()
            go_on.wait(20)
        return Manager(settings)

    Manager.opened = []
    shared = SharedManager(slowly)  # type: ignore[arg-type]

    def use() -> None:
        with shared.lent():
            pass

    thread = threading.Thread(target=use)
    thread.start()
    assert opening.wait(20)
    child = os.fork()
    if child == 0:
        use()
        os._exit(0)
    try:
        assert eventually(lambda: os.waitpid(child, os.WNOHANG)[0], within=10) == child
    finally:
        go_on.set()
        thread.join()
