"""The images of the test cluster. There is no registry to pull from, so each is made on this machine, and kept.

An archive's name holds a hash of everything it is made from: a changed recipe is a new archive.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import builds, oci
from tests.cluster.oci import Image, Layer
from tests.cluster.packages import debian_sources, run
from tests.cluster.paths import CACHE, CONTAINERD_SOCKET

BUSYBOX = "docker.io/library/busybox:1.36"
BUSYBOX_USER = "docker.io/lfgpods/busybox-user:1"
DEBIAN = "docker.io/lfgpods/debian:12"
DEBIAN_USER = "docker.io/lfgpods/debian-user:12"
NOSHELL = "docker.io/lfgpods/noshell:1"
CRASH = "docker.io/lfgpods/crash:1"
PAUSE = "docker.io/lfgpods/pause:1"

FOLDER = CACHE / "images"
_BUSYBOX = Path("/bin/busybox")
_USER_ID = 1000
_BUSYBOX_FOLDERS = (
    *("bin", "sbin", "usr", "usr/bin", "usr/sbin", "etc", "root", "home", "var", "mnt"),
    *("dev", "proc", "sys"),
)
_BUSYBOX_ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/home:/bin/false\n",
    "etc/group": "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n",
}
_DEBIAN_PACKAGES = "git,python3,ca-certificates,procps"
_DEBIAN_OPTIONS = (
    "--variant=minbase",
    "--mode=root",
    "--format=tar",
    f"--include={_DEBIAN_PACKAGES}",
    *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("man", "info", "locale", "doc", "lintian")),
    '--customize-hook=rm -rf "$1"/var/cache/* "$1"/var/lib/apt/lists/* "$1"/var/log/*',
)


@dataclass(frozen=True)
class Archive:
    """Images that are made and imported together, and the key that tells one recipe from the next."""

    name: str
    recipe: tuple[bytes, ...]
    make: Callable[[Path], list[Image]]

    @property
    def path(self) -> Path:
        recipe = hashlib.sha256()
        for part in (Path(__file__).read_bytes(), Path(oci.__file__).read_bytes(), *self.recipe):
            recipe.update(hashlib.sha256(part).digest())
        return FOLDER / f"{self.name}-{recipe.hexdigest()[:16]}.tar"

    def ensure(self) -> Path:
        """Return the archive, making it first if this recipe has none yet."""
        path = self.path
        if not path.exists():
            FOLDER.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=CACHE) as workspace:
                oci.write_archive(path, self.make(Path(workspace)))
            _remove_others(path, self.name)
        return path


def _remove_others(path: Path, name: str) -> None:
    for other in FOLDER.glob(f"{name}-{'?' * 16}.tar"):
        if other != path:
            other.unlink()


def _busybox_layer() -> Layer:
    layer = Layer()
    for folder in _BUSYBOX_FOLDERS:
        layer.folder(folder)
    layer.folder("tmp", 0o1777)
    layer.folder("home/user", owner=_USER_ID)
    layer.file("bin/busybox", _BUSYBOX.read_bytes(), 0o755)
    for applet in run(str(_BUSYBOX), "--list-full").split():
        if Path(applet).parts[0] in ("bin", "sbin", "usr") and applet != "bin/busybox":
            layer.link(applet, "/bin/busybox")
    for path, text in _BUSYBOX_ACCOUNTS.items():
        layer.file(path, text.encode())
    return layer


def _small_images(workspace: Path) -> list[Image]:
    stub = builds.STUB.program("stub").read_bytes()
    busybox = _busybox_layer().write(workspace / "busybox.tar")
    only_stub, broken_shell = Layer(), Layer()
    only_stub.file("pause", stub, 0o755)
    pause = only_stub.write(workspace / "pause.tar")
    for shell in ("sh", "ash"):
        broken_shell.file(f"bin/{shell}", stub, 0o755)
    crash = broken_shell.write(workspace / "crash.tar")
    return [
        Image(PAUSE, (pause,), entrypoint=("/pause",)),
        Image(NOSHELL, (pause,), entrypoint=("/pause",)),
        Image(BUSYBOX, (busybox,), command=("sh",)),
        Image(BUSYBOX_USER, (busybox,), command=("sh",), user=f"{_USER_ID}:{_USER_ID}"),
        Image(CRASH, (busybox, crash), command=("sh",)),
    ]


def _debian_root(workspace: Path) -> Path:
    """Debian's files as a tar; kept under a key of their own, as fetching them is the slow part."""
    key = hashlib.sha256(repr(_DEBIAN_OPTIONS).encode()).hexdigest()[:16]
    path = FOLDER / f"debian-root-{key}.tar"
    if not path.exists():
        sources = workspace / "sources.list"
        sources.write_text("\n".join(debian_sources()) + "\n")
        unfinished = workspace / "root.tar"
        run("mmdebstrap", *_DEBIAN_OPTIONS, "bookworm", str(unfinished), str(sources))
        unfinished.replace(path)
        _remove_others(path, "debian-root")
    return path


def _debian_user_layer(root: Path) -> Layer:
    layer = Layer()
    added = {
        "passwd": f"dev:x:{_USER_ID}:{_USER_ID}:dev:/home/dev:/bin/bash\n",
        "group": f"dev:x:{_USER_ID}:\n",
    }
    with tarfile.open(root) as archive:
        for name, line in added.items():
            present = archive.extractfile(f"./etc/{name}") or io.BytesIO()
            layer.file(f"etc/{name}", present.read() + line.encode())
    layer.folder("home/dev", owner=_USER_ID)
    return layer


def _debian_images(workspace: Path) -> list[Image]:
    root = _debian_root(workspace)
    user = _debian_user_layer(root).write(workspace / "user.tar")
    return [
        Image(DEBIAN, (root,), command=("bash",)),
        Image(DEBIAN_USER, (root, user), command=("bash",), user="dev"),
    ]


def archives() -> tuple[Archive, ...]:
    """Everything the cluster has to offer, the sandbox image among it."""
    small = (builds.STUB.folder.name.encode(), _BUSYBOX.read_bytes())
    return (Archive("small", small, _small_images), Archive("debian", (), _debian_images))


def import_archive(path: Path, socket: Path = CONTAINERD_SOCKET) -> None:
    """Hand an archive to the containerd behind SOCKET, unpacked and ready to be run."""
    ctr = str(builds.CONTAINERD.program("ctr"))
    run(ctr, "--address", str(socket), "--namespace", "k8s.io", "images", "import", str(path))
