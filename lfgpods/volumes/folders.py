"""Volume folders on the host: made, surveyed and purged. Never outside the volume root, never through a symlink.

`.lfgpods/` in the volume root holds one record for each folder: whose it is, for when the cluster forgot.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from lfgpods.core.errors import KubernetesError, LfgpodsError, VolumeError
from lfgpods.hosts.base import Completed, Host
from lfgpods.hosts.run import run

PURGING_SUFFIX = ".purging"
"""The end of the name of a folder that is set aside to be removed; no namespace has a dot in its name."""

# $1 volume root, $2 name of the folder, $3 whose it is, $4 what has to be there already: "folder", "root" or nothing;
# a disk that is not mounted looks like an empty one. The root keeps other users of the host out of folders that
# everyone may write; one that others can enter is closed only if it holds nothing but volumes.
_PREPARE = r"""
umask 022
root=$1 name=$2 owner=$3 expected=$4
if [ "$expected" = folder ] && [ ! -d "$root/$name" ]; then exit 75; fi
if [ "$expected" ] && [ ! -d "$root" ]; then exit 75; fi
if [ ! -d "$root" ]; then
  mkdir -p "$(dirname "$root")" && { mkdir -m 0700 "$root" 2>/dev/null || [ -d "$root" ] || mkdir "$root"; } || exit 70
elif [ -n "$(find "$root/." -prune -perm /077)" ]; then
  [ -z "$(find "$root/." ! -name . -prune ! -name 'proj-*' ! -name 'conv-*' ! -name .lfgpods)" ] || exit 71
  chmod 0700 "$root" || exit 70
fi
cd -P "$root" || exit 70
if [ -L "$name" ] || [ -L .lfgpods ]; then exit 72; fi
state=made
if [ -d "$name" ]; then
  [ "$(find "./$name" ! -path "./$name" -prune -print | head -n 1)" ] && state=kept
else
  mkdir "$name" 2>/dev/null || [ -d "$name" ] || mkdir "$name" || exit 70
fi
[ -n "$(find "./$name" -prune -perm 0777)" ] || chmod 0777 "./$name" || exit 70
known=; [ ! -f ".lfgpods/$name" ] || IFS= read -r known <".lfgpods/$name"
if [ "$known" != "$owner" ]; then # an aid to memory, which a full disk may do without
  { mkdir -m 0700 .lfgpods; printf '%s\n' "$owner" >".lfgpods/.$name.$$"; } 2>/dev/null
  mv -f ".lfgpods/.$name.$$" ".lfgpods/$name" 2>/dev/null
fi
echo "lfgpods-volume $state"
"""

# $1 volume root, $2 name of the folder. What a purge sets aside goes into "<name>.purging", which is made first.
_BEGIN = r"""
cd -P "$1" 2>/dev/null || exit 0
if [ -L "$2" ] || [ -L "$2.purging" ] || [ -L .lfgpods ]; then exit 72; fi
[ ! -e "$2" ] || [ -d "$2.purging" ] || mkdir -m 0700 "./$2.purging" || exit 70
"""

# Sets the folder aside by one rename, so that a purge that is cut short has either not touched a file or will be seen
# through. The rename fails once `_UNDO` has taken its goal away, however late this runs. A process that has the folder
# mounted, in whatever mount namespace, is a container that still uses it, whatever the cluster says.
_PURGE = r"""
root=$1 name=$2
cd -P "$root" 2>/dev/null || { [ ! -e "$root" ] && { echo nothing; exit 0; }; exit 70; }
if [ -L "$name" ] || [ -L "$name.purging" ] || [ -L .lfgpods ]; then exit 72; fi
found=nothing
if [ -e "$name" ]; then
  if [ -e /proc/self/mountinfo ]; then
    folder=$(printf '%s' "$PWD/$name" | sed 's/\\/\\134/g; s/ /\\040/g') || exit 70
    place=$(folder=$folder awk '
      BEGIN { folder = ENVIRON["folder"] }
      index($5 "/", folder "/") == 1 { inside = 1 }
      {
        mount = $5 == "/" ? "" : $5
        if (index(folder "/", mount "/") == 1 && length(mount) >= best) {
          best = length(mount)
          place = $3 " " ($4 == "/" ? "" : $4) substr(folder, best + 1)
        }
      }
      END { print inside ? "inside" : place }' /proc/self/mountinfo) || exit 70
    [ "$place" != inside ] || exit 73
    used=$(cat /proc/[0-9]*/mountinfo 2>/dev/null | place=$place awk '
      BEGIN { split(ENVIRON["place"], place, " ") }
      $3 == place[1] && index($4 "/", place[2] "/") == 1 { found = 1 }
      END { print found || !NR ? "used" : "free" }')
    [ "$used" = free ] || exit 74
  fi
  mv -- "./$name" "./$name.purging/files" || exit 70
fi
aside=$(find "./$name.purging" ! -path "./$name.purging" -prune -print 2>/dev/null | head -n 1)
[ ! "$aside" ] || found=removed
only=; if rm --help 2>&1 | grep -q one-file-system; then only=--one-file-system; fi
rm -rf $only -- "./$name.purging" && rm -f ".lfgpods/$name" ".lfgpods/.$name."* || exit 70
echo "$found"
"""

# $1 volume root, $2 name of the folder.
_LOOK = r"""
cd -P "$1" 2>/dev/null || { echo unknown; exit 0; }
if [ -d "$2" ] && [ ! -L "$2" ]; then echo there
elif [ -e "$2" ] || [ -L "$2" ]; then echo odd
elif [ -f ".lfgpods/$2" ] || [ -d "$2.purging" ]; then echo gone
elif [ -d .lfgpods ]; then echo bare
else echo unknown
fi
"""

# Once nothing can be set aside any more, what is there is whole.
_UNDO = (
    r"""
if [ -d "$1/$2.purging" ] && ! rmdir "$1/$2.purging" 2>/dev/null; then echo gone; exit 0; fi
"""
    + _LOOK
)

# $1 volume root, $2 which folders, a pattern; "measured" as $3 measures each too, which reads all of it.
_SURVEY = r"""
cd -P "$1" 2>/dev/null || { [ ! -e "$1" ] && exit 0; exit 70; }
for folder in $2; do
  if [ -L "$folder" ] || [ ! -d "$folder" ]; then continue; fi
  size=- changed=- filled=- owner=
  if [ "$3" = measured ]; then
    size=$(du -skx "./$folder" 2>/dev/null | cut -f 1)
    changed=$(find "./$folder" -xdev -exec stat -c '%Y %Z' {} + | tr ' ' '\n' | sort -n | tail -n 1)
    first=$(find "./$folder" ! -path "./$folder" -prune -print) || first=unknown
    filled=no; [ ! "$first" ] || filled=yes
  fi
  [ ! -f ".lfgpods/${folder%.purging}" ] || IFS= read -r owner <".lfgpods/${folder%.purging}"
  printf '%s\t%s\t%s\t%s\t%s\n' "$folder" "$size" "$changed" "$filled" "$owner"
done
"""

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


class Preparation:
    """The step that makes the folder NAME under VOLUME_ROOT, open to the pod's user whoever that is.

    What is in it is kept, and OWNER (one line) is written down as whose it is. Goes ahead of a kubectl command.
    """

    def __init__(self, volume_root: str, name: str, owner: str, expected: str = "", *, sudo: bool = False) -> None:
        """EXPECTED says what has to be there already: "folder", "root" or nothing."""
        self.argv = _argv(_PREPARE, (volume_root, name, owner, expected), sudo)
        self.kept = False
        """Whether the folder was there before, with files in it."""
        self._root = volume_root
        self._name = name

    def take(self, completed: Completed) -> Completed:
        """COMPLETED without this step's part. Raises VolumeError or KubernetesError if the step failed."""
        line, _, rest = completed.stdout.partition(b"\n")
        marker, _, state = line.partition(b" ")
        if marker != b"lfgpods-volume":
            raise _failure(completed, self._root, self._name, "made")
        self.kept = self.kept or state == b"kept"
        return Completed(completed.exit_code, rest, completed.stderr)


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
    return _presence(_script(host, _LOOK, (volume_root, name), sudo, "looked at", 60.0))


def undo_purge(host: Host, volume_root: str, name: str, *, sudo: bool = False) -> Presence:
    """Keep every purge that has begun from touching the folder NAME: THERE if none had. One remote command."""
    return _presence(_script(host, _UNDO, (volume_root, name), sudo, "looked at", 60.0))


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
    _script(host, _BEGIN, (volume_root, name), sudo, "removed", 60.0)
    return _script(host, _PURGE, (volume_root, name), sudo, "removed", 600.0).strip() == b"removed"


def survey(
    host: Host, volume_root: str, *, name: str | None = None, measured: bool = False, sudo: bool = False
) -> list[Folder]:
    """The folders in VOLUME_ROOT, or the one called NAME; with MEASURED their sizes and last changes, which reads all.

    One remote command. Raises VolumeError.
    """
    words = (volume_root, name or "proj-* conv-*", "measured" if measured else "")
    answer = _script(host, _SURVEY, words, sudo, "surveyed", 3600.0 if measured else 60.0)
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


def _argv(script: str, words: Sequence[str], sudo: bool) -> tuple[str, ...]:
    return (*(("sudo", "-n") if sudo else ()), "sh", "-c", script, "sh", *words)


def _script(host: Host, script: str, words: Sequence[str], sudo: bool, verb: str, timeout: float) -> bytes:
    completed = run(host, _argv(script, words, sudo), timeout=timeout)
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
