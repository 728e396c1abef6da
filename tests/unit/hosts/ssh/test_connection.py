"""A connection follows the settings, then ssh_config, and loads Fabric only for a gateway."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lfgpods.core.settings import SshSettings, load_settings
from lfgpods.hosts.ssh import connection
from lfgpods.hosts.ssh import ssh_config as configuration
from lfgpods.hosts.ssh.connection import DirectConnection
from lfgpods.hosts.ssh.heartbeat import WatchedTransport


@pytest.fixture
def ssh_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's ssh_config, empty at first. There is no system-wide one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(configuration, "SYSTEM", tmp_path / "none")
    (tmp_path / ".ssh").mkdir()
    file = tmp_path / ".ssh" / "config"
    file.touch()
    return file


def settings(host: str, **more: str) -> SshSettings:
    return load_settings({"K8S_SSH_HOST": host, **more}, Path("no.env")).require_ssh()


def test_ssh_config_applies_where_the_settings_are_silent(ssh_config: Path) -> None:
    ssh_config.write_text("Host kube\n  HostName 203.0.113.7\n  User somebody\n  Port 2222\n  IdentityFile /a/key\n")
    found = connection._configured(settings("kube"))
    assert isinstance(found, DirectConnection)
    assert (found.host, found.user, found.port) == ("203.0.113.7", "somebody", 2222)
    assert found.connect_kwargs["key_filename"] == ["/a/key"]
    named = connection._configured(settings("kube", K8S_SSH_USERNAME="me", K8S_SSH_PORT="22"))
    assert (named.host, named.user, named.port) == ("203.0.113.7", "me", 22)
    plain = connection._configured(settings("other"))
    assert (plain.host, plain.user, plain.port) == ("other", "root", 22)


@pytest.mark.parametrize(
    ("host", "lines", "gateway"),
    [
        ("kube", "ProxyJump gateway", "gateway"),
        ("kube", "ProxyCommand nc %h %p", "nc 203.0.113.7 22"),
        ("kube", "ProxyJump none", None),
        ("root@kube", "", None),
        ("kube:2222", "", None),
    ],
)
def test_gateways_and_names_with_a_user_or_port_are_left_to_fabric(
    ssh_config: Path, host: str, lines: str, gateway: str | None
) -> None:
    ssh_config.write_text(f"Host kube\n  HostName 203.0.113.7\n  {lines}\n")
    found = connection._configured(settings(host))
    assert isinstance(found, DirectConnection) == (gateway is None and host == "kube")
    assert found.host == "203.0.113.7"
    assert found.port == (2222 if host.endswith("2222") else 22)
    assert getattr(found.gateway, "host", found.gateway or None) == gateway


def test_a_closed_connection_still_tells_how_it_ended(ssh_config: Path) -> None:
    class Client:
        transport: Any = object()

        def connect(self, *_: object, **__: object) -> None: ...

        def get_transport(self) -> Any:
            return self.transport

        def close(self) -> None:
            self.transport = None

    direct = connection._configured(settings("kube"))
    direct.client = Client()
    direct.open()
    direct.close()
    assert direct.transport is Client.transport


def test_a_connection_closes_without_an_error_when_its_gateway_is_gone() -> None:
    class Channel:
        """A channel through a gateway, as paramiko's behaves when the connection below it has ended."""

        _closed = False

        def settimeout(self, _: float) -> None: ...

        def close(self) -> None:
            if not self._closed:
                self._closed = True
                raise EOFError

    transport: Any = WatchedTransport(Channel())
    transport.active = True
    transport.close()
    assert not transport.is_active()


def printed_by(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_a_plain_connection_does_not_load_fabric() -> None:
    assert printed_by("import sys, lfgpods.hosts.ssh as _; print('fabric' in sys.modules)") == "False\n"
