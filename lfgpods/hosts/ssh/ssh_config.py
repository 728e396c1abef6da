"""Read ssh_config as OpenSSH does, with its `Include` files, which Fabric and paramiko ignore."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Iterator
from pathlib import Path

import paramiko

from lfgpods.core.errors import HostError

SYSTEM = Path("/etc/ssh/ssh_config")
MAX_INCLUDE_DEPTH = 16
"""OpenSSH's limit for nested includes."""


def load_ssh_config() -> paramiko.SSHConfig:
    """Return the user's and the system's ssh_config. Skips a missing or unreadable file.

    Raises HostError for a file that OpenSSH would refuse too.
    """
    config = paramiko.SSHConfig()
    for path in (Path.home() / ".ssh" / "config", SYSTEM):
        try:
            config.parse(_expanded(path, path.parent))
        except (paramiko.SSHException, ValueError) as error:
            raise config_error(f"{path}: {error}") from error
    return config


def config_error(reason: str) -> HostError:
    """Return the HostError for an ssh_config that cannot be used."""
    return HostError(
        f"ssh_config is invalid: {' '.join(reason.split())}",
        "Correct the file. To see how OpenSSH reads it: ssh -G HOST",
        code="ssh_config",
    )


def _expanded(path: Path, folder: Path, outer: tuple[str, ...] = (), depth: int = 0) -> Iterator[str]:
    """Yield the lines of a file, with each `Include` replaced by the lines of its files.

    OUTER are the conditions around the `Include` of this file. They apply to each of its blocks too.
    """
    if depth > MAX_INCLUDE_DEPTH:
        raise config_error(f"{path} includes itself, or is nested too deeply")
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
