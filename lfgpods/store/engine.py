"""How the store reaches a database: connections that threads borrow, whole transactions, and one kind of error.

A piece of work has a connection for as long as it takes, and gives it back: none belongs to a thread. Work that lost
its connection is done again on a new one where that changes nothing else.
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
"""At most, of one store; more threads than that queue for one."""
PATIENCE = 10.0
"""Seconds in which a database that was there, and is being restarted, is tried again."""
ATTEMPTS = 5
"""At work that was undone because others did theirs at the same time."""
_PAUSE = 0.1


class Pooled(ABC, peewee.Database):
    """What a database of peewee's needs so that its connections outlive the work, and end with the store."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._guard = threading.Lock()
        self._idle: list[Any] = []
        self._process = os.getpid()
        self._ended = False
        super().__init__(*arguments, **options)

    @abstractmethod
    def is_usable(self, connection: Any) -> bool:
        """Whether more work can be done on CONNECTION, which nobody uses."""

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
        """Close every connection: those that nobody uses now, and each other one when it is given back."""
        with self._guard:
            self._ended = True
            idle, self._idle = self._idle, []
        for connection in idle:
            self._end(connection)

    def _take(self) -> Any:
        with self._guard:
            if self._process != os.getpid():  # this is a fork, and what is open is its parent's
                self._inherited, self._idle, self._process = self._idle, [], os.getpid()
            return self._idle.pop() if self._idle else None

    @staticmethod
    def _end(connection: Any) -> None:
        with suppress(Exception):  # it may be broken already, in whatever way its driver knows
            connection.close()


class Engine(ABC):
    """One database and what is peculiar to its kind; `sqlite` and `postgresql` have the two kinds."""

    types: ClassVar[Mapping[str, str]]
    """What the migrations' words `text`, `real` and `id` (a number that is never given twice) are here."""
    remedy: ClassVar[str]

    def __init__(self, name: str, database: Pooled) -> None:
        self.name = name
        """For messages: a path, or a URL without its password."""
        self.database = database
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        self._was_reached = False

    @abstractmethod
    def prepare(self) -> None:
        """Make what has to be there before the first connection."""

    @abstractmethod
    def lock_schema(self) -> None:
        """Wait until nobody else migrates, and keep others from it to the end of the transaction."""

    @abstractmethod
    def take_turns(self) -> None:
        """Wait until nobody else inserts or removes pods, and keep others from it to the end of the transaction."""

    @abstractmethod
    def lock_rows(self) -> None:
        """Keep others from changing any row to the end of the transaction."""

    @abstractmethod
    def continue_after(self, event: int) -> None:
        """Give the next event a higher number than EVENT."""

    def is_lost(self, error: Exception) -> bool:
        """Whether ERROR means that the connection is gone, or could not be made."""
        return False

    def is_taken(self, error: Exception) -> bool:
        """Whether ERROR means that others were just making their connections, and this one's turn will come."""
        return False

    def is_contended(self, error: Exception) -> bool:
        """Whether the work that ended with ERROR may just have met others, and may succeed when it is done again."""
        return False

    def close(self) -> None:
        """Close the connections of all threads."""
        self.database.end()

    def sql(self, statement: str) -> None:
        """Execute STATEMENT, in which {text}, {real} and {id} stand for the types."""
        self.execute(statement.format_map(self.types))

    def execute(self, statement: str, parameters: tuple[Any, ...] = ()) -> Any:
        """The cursor of STATEMENT, which is this kind's own SQL."""
        return self.database.execute_sql(statement, parameters)  # type: ignore[no-untyped-call]

    def run(self, work: Callable[[], T]) -> T:
        """What WORK returns: one statement, which may be executed twice if the connection is lost on the way."""
        return self._persistently(work)

    def transaction(self, work: Callable[[], T], *, repeatable: bool = True) -> T:
        """What WORK returns, all of which is done or nothing.

        It begins anew if the connection is lost, but for one case: where it is not REPEATABLE and the loss hides
        whether it was committed, a StoreError says so.
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

        return self._persistently(whole)

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Whatever goes wrong with the database inside is a StoreError that names it."""
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
                    f"the connection to the database {self.name} was lost while something was written down; it is not "
                    "known whether it is there",
                    "Try again.",
                ) from error
            raise

    def _undo(self) -> None:
        with suppress(peewee.PeeweeException):  # nothing is left to undo where the database is gone, or did it itself
            self.database.rollback()

    def _persistently(self, work: Callable[[], T]) -> T:
        deadline = time.monotonic() + PATIENCE
        with self._slots:
            for attempt in itertools.count(1):
                try:
                    return self._once(work)
                except _LostError as lost:
                    if attempt > 1 and time.monotonic() > deadline:
                        raise lost.error from None
                except _ContendedError as contended:
                    if attempt == ATTEMPTS:
                        raise contended.error from None
                if attempt > 1:
                    threading.Event().wait(_PAUSE)
        raise AssertionError("attempts do not end")

    def _once(self, work: Callable[[], T]) -> T:
        try:
            self.database.connect()
        except peewee.PeeweeException as error:
            if self.is_taken(error) or (self._was_reached and self.is_lost(error)):
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


class _AgainError(Exception):
    """ERROR, after which another attempt is worth it."""

    def __init__(self, error: peewee.PeeweeException) -> None:
        super().__init__(str(error))
        self.error = error


class _LostError(_AgainError):
    pass


class _ContendedError(_AgainError):
    pass
