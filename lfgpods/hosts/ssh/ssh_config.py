"""Reads ssh_config as OpenSSH does, with `Include`, which Fabric and paramiko ignore."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Iterator
from pathlib import Path

import paramiko

from lfgpods.core.errors import HostError

SYSTEM = Path("/etc/ssh/ssh_config")
MAX_INCLUDE_DEPTH = 16
"""As OpenSSH."""


def load_ssh_config() -> paramiko.SSHConfig:
    """The user's and the system's ssh_config. Ignores a missing or unreadable file.

    Raises HostError for anything that OpenSSH refuses too.
    """
    config = paramiko.SSHConfig()
    for path in (Path.home() / ".ssh" / "config", SYSTEM):
        try:
            config.parse(_expanded(path, path.parent))
        except (paramiko.SSHException, ValueError) as error:
            raise config_error(f"{path}: {error}") from error
    return config


def config_error(reason: str) -> HostError:
    """The HostError for an invalid ssh_config."""
    return HostError(
        f"your ssh_config is invalid: {' '.join(reason.split())}",
        "Correct the file; ssh -G HOST shows what OpenSSH makes of it.",
        code="ssh_config",
    )


def _expanded(path: Path, folder: Path, outer: tuple[str, ...] = (), depth: int = 0) -> Iterator[str]:
    """The lines of a file, with included files expanded in place.

    OUTER are the conditions under which the file is included. They apply to each of its blocks too.
    """
    if depth > MAX_INCLUDE_DEPTH:
        raise config_error(f"{path} includes itself, or is included too deeply")
    block = outer
    for line in _lines(path, required=depth > 0):
        setting = paramiko.SSHConfig.SETTINGS_REGEX.match(line)
        keyword, value = (setting[1].lower(), setting[2]) if setting else ("", "")
        if keyword == "host":
            block = (*outer, f"originalhost {shlex.quote(','.join(shlex.split(value, comments=True)))}")
            yield _header(block)
        elif keyword == "match":
            block = outer if value.strip().lower() == "all" else (*outer, value)
            yield _header(block)
        elif keyword == "include":
            for included in _files(value, folder):
                yield from _expanded(included, folder, block, depth + 1)
                yield _header(block)
        else:
            yield line


def _header(conditions: tuple[str, ...]) -> str:
    return f"Match {' '.join(conditions)}" if conditions else "Host *"


def _files(patterns: str, folder: Path) -> Iterator[Path]:
    for pattern in shlex.split(patterns, comments=True):
        try:
            absolute = folder / Path(pattern).expanduser()
        except RuntimeError as error:  # ~ of an unknown user
            raise ValueError(str(error)) from error
        yield from map(Path, sorted(glob.glob(str(absolute))))


def _lines(path: Path, *, required: bool) -> Iterator[str]:
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
    except (FileNotFoundError, IsADirectoryError):
        return
    except OSError as error:
        if required:
            raise config_error(f"{path} cannot be read: {error.strerror}") from error
        return
    yield from map(str.strip, text.splitlines())
