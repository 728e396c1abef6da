from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lfgpods.core.errors import VolumeError
from lfgpods.hosts.local import LocalHost
from lfgpods.hosts.run import run
from lfgpods.volumes import folders
from lfgpods.volumes.folders import Presence

HOST = LocalHost()


def prepare(root: Path | str, name: str, expected: str = "") -> folders.Prepared:
    step = folders.prepare_step(str(root), name, f"owner of {name}", expected)
    return step.parse(run(HOST, step.argv))


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "volumes"


def test_a_folder_is_open_to_the_pod_and_closed_to_users_of_the_host(root: Path) -> None:
    prepare(root, "proj-a")
    assert (mode(root), mode(root / "proj-a")) == (0o700, 0o777)


def test_existing_files_stay(root: Path) -> None:
    prepare(root, "proj-a")
    kept = root / "proj-a" / "kept"
    kept.write_text("precious")
    kept.chmod(0o640)
    (root / "proj-a").chmod(0o755)
    prepare(root, "proj-a")
    assert (kept.read_text(), mode(kept), mode(root / "proj-a")) == ("precious", 0o640, 0o777)


def test_an_open_root_is_closed_only_if_it_holds_nothing_but_volumes(root: Path) -> None:
    root.mkdir(parents=True, mode=0o755)
    (root / "proj-old").mkdir()
    prepare(root, "conv-a")
    assert mode(root) == 0o700

    root.chmod(0o755)
    (root / "etc").mkdir()
    with pytest.raises(VolumeError, match="holds other files"):
        prepare(root, "proj-b")
    assert (mode(root), (root / "proj-b").exists()) == (0o755, False)


def test_a_purge_removes_the_folder_and_nothing_else(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("not yours")
    for name in ("proj-a", "proj-b"):
        prepare(root, name)
        (root / name / "file").write_text("x")
    (root / "proj-a" / "link").symlink_to(outside)
    assert folders.purge(HOST, str(root), "proj-a") is True
    assert folders.purge(HOST, str(root), "proj-a") is False
    assert not (root / ".lfgpods" / "proj-a").exists()
    assert not (root / "proj-a").exists()
    assert (root / "proj-b" / "file").exists()
    assert (outside / "file").exists()


def test_a_symlink_is_never_followed(root: Path, tmp_path: Path) -> None:
    root.mkdir(parents=True, mode=0o700)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (elsewhere / "file").write_text("not yours")
    (root / "proj-a").symlink_to(elsewhere)
    with pytest.raises(VolumeError, match="symbolic link"):
        prepare(root, "proj-a")
    with pytest.raises(VolumeError, match="symbolic link"):
        folders.purge(HOST, str(root), "proj-a")
    assert (elsewhere / "file").exists()
    assert mode(elsewhere) == 0o755


def test_a_missing_root_has_nothing_to_purge(root: Path) -> None:
    folders.purge(HOST, str(root), "proj-a")


def test_a_survey_reports_each_folder_and_its_owner(root: Path) -> None:
    assert prepare(root, "proj-a").kept is False
    assert prepare(root, "proj-a").kept is False
    (root / "proj-a" / ".hidden").write_text("x" * 5000)
    assert prepare(root, "proj-a").kept is True
    (root / "conv-unknown").mkdir()
    (root / "proj-gone.purging").mkdir()
    (root / "proj-link").symlink_to(root / "proj-a")
    found = {folder.name: folder for folder in folders.survey(HOST, str(root))}
    assert {name: folder.owner for name, folder in found.items()} == {
        "proj-a": "owner of proj-a", "conv-unknown": "", "proj-gone.purging": "",
    }  # fmt: skip
    assert [folder.name for folder in found.values() if folder.purging] == ["proj-gone.purging"]
    measured = {folder.name: folder for folder in folders.survey(HOST, str(root), measured=True)}
    assert (measured["proj-a"].filled, measured["conv-unknown"].filled) == (True, False)
    assert (measured["proj-a"].size or 0) >= 5
    os.utime(root / "proj-a" / ".hidden", (0, 0))
    os.utime(root / "proj-a", (0, 0))
    [folder] = folders.survey(HOST, str(root), name="proj-a", measured=True)
    assert folder.changed == int((root / "proj-a" / ".hidden").stat().st_ctime)  # the ctime, which nobody can set
    assert folders.look(HOST, str(root), "proj-a") is Presence.THERE
    assert folders.look(HOST, str(root), "proj-link") is Presence.ODD
    assert folders.look(HOST, str(root), "proj-none") is Presence.BARE
    assert folders.look(HOST, str(root), "proj-gone") is Presence.GONE
    assert folders.look(HOST, str(root / "elsewhere"), "proj-a") is Presence.UNKNOWN


def test_an_unmounted_disk_is_not_mistaken_for_an_empty_one(root: Path) -> None:
    for expected in ("root", "folder"):
        with pytest.raises(VolumeError) as refused:
            prepare(root, "proj-a", expected)
        assert (refused.value.code, root.exists()) == ("volume_missing", False)
    prepare(root, "proj-b")
    with pytest.raises(VolumeError):
        prepare(root, "proj-a", "folder")
    assert not (root / "proj-a").exists()
    prepare(root, "proj-a", "root")
    prepare(root, "proj-a", "folder")


def test_an_interrupted_purge_is_completed(root: Path) -> None:
    prepare(root, "proj-a")
    (root / "proj-a").rename(root / "proj-a.purging")
    (root / "proj-a.purging" / "file").write_text("x")
    prepare(root, "proj-a")
    (root / "proj-a" / "file").write_text("x")
    assert folders.purge(HOST, str(root), "proj-a") is True
    assert [path.name for path in root.iterdir()] == [".lfgpods"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_a_purge_reports_a_read_only_disk(root: Path) -> None:
    root.mkdir(parents=True)
    assert os.system(f"mount -t tmpfs tmpfs '{root}'") == 0
    try:
        prepare(root, "proj-a")
        (root / "proj-a" / "file").write_text("precious")
        assert os.system(f"mount -o remount,ro '{root}'") == 0
        with pytest.raises(VolumeError) as refused:
            folders.purge(HOST, str(root), "proj-a")
        assert (refused.value.code, (root / "proj-a" / "file").read_text()) == ("read_only", "precious")
    finally:
        os.system(f"umount '{root}'")


def test_a_purge_cannot_remove_the_folder_after_it_was_undone(root: Path) -> None:
    prepare(root, "proj-a")
    (root / "proj-a" / "file").write_text("precious")
    run(HOST, folders._argv(("begin_purge.sh",), (str(root), "proj-a"), sudo=False))
    assert folders.undo_purge(HOST, str(root), "proj-a") is Presence.THERE
    late = run(HOST, folders._argv(("purge.sh",), (str(root), "proj-a"), sudo=False))
    assert (late.exit_code, (root / "proj-a" / "file").read_text()) == (70, "precious")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_a_folder_that_a_container_has_mounted_is_never_removed(root: Path) -> None:
    prepare(root, "proj-a")
    prepare(root, "proj-a2")
    (root / "proj-a" / "file").write_text("precious")
    script = f"mount --bind '{root}/proj-a' /mnt && echo ready && read line"
    with subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as container:
        assert container.stdout is not None
        assert container.stdout.readline() == b"ready\n"
        with pytest.raises(VolumeError) as refused:
            folders.purge(HOST, str(root), "proj-a")
        assert (refused.value.code, (root / "proj-a" / "file").read_text()) == ("in_use", "precious")
        folders.purge(HOST, str(root), "proj-a2")
        container.communicate(b"\n")
    folders.purge(HOST, str(root), "proj-a")
    assert [path.name for path in root.iterdir()] == [".lfgpods"]


def test_names_are_not_interpreted_by_a_shell(tmp_path: Path) -> None:
    root = tmp_path / "a b;$(touch proof) 'q'"
    prepare(root, "proj-a")
    assert (root / "proj-a").is_dir()
    assert not Path("proof").exists()


@pytest.mark.parametrize(("root", "code"), [("/proc/sys/x/volumes", "volume"), ("/dev/null/volumes", "volume")])
def test_a_folder_that_cannot_be_made_has_a_cause_and_a_remedy(root: str, code: str) -> None:
    with pytest.raises(VolumeError) as refused:
        prepare(root, "proj-a")
    assert refused.value.code == code
    assert refused.value.hint


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
@pytest.mark.parametrize("below", ["volumes", "my volumes", "v[1]/x.y"])
def test_a_mount_inside_the_folder_is_never_emptied(root: Path, below: str) -> None:
    root = root / below
    prepare(root, "proj-a")
    inside = root / "proj-a" / "mounted"
    inside.mkdir()
    assert os.system(f"mount -t tmpfs tmpfs '{inside}'") == 0
    try:
        (inside / "file").write_text("not yours")
        with pytest.raises(VolumeError, match="mounted"):
            folders.purge(HOST, str(root), "proj-a")
        assert (inside / "file").exists()
    finally:
        os.system(f"umount '{inside}'")
