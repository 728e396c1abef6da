"""How the embedded API server and its kubectl refuse: the words on stderr and the exit code."""

from __future__ import annotations

from lfgpods.hosts.embedded.cluster.kinds import Kind


class KubectlError(Exception):
    """A command ends with this text on stderr."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.text = text
        self.exit_code = exit_code


class ApiError(KubectlError):
    """The API server refuses, with a reason such as NotFound."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"Error from server ({reason}): {message}")
        self.reason = reason
        self.message = message


class NotFoundError(ApiError):
    def __init__(self, kind: Kind, name: str) -> None:
        super().__init__("NotFound", f'{kind.resource} "{name}" not found')


class AlreadyExistsError(ApiError):
    def __init__(self, kind: Kind, name: str) -> None:
        super().__init__("AlreadyExists", f'{kind.resource} "{name}" already exists')


class ConflictError(ApiError):
    """Somebody changed the object since the caller saw it."""

    def __init__(self, kind: Kind, name: str) -> None:
        told = "the object has been modified; please apply your changes to the latest version and try again"
        super().__init__("Conflict", f'Operation cannot be fulfilled on {kind.resource} "{name}": {told}')


class InvalidError(KubectlError):
    """An object is not valid; PROBLEMS are the fields and what is wrong with them."""

    def __init__(self, kind: Kind, name: str, problems: list[str]) -> None:
        told = f" {problems[0]}" if len(problems) == 1 else "".join(f"\n* {problem}" for problem in problems)
        space = " " if len(problems) > 1 else ""
        super().__init__(f'The {kind.name} "{name}" is invalid:{space}{told}')
