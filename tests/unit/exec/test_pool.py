"""The pool keeps shells for the next command, within limits, and no caller waits while a shell is idle."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lfgpods.core.errors import HostError
from lfgpods.exec import pool, shell
from lfgpods.exec.command import Command, Invocation
from lfgpods.exec.pool import ShellPool
from lfgpods.hosts.local import LocalHost, LocalProcess
from lfgpods.kube.kubectl import Kubectl
from tests.waiting import eventually


class CountingHost(LocalHost):
    """This machine, which allows at most CAPACITY processes at once."""

    def __init__(self, capacity: int | None = None) -> None:
        super().__init__()
        self.capacity = capacity  # type: ignore[assignment]
        self.opened: list[LocalProcess] = []
        self.make_room: Callable[[], object] = lambda: None
        self._lock = threading.Lock()

    def when_full(self, make_room: Callable[[], object]) -> None:
        self.make_room = make_room

    def open(self, argv: Sequence[str], **how: Any) -> LocalProcess:
        process = super().open(argv, **how)
        with self._lock:
            self.opened.append(process)
        limit = self.capacity
        assert limit is None or eventually(lambda: self.running() <= limit)  # a closed one may still be ending
        return process

    def running(self) -> int:
        return sum(process._child.poll() is None for process in self.opened)


class Pods:
    """A pool of shells in pods, all of which are this machine."""

    def __init__(self, folder: Path, *, capacity: int | None = None, idle_seconds: float = 60.0) -> None:
        fake = folder / "kubectl"
        fake.write_text('#!/bin/sh\n# exec -i -n NAMESPACE POD -- sh ARGUMENT...\nshift 7\nexec sh "$@"\n')
        fake.chmod(0o755)
        self.host = CountingHost(capacity)
        self.shells = ShellPool(self.host, Kubectl(self.host, [str(fake)]), idle_seconds=idle_seconds)

    def run(self, line: str, pod: str = "pod", *, namespace: str | None = None, stdin: bytes | None = None) -> bytes:
        out = bytearray()
        source = None if stdin is None else io.BytesIO(stdin)
        invocation = Invocation(Command(line), out.extend, print, stdin=source, timeout=30)
        code = self.shells.run(namespace or f"of-{pod}", pod, invocation)
        assert code == 0
        return bytes(out)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Pods]]:
    made: list[Pods] = []
    monkeypatch.setattr(shell, "READY_WITHIN", 1.0)

    def new(**options: float) -> Pods:
        made.append(Pods(tmp_path, **options))  # type: ignore[arg-type]
        return made[-1]

    yield new
    for pods in made:
        pods.shells.close()


def test_the_next_command_starts_no_kubectl(make: Callable[..., Pods]) -> None:
    pods = make()
    assert [pods.run(f"echo {n}") for n in range(5)] == [f"{n}\n".encode() for n in range(5)]
    assert len(pods.host.opened) == 1


def test_a_shell_is_used_for_its_own_pod_only(make: Callable[..., Pods]) -> None:
    pods = make()
    for pod in ("a", "b", "a", "b"):
        pods.run("true", pod)
    assert len(pods.host.opened) == 2


def test_a_shell_in_a_replaced_pod_is_closed(make: Callable[..., Pods]) -> None:
    pods = make()
    pods.run("true", "old", namespace="of-both")
    assert pods.run("echo here", "new", namespace="of-both") == b"here\n"
    assert len(pods.host.opened) == 2
    assert eventually(lambda: pods.host.running() == 1)
    assert pods.run("echo again", "new", namespace="of-both") == b"again\n"
    assert len(pods.host.opened) == 2


def test_a_shell_answers_while_its_caller_looks_for_the_pod_and_takes_no_command_if_there_is_none(
    make: Callable[..., Pods],
) -> None:
    pods = make(capacity=1)
    pods.run("true")
    with pods.shells.checkout("of-pod"):
        assert b" start\n" in pods.host.opened[0].read(5).stderr
    assert eventually(lambda: pods.host.running() == 0)
    assert pods.run("echo next") == b"next\n"


def test_a_lost_shell_is_replaced_unnoticed(make: Callable[..., Pods]) -> None:
    pods = make()
    pods.run("true")
    pods.host.opened[0].close()
    assert pods.run("echo here") == b"here\n"
    assert len(pods.host.opened) == 2


def test_simultaneous_commands_get_a_shell_each_and_a_few_of_them_are_kept(make: Callable[..., Pods]) -> None:
    pods = make()
    together = threading.Barrier(pool.MAX_IDLE + 4)

    def run() -> None:
        assert pods.run("cat", stdin=str(together.wait(20)).encode())

    threads = [threading.Thread(target=run) for _ in range(pool.MAX_IDLE + 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert eventually(lambda: 0 < pods.host.running() <= pool.MAX_IDLE)


def test_an_idle_shell_is_closed_in_time(make: Callable[..., Pods]) -> None:
    pods = make(idle_seconds=0.2)
    pods.run("true")
    assert eventually(lambda: pods.host.running() == 0)
    assert pods.run("echo again") == b"again\n"


def test_many_callers_share_the_capacity_of_the_host(make: Callable[..., Pods]) -> None:
    pods = make(capacity=3)
    results: dict[int, bytes] = {}

    def run(number: int) -> None:
        for pod in ("a", "b"):
            results[number] = pods.run(f"echo {number}", pod)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {number: f"{number}\n".encode() for number in range(30)}


def test_an_idle_shell_makes_room_for_another_command(make: Callable[..., Pods]) -> None:
    pods = make(capacity=2)
    pods.run("true", "a")
    pods.run("true", "b")
    pods.host.make_room()
    assert eventually(lambda: pods.host.running() == 1)


def test_a_caller_that_waits_too_long_for_a_shell_gets_a_busy_error(
    make: Callable[..., Pods], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "QUEUE_TIMEOUT", 0.2)
    pods = make(capacity=1)
    begun, end = threading.Event(), threading.Event()

    class Held(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            begun.set()
            end.wait(20)
            return b""

    def hold() -> None:
        pods.shells.run("n", "p", Invocation(Command("cat"), print, print, stdin=Held()))

    holder = threading.Thread(target=hold)
    holder.start()
    assert begun.wait(20)
    with pytest.raises(HostError, match="already runs"):
        pods.run("true")
    end.set()
    holder.join(20)
    assert pods.run("echo free") == b"free\n"
