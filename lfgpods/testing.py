"""For tests of programs that use lfgpods: a clean embedded host with its PodManager, removed after the test.

    from lfgpods import Command, Owner
    from lfgpods.testing import embedded_host

    with embedded_host() as lfgpods:
        pod = lfgpods.pods.ensure(Owner.project("my-app"))
        assert lfgpods.pods.exec(pod.owner, Command("echo hello")).stdout == b"hello\\n"

With pytest, `pytest_plugins = ["lfgpods.testing"]` in conftest.py gives the fixture `lfgpods_embedded`. It also sets
the environment, so that `lfgpods.manage_kubernetes_pod` and the other functions use the same host.
PYTEST_DONT_REWRITE: this module has no assertions to rewrite, so it may be imported before pytest loads it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lfgpods.api.manager import PodManager
from lfgpods.core.settings import Settings, load_settings
from lfgpods.hosts.embedded import EmbeddedHost, Faults

if TYPE_CHECKING:
    import pytest

__all__ = ["EmbeddedLfgpods", "Faults", "embedded_host", "lfgpods_embedded"]


@dataclass(frozen=True)
class EmbeddedLfgpods:
    """An embedded host that is ready for use. Set `host.faults = Faults(...)` to make it fail."""

    pods: PodManager
    host: EmbeddedHost
    settings: Settings
    environment: Mapping[str, str]
    """Environment variables that make another process, such as the command line, use the same host."""


@contextmanager
def embedded_host(environment: Mapping[str, str] | None = None) -> Iterator[EmbeddedLfgpods]:
    """Yield a clean embedded host in a temporary folder. Its pods and the folder are removed afterwards.

    ENVIRONMENT holds further settings, such as LFGPODS_IMAGE. The process's own environment and `.env` are ignored.
    """
    folder = Path(tempfile.mkdtemp(prefix="lfgpods-"))
    variables = {
        **(environment or {}),
        "LFGPODS_HOST": "embedded",
        "LFGPODS_EMBEDDED_FOLDER": str(folder / "host"),
        "LFGPODS_VOLUME_ROOT": str(folder / "volumes"),
        "LFGPODS_DATABASE": str(folder / "lfgpods.db"),
        "LFGPODS_LOG_FILE": str(folder / "lfgpods.log"),
    }
    settings = load_settings(variables, folder / "no.env")
    host = EmbeddedHost(settings.embedded_folder, access_host=settings.access_host, kubectl=settings.kubectl)
    try:
        with PodManager(settings, host=host) as pods:
            yield EmbeddedLfgpods(pods, host, settings, variables)
    finally:
        host.shut_down()
        shutil.rmtree(folder)


def _fixture() -> Callable[..., Iterator[EmbeddedLfgpods]]:
    try:
        import pytest
    except ImportError:
        return _without_pytest

    @pytest.fixture
    def lfgpods_embedded(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedLfgpods]:
        """A clean embedded host that the environment variables point to."""
        with embedded_host() as embedded:
            for name, value in embedded.environment.items():
                monkeypatch.setenv(name, value)
            yield embedded

    return lfgpods_embedded


def _without_pytest(*arguments: object) -> Iterator[EmbeddedLfgpods]:
    raise RuntimeError("lfgpods_embedded is a pytest fixture, and pytest is not installed: pip install pytest")


lfgpods_embedded = _fixture()
"""A clean embedded host, as a pytest fixture. See the docstring of this module."""
