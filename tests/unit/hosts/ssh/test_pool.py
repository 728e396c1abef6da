"""Callers that share the connections to one host."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lfgpods.core.errors import HostUnreachableError
from lfgpods.hosts.ssh.connection import Connection
from lfgpods.hosts.ssh.pool import ConnectionPool


def test_a_failed_login_is_the_same_error_for_every_caller_that_waited_for_it() -> None:
    a_caller_waits = threading.Event()

    def fail() -> Connection:
        assert a_caller_waits.wait(20)
        raise HostUnreachableError("the link was cut", "Mend it.", code="host_lost")

    pool = ConnectionPool("host", fail)
    pool.make_room = a_caller_waits.set
    with ThreadPoolExecutor(2) as threads:
        errors = [future.exception(20) for future in [threads.submit(pool.open_channel) for _ in range(2)]]
    assert errors[0] is not errors[1]
    for error in errors:
        assert isinstance(error, HostUnreachableError)
        assert (error.message, error.hint, error.code) == ("the link was cut", "Mend it.", "host_lost")
        assert str(error) == "the link was cut"


def test_a_later_caller_logs_in_anew_after_a_failure() -> None:
    logins: list[object] = []

    def fail() -> Connection:
        logins.append(None)
        raise HostUnreachableError("the link was cut")

    pool = ConnectionPool("host", fail)
    for number in (1, 2):
        with pytest.raises(HostUnreachableError):
            pool.open_channel()
        assert len(logins) == number
