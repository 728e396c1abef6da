"""Volume folders on the host: made, surveyed and purged. Never outside the volume root, never through a symlink.

`.lfgpods/` in the volume root holds one record for each folder: whose it is, for when the cluster forgot.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from lfgpods.core.errors import KubernetesError, LfgpodsError, VolumeError
from lfgpods.core.scripts import load_script
from lfgpods.hosts.base import Completed, Host
from lfgpods.hosts.round_trip import Step
from lfgpods.hosts.run import run

PURGING_SUFFIX = ".purging"
"""The end of the name of a folder that is set aside to be removed; no namespace has a dot in its name."""

_PROBLEMS = {
    71: (
        "the volume root {root} can be entered by every user of the host and holds other things than volumes",
        "Set LFGPODS_VOLUME_ROOT to a folder of its own, or close it: chmod 700 {root}",
    ),
    72: (
        "the volume folder {root}/{name} is a symbolic link",
        "Put the real folder in its place; links are never followed.",
    ),
    73: ("something is mounted inside the volume folder {root}/{name}", "Unmount it on the host, then purge again."),
    74: (
        "a container on the host still has the volume folder {root}/{name} mounted",
        "Nothing of it was removed. End the container, or wait until it has ended; then purge again.",
    ),
    75: (
        "the volume folder {root}/{name} has to be there, and is not",
        "Nothing was changed. Is its disk mounted on the host? If it is lost, an empty one takes its place: "
        "mkdir -p {root}/{name}",
    ),
}
_MISSING = 75
IN_USE = "in_use"
_CODES = {74: IN_USE, _MISSING: "volume_missing"}


@dataclass(frozen=True)
class Prepared:
    """What `prepare_step` found."""

    kept: bool
    """Whether the folder was there before, with files in it."""


def prepare_step(volume_root: str, name: str, owner: str, expected: str = "", *, sudo: bool = False) -> Step[Prepared]:
    """The step that makes the folder NAME under VOLUME_ROOT, open to whatever user the pod runs as.

    Keeps existing files and records OWNER (one line) as the folder's owner. EXPECTED says what has to be there
    already: "folder", "root" or nothing. Raises VolumeError or KubernetesError.
    """

    def parse(completed: Completed) -> Prepared:
        if completed.exit_code != 0:
            raise _failure(completed, volume_root, name, "made")
        return Prepared(kept=completed.stdout.strip() == b"kept")

    return Step(_argv(("prepare.sh",), (volume_root, name, owner, expected), sudo), parse)


@dataclass(frozen=True)
class Folder:
    """A folder in the volume root; what was not measured is None. SIZE in KiB, CHANGED in seconds of the epoch."""

    name: str
    owner: str
    """Its record, empty where there is none."""
    size: int | None = None
    changed: int | None = None
    filled: bool | None = None

    @property
    def purging(self) -> bool:
        """Whether a purge has set it aside."""
        return self.name.endswith(PURGING_SUFFIX)


class Presence(StrEnum):
    """Whether a folder is there: ODD is something else of its name, GONE that it was there once, as its record tells.

    In a BARE root there are records and none of it; of one that is UNKNOWN nothing tells that its disk is mounted.
    """

    THERE = "there"
    ODD = "odd"
    GONE = "gone"
    BARE = "bare"
    UNKNOWN = "unknown"


def look(host: Host, volume_root: str, name: str, *, sudo: bool = False) -> Presence:
    """Whether the folder NAME is there. One remote command."""
    return _presence(_script(host, ("look.sh",), (volume_root, name), sudo, "looked at", 60.0))


def undo_purge(host: Host, volume_root: str, name: str, *, sudo: bool = False) -> Presence:
    """Keep every purge that has begun from touching the folder NAME: THERE if none had. One remote command."""
    return _presence(_script(host, ("undo_purge.sh", "look.sh"), (volume_root, name), sudo, "looked at", 60.0))


def _presence(answer: bytes) -> Presence:
    word = answer.decode(errors="replace").strip()
    return Presence(word) if word in list(Presence) else Presence.UNKNOWN


def missing(volume_root: str, name: str) -> VolumeError:
    """The error for a folder that has to be there and is not."""
    message, hint = (text.format(root=volume_root, name=name) for text in _PROBLEMS[_MISSING])
    return VolumeError(message, hint, code=_CODES[_MISSING])


def purge(host: Host, volume_root: str, name: str, *, sudo: bool = False) -> bool:
    """Remove the folder NAME under VOLUME_ROOT and all that is in it; whether there was anything to remove.

    Two remote commands. Raises VolumeError; with code `in_use` nothing was removed, as a container still has it.
    """
    _script(host, ("begin_purge.sh",), (volume_root, name), sudo, "removed", 60.0)
    return _script(host, ("purge.sh",), (volume_root, name), sudo, "removed", 600.0).strip() == b"removed"


def survey(
    host: Host, volume_root: str, *, name: str | None = None, measured: bool = False, sudo: bool = False
) -> list[Folder]:
    """The folders in VOLUME_ROOT, or the one called NAME; with MEASURED their sizes and last changes, which reads all.

    One remote command. Raises VolumeError.
    """
    words = (volume_root, name or "proj-* conv-*", "measured" if measured else "")
    answer = _script(host, ("survey.sh",), words, sudo, "surveyed", 3600.0 if measured else 60.0)
    found = []
    for line in answer.decode(errors="replace").splitlines():
        name, size, changed, filled, owner = [*line.split("\t", 4), "", "", "", ""][:5]
        found.append(
            Folder(
                name, owner, _number(size), _number(changed), None if filled not in ("yes", "no") else filled == "yes"
            )
        )
    return sorted(found, key=lambda folder: folder.name)


def _number(text: str) -> int | None:
    with contextlib.suppress(ValueError):
        return int(text)
    return None


def _argv(scripts: Sequence[str], words: Sequence[str], sudo: bool) -> tuple[str, ...]:
    script = "\n".join(load_script(__file__, name) for name in scripts)
    return (*(("sudo", "-n") if sudo else ()), "sh", "-c", script, "sh", *words)


def _script(host: Host, scripts: Sequence[str], words: Sequence[str], sudo: bool, verb: str, timeout: float) -> bytes:
    """Run SCRIPTS, one behind the other, with WORDS as their arguments."""
    completed = run(host, _argv(scripts, words, sudo), timeout=timeout)
    if completed.exit_code != 0:
        raise _failure(completed, words[0], words[1], verb)
    return completed.stdout


def _failure(completed: Completed, root: str, name: str, verb: str) -> LfgpodsError:
    if completed.exit_code in _PROBLEMS:
        message, hint = (text.format(root=root, name=name) for text in _PROBLEMS[completed.exit_code])
        return VolumeError(message, hint, code=_CODES.get(completed.exit_code))
    text = " ".join(completed.stderr.decode(errors="replace").split())[-300:]
    if text.startswith("sudo:"):
        return KubernetesError(
            f"sudo on the host refuses: {text}",
            "Allow the account passwordless sudo (NOPASSWD), or log in as root with LFGPODS_SUDO=0.",
            code="sudo",
        )
    hint = "Look at the folder on the host; LFGPODS_VOLUME_ROOT says where the volumes are."
    code = None
    if "No space left" in text or "Disk quota" in text:
        hint, code = "Free space on the host, or move the volumes to a larger disk.", "disk_full"
    elif "Read-only file system" in text:
        hint, code = "Mount the disk writable again; its errors are in the host's kernel log.", "read_only"
    elif "Permission denied" in text or "not permitted" in text:
        hint = "Log in as root, or set LFGPODS_SUDO=1 if the account may use sudo without a password."
    reason = text or f"exit code {completed.exit_code}"
    folder = f"{root}/{name}" if name else root
    return VolumeError(f"the volume folder {folder} cannot be {verb}: {reason}", hint, code=code)
