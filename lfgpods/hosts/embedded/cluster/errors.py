"""The errors of the embedded API server and its kubectl: the text on stderr and the exit code."""

from __future__ import annotations

from lfgpods.hosts.embedded.cluster.kinds import Kind


class KubectlError(Exception):
    """The command fails with this text on stderr."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.text = text
        self.exit_code = exit_code


class ApiError(KubectlError):
    """The API server refused the request, with a reason such as NotFound."""

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
    """The object has changed since the caller read it."""

    def __init__(self, kind: Kind, name: str) -> None:
        text = "the object has been modified; please apply your changes to the latest version and try again"
        super().__init__("Conflict", f'Operation cannot be fulfilled on {kind.resource} "{name}": {text}')


class InvalidError(KubectlError):
    """The object is not valid; each of PROBLEMS names a field and its error."""

    def __init__(self, kind: Kind, name: str, problems: list[str]) -> None:
        text = f" {problems[0]}" if len(problems) == 1 else "".join(f"\n* {problem}" for problem in problems)
        space = " " if len(problems) > 1 else ""
        super().__init__(f'The {kind.name} "{name}" is invalid:{space}{text}')
