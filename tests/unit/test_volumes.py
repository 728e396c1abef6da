from __future__ import annotations

import os
from pathlib import Path

import pytest

from lfgpods import volumes
from lfgpods.errors import VolumeError
from lfgpods.hosts.local import LocalHost

HOST = LocalHost()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "volumes"


def test_a_folder_is_open_to_the_pod_and_closed_to_the_host(root: Path) -> None:
    volumes.prepare(HOST, str(root), "proj-a")
    assert (mode(root), mode(root / "proj-a")) == (0o700, 0o777)


def test_what_is_there_stays(root: Path) -> None:
    volumes.prepare(HOST, str(root), "proj-a")
    kept = root / "proj-a" / "kept"
    kept.write_text("precious")
    kept.chmod(0o640)
    (root / "proj-a").chmod(0o755)
    volumes.prepare(HOST, str(root), "proj-a")
    assert (kept.read_text(), mode(kept), mode(root / "proj-a")) == ("precious", 0o640, 0o777)


def test_an_open_root_is_closed_only_if_it_holds_nothing_but_volumes(root: Path) -> None:
    root.mkdir(parents=True, mode=0o755)
    (root / "proj-old").mkdir()
    volumes.prepare(HOST, str(root), "conv-a")
    assert mode(root) == 0o700

    root.chmod(0o755)
    (root / "etc").mkdir()
    with pytest.raises(VolumeError, match="holds other things"):
        volumes.prepare(HOST, str(root), "proj-b")
    assert (mode(root), (root / "proj-b").exists()) == (0o755, False)


def test_purge_takes_the_folder_and_nothing_else(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("not yours")
    for name in ("proj-a", "proj-b"):
        volumes.prepare(HOST, str(root), name)
        (root / name / "file").write_text("x")
    (root / "proj-a" / "link").symlink_to(outside)
    volumes.purge(HOST, str(root), "proj-a")
    volumes.purge(HOST, str(root), "proj-a")
    assert not (root / "proj-a").exists()
    assert (root / "proj-b" / "file").exists()
    assert (outside / "file").exists()


def test_a_symlink_is_never_followed(root: Path, tmp_path: Path) -> None:
    root.mkdir(parents=True, mode=0o700)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (elsewhere / "file").write_text("not yours")
    (root / "proj-a").symlink_to(elsewhere)
    for use in (volumes.prepare, volumes.purge):
        with pytest.raises(VolumeError, match="symbolic link"):
            use(HOST, str(root), "proj-a")
    assert (elsewhere / "file").exists()
    assert mode(elsewhere) == 0o755


def test_a_root_that_is_gone_has_nothing_to_purge(root: Path) -> None:
    volumes.purge(HOST, str(root), "proj-a")


def test_names_reach_no_shell(tmp_path: Path) -> None:
    root = tmp_path / "a b;$(touch proof) 'q'"
    volumes.prepare(HOST, str(root), "proj-a")
    assert (root / "proj-a").is_dir()
    assert not Path("proof").exists()


@pytest.mark.parametrize(("root", "code"), [("/proc/sys/x/volumes", "volume"), ("/dev/null/volumes", "volume")])
def test_a_folder_that_cannot_be_made_has_a_cause_and_a_remedy(root: str, code: str) -> None:
    with pytest.raises(VolumeError) as refused:
        volumes.prepare(HOST, root, "proj-a")
    assert refused.value.code == code
    assert refused.value.hint


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_a_mount_inside_is_never_emptied(root: Path) -> None:
    volumes.prepare(HOST, str(root), "proj-a")
    inside = root / "proj-a" / "mounted"
    inside.mkdir()
    assert os.system(f"mount -t tmpfs tmpfs '{inside}'") == 0
    try:
        (inside / "file").write_text("not yours")
        with pytest.raises(VolumeError, match="mounted"):
            volumes.purge(HOST, str(root), "proj-a")
        assert (inside / "file").exists()
    finally:
        os.system(f"umount '{inside}'")
