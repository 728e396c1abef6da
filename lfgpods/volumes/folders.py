"""Make, survey and purge volume folders on the host. Never leaves the volume root, never follows a symlink.

`.lfgpods/` in the volume root has a record for each folder: its owner, in case the cluster loses that information.
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
"""Suffix of a folder that a purge has set aside. No namespace contains a dot."""

_PROBLEMS = {
    71: (
        "every user of the host can enter the volume root {root}, and it holds other files than volumes",
        "Set LFGPODS_VOLUME_ROOT to a folder of its own, or close it: chmod 700 {root}",
    ),
    72: (
        "the volume folder {root}/{name} is a symbolic link",
        "Replace the link with the real folder; lfgpods never follows links.",
    ),
    73: ("something is mounted inside the volume folder {root}/{name}", "Unmount it on the host, then purge again."),
    74: (
        "a container on the host still has the volume folder {root}/{name} mounted",
        "Nothing was removed. Stop the container or wait until it ends, then purge again.",
    ),
    75: (
        "the volume folder {root}/{name} is missing",
        "Nothing was changed. Check that its disk is mounted on the host. If the data is lost, start with an empty "
        "folder: mkdir -p {root}/{name}",
    ),
}
_MISSING = 75
IN_USE = "in_use"
_CODES = {74: IN_USE, _MISSING: "volume_missing"}


@dataclass(frozen=True)
class Prepared:
    """The result of `prepare_step`."""

    kept: bool
    """Whether the folder existed and contained files."""


def prepare_step(volume_root: str, name: str, owner: str, expected: str = "", *, sudo: bool = False) -> Step[Prepared]:
    """Return the step that makes the folder NAME under VOLUME_ROOT, writable for every user.

    Keeps existing files and records OWNER (one line) as the folder's owner. EXPECTED is what must exist already:
    "folder", "root" or "" for nothing. The step raises VolumeError or KubernetesError.
    """

    def parse(completed: Completed) -> Prepared:
        if completed.exit_code != 0:
            raise _failure(completed, volume_root, name, "made")
        return Prepared(kept=completed.stdout.strip() == b"kept")

    return Step(_argv(("prepare.sh",), (volume_root, name, owner, expected), sudo), parse)


@dataclass(frozen=True)
class Folder:
    """A folder in the volume root. Size in KiB, last change in seconds since the epoch; None if not measured."""

    name: str
    owner: str
    """The recorded owner, or an empty string."""
    size: int | None = None
    changed: int | None = None
    filled: bool | None = None

    @property
    def purging(self) -> bool:
        """Whether a purge has set it aside."""
        return self.name.endswith(PURGING_SUFFIX)


class Presence(StrEnum):
    """Whether a volume folder exists, as look.sh prints it."""

    THERE = "there"
    ODD = "odd"
    """Its name is taken by a file or a symbolic link."""
    GONE = "gone"
    """It existed: its record is left, or a purge has set it aside."""
    BARE = "bare"
    """The volume root has records of other folders only."""
    UNKNOWN = "unknown"
    """The volume root has no records, so its disk may not be mounted."""


def look(host: Host, volume_root: str, name: str, *, sudo: bool = False) -> Presence:
    """Return whether the folder NAME exists. One remote command. Raises VolumeError."""
    return _presence(_script(host, ("look.sh",), (volume_root, name), sudo, "checked", 60.0))


def undo_purge(host: Host, volume_root: str, name: str, *, sudo: bool = False) -> Presence:
    """Stop an unfinished purge from removing the folder NAME. THERE means the folder is whole. One remote command."""
    return _presence(_script(host, ("undo_purge.sh", "look.sh"), (volume_root, name), sudo, "checked", 60.0))


def _presence(answer: bytes) -> Presence:
    word = answer.decode(errors="replace").strip()
    return Presence(word) if word in list(Presence) else Presence.UNKNOWN


def missing(volume_root: str, name: str) -> VolumeError:
    """Return the error for a folder that must exist but does not."""
    message, hint = (text.format(root=volume_root, name=name) for text in _PROBLEMS[_MISSING])
    return VolumeError(message, hint, code=_CODES[_MISSING])


def purge(host: Host, volume_root: str, name: str, *, sudo: bool = False) -> bool:
    """Remove the folder NAME under VOLUME_ROOT with its files. Returns False if there was nothing to remove.

    Two remote commands. Raises VolumeError; with code `in_use` nothing was removed: a container has it mounted.
    """
    _script(host, ("begin_purge.sh",), (volume_root, name), sudo, "removed", 60.0)
    return _script(host, ("purge.sh",), (volume_root, name), sudo, "removed", 600.0).strip() == b"removed"


def survey(
    host: Host, volume_root: str, *, name: str | None = None, measured: bool = False, sudo: bool = False
) -> list[Folder]:
    """Return the folders in VOLUME_ROOT, or only the folder NAME. One remote command. Raises VolumeError.

    With MEASURED, includes sizes and last changes, which reads every file's metadata.
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
    """Run SCRIPTS one after another, each with the arguments WORDS."""
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
    hint = "Check the folder on the host, and LFGPODS_VOLUME_ROOT."
    code = None
    if "No space left" in text or "Disk quota" in text:
        hint, code = "Free space on the host, or move the volumes to a larger disk.", "disk_full"
    elif "Read-only file system" in text:
        hint, code = "Check the kernel log of the host for disk errors, then remount the disk writable.", "read_only"
    elif "Permission denied" in text or "not permitted" in text:
        hint = "Log in as root, or set LFGPODS_SUDO=1 if the account may use sudo without a password."
    reason = text or f"exit code {completed.exit_code}"
    folder = f"{root}/{name}" if name else root
    return VolumeError(f"the volume folder {folder} cannot be {verb}: {reason}", hint, code=code)
