"""Where the contract is tried: the embedded host, the real cluster over SSH, and with nothing but its kubeconfig."""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lfgpods import Owner, PodManager, PodNotFoundError, Request, Settings, load_settings
from lfgpods.hosts import connect
from lfgpods.hosts.base import Completed, Host
from lfgpods.hosts.embedded import EmbeddedHost, Faults
from lfgpods.hosts.embedded.sandbox import container
from lfgpods.hosts.run import run
from lfgpods.testing import embedded_host
from tests import lab as labs
from tests.cluster import Cluster, provisioner
from tests.cluster.paths import ADMIN_KUBECONFIG, HOST_BIN
from tests.managed import managed
from tests.realhost import RealHost
from tests.scope import RUN
from tests.stranger import Stranger

T = TypeVar("T")
_NUMBERS = itertools.count(1)


class Site(ABC):
    """One host with its PodManager; what a test makes on it is purged, at the latest when the site is closed."""

    def __init__(self, pods: PodManager, host: Host, settings: Settings, environment: Mapping[str, str]) -> None:
        """ENVIRONMENT leads the command line to the same place."""
        self.pods = pods
        self.host = host
        self.environment = environment
        self.settings = settings
        self.request = Request(
            image=labs.Images().small, memory="64Mi", memory_requests="16Mi", cpu="500m", cpu_requests="10m"
        )
        self._made: dict[str, Any] = {}

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What MAKE returns, made when the first test asks for NAME and then the same until the site is closed."""
        if name not in self._made:
            self._made[name] = make()
        made: T = self._made[name]
        return made

    def resident(self, name: str = "resident") -> Owner:
        """An owner whose pod runs all the time; another one for each NAME."""

        def move_in() -> Owner:
            owner = self.new_owner()
            self.pods.ensure(owner, self.request)
            return owner

        return self.once(name, move_in)

    @property
    def isolated(self) -> bool:
        """Whether a pod sees nothing but its own; an embedded one does not without bubblewrap."""
        return True

    def require_isolation(self) -> None:
        if not self.isolated:
            pytest.skip("bubblewrap does not work on this machine, and a plain embedded pod is not isolated")

    def new_owner(self) -> Owner:
        """An owner that nobody else has."""
        return Owner.project(f"ct-{RUN}-{next(_NUMBERS)}")

    def kubectl(self, *words: str, stdin: bytes = b"", timeout: float = labs.DELETION_LIMIT) -> Completed:
        return run(self.host, (*self.settings.kubectl, *words), stdin=stdin, timeout=timeout)

    def sh(self, script: str, *words: str) -> Completed:
        """Run a script on the host itself."""
        return run(self.host, ("sh", "-c", script, "sh", *words))

    def folder(self, owner: Owner) -> str:
        return owner.names.folder(self.settings.volume_root)

    def volumes(self, owner: Owner) -> list[str]:
        """What there is of OWNER's volume: its PersistentVolume, and its folder."""
        found = self.kubectl("get", f"persistentvolume/{owner.names.volume}", "--ignore-not-found", "-o", "name")
        folder = self.folder(owner)
        return [
            *found.stdout.decode().split(),
            *([folder] if self.sh('[ -e "$1" ]', folder).exit_code == 0 else []),
        ]

    def leftovers(self, owner: Owner) -> list[str]:
        """What there still is of OWNER's."""
        found = self.kubectl("get", f"namespace/{owner.names.namespace}", "--ignore-not-found", "-o", "name")
        return [*found.stdout.decode().split(), *self.volumes(owner)]

    @abstractmethod
    def failing(self, fault: str) -> contextlib.AbstractContextManager[Request]:
        """A request for a pod that fails with FAULT: image_pull, unschedulable or crash_loop."""

    @property
    @abstractmethod
    def stranger(self) -> Stranger:
        """Somebody else on this host, whose pod was deleted and whose files are kept."""

    @abstractmethod
    def purge(self, owner: Owner) -> None:
        """Purge OWNER, now or later."""


class EmbeddedSite(Site):
    host: EmbeddedHost

    @property
    def isolated(self) -> bool:
        return container.isolates()

    @contextlib.contextmanager
    def failing(self, fault: str) -> Iterator[Request]:
        self.host.faults = Faults(**{fault: True})
        try:
            yield replace(self.request, image="docker.io/lfgpods/broken:1")
        finally:
            self.host.faults = Faults()

    @property
    def stranger(self) -> Stranger:
        """One who shares the volume root, and has an instance of his own."""

        def move_in() -> Stranger:
            database = str(Path(self.settings.database).with_name("stranger.db"))
            settings = replace(self.settings, instance="stranger", database=database)
            found = Stranger(settings, lambda *argv: run(self.host, argv))
            with PodManager(settings, host=SharedHost(self.host)) as pods:
                found.move_in(pods, self.request)
            return found

        return self.once("stranger", move_in)

    def purge(self, owner: Owner) -> None:
        with contextlib.suppress(PodNotFoundError):
            self.pods.delete(owner, purge=True)

    def close(self) -> None:
        """Fail if the stranger has lost anything."""
        if "stranger" in self._made:
            assert self.stranger.losses() == []


class SharedHost:
    """A host for a second PodManager, which does not close it."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def close(self) -> None: ...


class RealSite(Site):
    """Deletes in the background and waits for nothing: that a purge removes everything is for tests to show."""

    def __init__(
        self, pods: PodManager, host: Host, settings: Settings, environment: Mapping[str, str], outside: RealHost
    ) -> None:
        """OUTSIDE is the same host outside of this site's scope."""
        super().__init__(pods, host, settings, environment)
        self._outside = outside
        self._pool = ThreadPoolExecutor(1)
        self._deletions: list[Future[Completed]] = []

    @property
    def stranger(self) -> Stranger:
        return self._outside.stranger

    @contextlib.contextmanager
    def failing(self, fault: str) -> Iterator[Request]:
        yield {
            "image_pull": replace(self.request, image="docker.io/lfgpods/nosuch:1"),
            "unschedulable": replace(self.request, memory="900Gi", memory_requests="900Gi"),
            "crash_loop": replace(self.request, image=labs.Images().crash),
        }[fault]

    def purge(self, owner: Owner) -> None:
        names = owner.names
        references = (f"namespace/{names.namespace}", f"persistentvolume/{names.volume}")
        words = ("delete", *references, "--ignore-not-found", "--wait=false")
        self._deletions.append(self._pool.submit(self.kubectl, *words))

    def close(self) -> None:
        self._pool.shutdown()
        assert [one.result() for one in self._deletions if one.result().exit_code != 0] == []


class ManagedSite(RealSite):
    """Volumes come from a storage class. lfgpods has the rights of docs/rbac.yaml, `kubectl` those of an administrator."""

    def kubectl(self, *words: str, stdin: bytes = b"", timeout: float = labs.DELETION_LIMIT) -> Completed:
        cache = Path(self.environment["LFGPODS_DATABASE"]).with_name("cache")
        admin = (str(HOST_BIN / "kubectl"), f"--kubeconfig={ADMIN_KUBECONFIG}", f"--cache-dir={cache}")
        return run(self.host, (*admin, *words), stdin=stdin, timeout=timeout)

    def volumes(self, owner: Owner) -> list[str]:
        volumes = json.loads(self.kubectl("get", "persistentvolumes", "-o", "json").stdout)["items"]
        home = owner.names.namespace
        names = [v["metadata"]["name"] for v in volumes if (v["spec"].get("claimRef") or {}).get("namespace") == home]
        left = [str(provisioner.folder_of(name)) for name in names if provisioner.folder_of(name).exists()]
        return [*(f"persistentvolume/{name}" for name in names), *left]


@contextlib.contextmanager
def embedded_site() -> Iterator[Site]:
    with embedded_host({"LFGPODS_START_GRACE": "0"}) as embedded:
        site = EmbeddedSite(embedded.pods, embedded.host, embedded.settings, embedded.environment)
        assert site.stranger.losses() == []
        yield site
        site.close()


@contextlib.contextmanager
def real_site(cluster: Cluster | None) -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as folder:
        lab = labs.open_lab(cluster, Path(folder), "contract")
        with _opened(RealSite, lab.environment, RealHost(cluster)) as site:
            yield site


@contextlib.contextmanager
def managed_site(cluster: Cluster) -> Iterator[Site]:
    with (
        tempfile.TemporaryDirectory() as folder,
        _opened(ManagedSite, managed(cluster, Path(folder), "managed"), RealHost(cluster)) as site,
    ):
        yield site


@contextlib.contextmanager
def _opened(kind: type[RealSite], variables: Mapping[str, str], outside: RealHost) -> Iterator[Site]:
    settings = load_settings(variables, Path(variables["LFGPODS_DATABASE"]).with_name("no.env"))
    host = connect(settings)
    with PodManager(settings, host=host) as pods:
        site = kind(pods, host, settings, variables, outside)
        try:
            yield site
        finally:
            site.close()
