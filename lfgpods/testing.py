"""For tests of what is built on lfgpods: a clean embedded host with its PodManager, and nothing left of it afterwards.

    from lfgpods import Command, Owner
    from lfgpods.testing import embedded_host

    with embedded_host() as lfgpods:
        pod = lfgpods.pods.ensure(Owner.project("my-app"))
        assert lfgpods.pods.exec(pod.owner, Command("echo hello")).stdout == b"hello\\n"

With pytest, `pytest_plugins = ["lfgpods.testing"]` in conftest.py gives the fixture `lfgpods_embedded`, which is the
same and also points the environment at it, so that `lfgpods.manage_kubernetes_pod` and its kin use it too.
PYTEST_DONT_REWRITE: nothing here asserts, so it does not matter whether it was imported before pytest saw it.
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
    """An embedded host that is ready for use. `host.faults = Faults(...)` makes things go wrong."""

    pods: PodManager
    host: EmbeddedHost
    settings: Settings
    environment: Mapping[str, str]
    """What the environment has to hold for another process, such as the command line, to use the same host."""


@contextmanager
def embedded_host(environment: Mapping[str, str] | None = None) -> Iterator[EmbeddedLfgpods]:
    """A clean embedded host in a temporary folder; its pods are ended and the folder is removed at the end.

    ENVIRONMENT has more settings for it, such as LFGPODS_IMAGE; the process's own environment and `.env` count for
    nothing.
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
        """A clean embedded host, which the environment names too."""
        with embedded_host() as embedded:
            for name, value in embedded.environment.items():
                monkeypatch.setenv(name, value)
            yield embedded

    return lfgpods_embedded


def _without_pytest(*arguments: object) -> Iterator[EmbeddedLfgpods]:
    raise RuntimeError("lfgpods_embedded is a pytest fixture, and pytest is not installed: pip install pytest")


lfgpods_embedded = _fixture()
"""The fixture: see this module's docstring."""
