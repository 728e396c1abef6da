"""How the store reaches a database: pooled connections, atomic transactions, one kind of error.

A connection belongs to no thread: a unit of work borrows one and gives it back. Work that lost its connection runs
again on a new one, if that is safe.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, TypeVar

import peewee

from lfgpods.core.errors import LfgpodsError, StoreError
from lfgpods.core.text import masked

T = TypeVar("T")

CONNECTIONS = 4
"""How many connections one store opens at most. Further threads wait for one."""
RECONNECT_TIMEOUT = 10.0
"""How long to retry a database that was reachable before, and may be restarting, in seconds."""
MAX_ATTEMPTS = 5
"""How often to try work that conflicts with other transactions."""
_RETRY_INTERVAL = 0.1


class Pooled(ABC, peewee.Database):
    """A peewee database whose connections are reused until the store closes. To be mixed into one of peewee's."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._guard = threading.Lock()
        self._idle: list[Any] = []
        self._process = os.getpid()
        self._ended = False
        super().__init__(*arguments, **options)

    @abstractmethod
    def is_usable(self, connection: Any) -> bool:
        """Whether an idle CONNECTION can be reused."""

    def _connect(self) -> Any:
        while connection := self._take():
            if self.is_usable(connection):
                return connection
            self._end(connection)
        return super()._connect()  # type: ignore[misc]

    def _close(self, connection: Any) -> None:
        usable = self.is_usable(connection)
        with self._guard:
            keep = usable and not self._ended
            if keep:
                self._idle.append(connection)
        if not keep:
            self._end(connection)

    def end(self) -> None:
        """Close all idle connections now, and each busy one when it is given back."""
        with self._guard:
            self._ended = True
            idle, self._idle = self._idle, []
        for connection in idle:
            self._end(connection)

    def _take(self) -> Any:
        with self._guard:
            if self._process != os.getpid():  # after a fork, the open connections belong to the parent
                self._inherited, self._idle, self._process = self._idle, [], os.getpid()
            return self._idle.pop() if self._idle else None

    @staticmethod
    def _end(connection: Any) -> None:
        with suppress(Exception):  # the connection may be broken, and each driver has errors of its own
            connection.close()


class Engine(ABC):
    """One database. `sqlite` and `postgresql` define what differs between the two kinds."""

    types: ClassVar[Mapping[str, str]]
    """The column types that migrations call `text`, `real` and `id`. An `id` is a number that is never reused."""
    remedy: ClassVar[str]

    def __init__(self, name: str, database: Pooled) -> None:
        self.name = name
        """The path, or the URL without its password. For messages."""
        self.database = database
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        self._was_reached = False

    @abstractmethod
    def prepare(self) -> None:
        """Create what the first connection needs."""

    @abstractmethod
    def lock_schema(self) -> None:
        """Lock the schema against other migrations until the transaction ends."""

    @abstractmethod
    def lock_pods(self) -> None:
        """Lock the pods against other inserts and deletes until the transaction ends."""

    @abstractmethod
    def lock_rows(self) -> None:
        """Lock all rows against changes until the transaction ends."""

    @abstractmethod
    def continue_after(self, id: int) -> None:
        """Make sure that the next change gets a higher id than ID."""

    def is_lost(self, error: Exception) -> bool:
        """Whether ERROR means that the connection was lost or could not be opened."""
        return False

    def is_busy(self, error: Exception) -> bool:
        """Whether ERROR means that others are just connecting, so that another attempt will succeed."""
        return False

    def is_contended(self, error: Exception) -> bool:
        """Whether ERROR means a conflict with another transaction, so that another attempt may succeed."""
        return False

    def close(self) -> None:
        """Close the connections of all threads."""
        self.database.end()

    def sql(self, statement: str) -> None:
        """Execute STATEMENT. {text}, {real} and {id} in it stand for the column types."""
        self.execute(statement.format_map(self.types))

    def execute(self, statement: str, parameters: tuple[Any, ...] = ()) -> Any:
        """Execute STATEMENT, in the SQL of this kind of database. Returns its cursor."""
        return self.database.execute_sql(statement, parameters)  # type: ignore[no-untyped-call]

    def run(self, work: Callable[[], T]) -> T:
        """Run WORK, one statement, and return its result. Runs it again if the connection is lost."""
        return self._retry(work)

    def transaction(self, work: Callable[[], T], *, repeatable: bool = True) -> T:
        """Run WORK in a transaction and return its result.

        Runs it again if the connection is lost. Raises StoreError if it is not REPEATABLE and the connection was lost
        during the commit, so that nobody knows whether it was committed.
        """

        def whole() -> T:
            self.database.begin()
            try:
                result = work()
            except BaseException:
                self._undo()
                raise
            self._commit(repeatable)
            return result

        return self._retry(whole)

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Raise a database error from the block as a StoreError that names the database."""
        try:
            yield
        except LfgpodsError:
            raise
        except (peewee.PeeweeException, OSError) as error:
            cause = " ".join(masked(str(error)).split())
            raise StoreError(f"the database {self.name} cannot be used: {cause}", self.remedy) from error

    def _commit(self, repeatable: bool) -> None:
        try:
            self.database.commit()
        except peewee.PeeweeException as error:
            lost = self.is_lost(error)
            self._undo()
            if lost and not repeatable:
                raise StoreError(
                    f"the connection to the database {self.name} was lost during a write; "
                    "it is not known whether the write was committed",
                    "Try again.",
                ) from error
            raise

    def _undo(self) -> None:
        with suppress(peewee.PeeweeException):  # the connection is gone, or the database has rolled back itself
            self.database.rollback()

    def _retry(self, work: Callable[[], T]) -> T:
        deadline = time.monotonic() + RECONNECT_TIMEOUT
        with self._slots:
            for attempt in itertools.count(1):
                try:
                    return self._attempt(work)
                except _LostError as lost:
                    if attempt > 1 and time.monotonic() > deadline:
                        raise lost.error from None
                except _ContendedError as contended:
                    if attempt == MAX_ATTEMPTS:
                        raise contended.error from None
                if attempt > 1:
                    threading.Event().wait(_RETRY_INTERVAL)
        raise AssertionError("attempts do not end")

    def _attempt(self, work: Callable[[], T]) -> T:
        try:
            self.database.connect()
        except peewee.PeeweeException as error:
            if self.is_busy(error) or (self._was_reached and self.is_lost(error)):
                raise _LostError(error) from error
            raise
        self._was_reached = True
        try:
            return work()
        except peewee.PeeweeException as error:
            if self.is_lost(error):
                raise _LostError(error) from error
            if self.is_contended(error):
                raise _ContendedError(error) from error
            raise
        finally:
            self.database.close()


class _RetryableError(Exception):
    """An error after which another attempt may succeed."""

    def __init__(self, error: peewee.PeeweeException) -> None:
        super().__init__(str(error))
        self.error = error


class _LostError(_RetryableError):
    pass


class _ContendedError(_RetryableError):
    pass
