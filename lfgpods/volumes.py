"""Volume folders on the host: made, and purged. Never outside the volume root, never through a symlink."""

from __future__ import annotations

from lfgpods.errors import KubernetesError, VolumeError
from lfgpods.hosts import Completed, Host, run

# $1 volume root, $2 name of the folder. The root keeps other users of the host out of folders that
# everyone may write; one that others can enter is closed only if it holds nothing but volumes.
_PREPARE = r"""
umask 022
root=$1 name=$2
if [ ! -d "$root" ]; then
  mkdir -p "$(dirname "$root")" && { mkdir -m 0700 "$root" 2>/dev/null || [ -d "$root" ] || mkdir "$root"; } || exit 70
elif [ -n "$(find "$root/." -prune -perm /077)" ]; then
  [ -z "$(find "$root/." ! -name . -prune ! -name 'proj-*' ! -name 'conv-*')" ] || exit 71
  chmod 0700 "$root" || exit 70
fi
cd -P "$root" || exit 70
if [ -L "$name" ]; then exit 72; fi
[ -d "$name" ] || mkdir "$name" 2>/dev/null || [ -d "$name" ] || mkdir "$name" || exit 70
[ -n "$(find "./$name" -prune -perm 0777)" ] || chmod 0777 "./$name" || exit 70
"""

_PURGE = r"""
root=$1 name=$2
cd -P "$root" 2>/dev/null || { [ ! -e "$root" ] && exit 0; exit 70; }
if [ -L "$name" ]; then exit 72; fi
[ -e "$name" ] || exit 0
if grep -q " $PWD/$name[/ ]" /proc/self/mountinfo; then exit 73; fi
rm -rf -- "./$name" || exit 70
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
}


def prepare(host: Host, volume_root: str, name: str, *, sudo: bool = False) -> None:
    """Make the folder NAME under VOLUME_ROOT, open to the pod's user whoever that is; keep what is in it.

    One remote command. Raises VolumeError.
    """
    _script(host, _PREPARE, volume_root, name, sudo, "made", 60.0)


def purge(host: Host, volume_root: str, name: str, *, sudo: bool = False) -> None:
    """Remove the folder NAME under VOLUME_ROOT and all that is in it; gone already is as good.

    One remote command. Raises VolumeError.
    """
    _script(host, _PURGE, volume_root, name, sudo, "removed", 600.0)


def _script(host: Host, script: str, root: str, name: str, sudo: bool, verb: str, timeout: float) -> None:
    argv = (*(("sudo", "-n") if sudo else ()), "sh", "-c", script, "sh", root, name)
    completed = run(host, argv, timeout=timeout)
    if completed.exit_code == 0:
        return
    if completed.exit_code in _PROBLEMS:
        message, hint = (text.format(root=root, name=name) for text in _PROBLEMS[completed.exit_code])
        raise VolumeError(message, hint)
    raise _failure(completed, f"{root}/{name}", verb)


def _failure(completed: Completed, folder: str, verb: str) -> VolumeError | KubernetesError:
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
    return VolumeError(f"the volume folder {folder} cannot be {verb}: {reason}", hint, code=code)
