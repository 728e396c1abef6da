"""Include in ssh_config works as in OpenSSH."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from lfgpods.core.errors import HostError
from lfgpods.hosts.ssh import ssh_config

HOSTS = ("a", "b", "a.example.com", "b.example.com", "other")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(ssh_config, "SYSTEM", tmp_path / "system")
    (tmp_path / ".ssh").mkdir()
    return tmp_path / ".ssh"


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)


def ports(folder: Path) -> dict[str, str | None]:
    """The port of each of HOSTS, after checking that OpenSSH gives the same."""
    ours = {host: ssh_config.load_ssh_config().lookup(host).get("port") for host in HOSTS}
    if shutil.which("ssh"):
        for host, port in ours.items():
            # ssh takes the home directory from the passwd file, so make ~ and relative names absolute for it
            absolute = folder / "absolute"
            absolute.write_text((folder / "config").read_text().replace("Include ", f"Include {folder}/"))
            said = subprocess.run(["ssh", "-G", "-F", str(absolute), host], capture_output=True, text=True, check=True)
            assert f"\nport {port or 22}\n" in said.stdout, host
    return ours


def test_an_included_file_applies_where_it_is_included(folder: Path) -> None:
    write(folder, config="Include more\nHost *\nPort 1\n", more="Host a\nPort 2\n")
    assert ports(folder) == {"a": "2", "b": "1", "a.example.com": "1", "b.example.com": "1", "other": "1"}


def test_lines_after_an_include_are_outside_of_the_included_blocks(folder: Path) -> None:
    write(folder, config="Include more\nPort 1\n", more="Host a\nUser x\n")
    assert set(ports(folder).values()) == {"1"}
    write(folder, config="Host b\nInclude more\nPort 1\n", more="Host a\nPort 2\n")
    assert ports(folder) == {"a": None, "b": "1", "a.example.com": None, "b.example.com": None, "other": None}


def test_an_include_in_a_block_applies_only_to_hosts_that_match_both(folder: Path) -> None:
    write(
        folder,
        config="Host *.example.com !b*\nInclude more\nHost other\nInclude deeper\n",
        more="Host a*\nPort 1\nMatch originalhost b*\nPort 2\nHost *\nPort 3\n",
        deeper=f"Include {folder}/deepest\n",
        deepest="Port 4\nMatch all\nPort 5\n",
    )
    text = (folder / "config").read_text()
    assert ports(folder) == {"a": None, "b": None, "a.example.com": "1", "b.example.com": None, "other": "4"}
    assert (folder / "config").read_text() == text


def test_globs_and_home_directories_expand_in_order_and_missing_files_are_ignored(folder: Path) -> None:
    write(folder, config="Include=none *.conf ~/.ssh/last\n", last="Port 3\n")
    write(folder, **{"2.conf": "Port 2\n", "1.conf": "Host a\nPort 1\n"})
    (folder / "0.conf").mkdir()
    loaded = ssh_config.load_ssh_config()
    assert [loaded.lookup(host).get("port") for host in ("a", "b")] == ["1", "2"]


def test_the_system_wide_file_fills_in_the_rest(folder: Path) -> None:
    write(folder, config="Host a\nPort 1\n")
    write(folder.parent, system="Include more\nPort 2\n", more="User somebody\n")
    loaded = ssh_config.load_ssh_config()
    assert [loaded.lookup(host).get("port") for host in ("a", "b")] == ["1", "2"]
    assert loaded.lookup("a").get("user") == "somebody"


def test_bytes_that_are_not_utf_8_do_no_harm(folder: Path) -> None:
    (folder / "config").write_bytes(b"# \xff\r\nHost caf\xe9\r\n  Port 1\r\nHost a\r\n  Port 2\r\n")
    assert ssh_config.load_ssh_config().lookup("a")["port"] == "2"


@pytest.mark.parametrize(
    "text", ["Include config\n", "Port\n", 'Host "a\n', "Match host\n", 'Include "more\n', "Include ~nobody-here/x\n"]
)
def test_what_openssh_refuses_is_refused_in_one_line(folder: Path, text: str) -> None:
    write(folder, config=text)
    with pytest.raises(HostError) as error:
        ssh_config.load_ssh_config()
    assert error.value.code == "ssh_config"
    assert "\n" not in error.value.message
    assert str(folder / "config") in error.value.message
