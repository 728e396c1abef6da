"""How long a use case may take, and who hears of its progress: one value that it passes on to all that it calls."""

from __future__ import annotations

import time

from lfgpods.core.progress import OnStep, silent


class Operation:
    """Something that may take SECONDS from now, and reports each of its steps to ON_STEP as it begins."""

    def __init__(self, seconds: float, on_step: OnStep = silent) -> None:
        self.seconds = seconds
        self.on_step = on_step
        self._deadline = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """The seconds that are left; negative once they are over."""
        return self._deadline - time.monotonic()

    @property
    def expired(self) -> bool:
        return self.left <= 0

    def within(self, seconds: float) -> Operation:
        """A part of this operation that has a time limit of its own: SECONDS from now, however much is left here."""
        return Operation(seconds, self.on_step)

    def at_least(self, seconds: float) -> Operation:
        """This operation, or one of SECONDS from now if less is left."""
        return self if self.left >= seconds else self.within(seconds)
