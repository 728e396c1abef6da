"""A stranger on the host of the tests: an owner whose pod was deleted and whose files must survive the whole run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from lfgpods import Command, Owner, PodManager, PodNotFoundError, Request
from lfgpods.core.settings import Settings
from lfgpods.hosts.base import Completed
from tests import scope

PRECIOUS = b"precious\n"


@dataclass(frozen=True)
class Stranger:
    """An owner outside the tests. RUN runs a program on the host."""

    settings: Settings
    run: Callable[..., Completed]

    @property
    def owner(self) -> Owner:
        return Owner.project(f"stranger-{scope.ID}")

    def move_in(self, pods: PodManager, request: Request = Request()) -> None:
        """Create a pod, write a file and delete the pod, which keeps the file."""
        pods.ensure(self.owner, request)
        assert pods.exec(self.owner, Command("echo precious > file && sync"))
        pods.delete(self.owner)

    def losses(self) -> list[str]:
        """Return which of the namespace, the volume, the claim and the file are missing."""
        names = self.owner.names
        references = [
            f"namespace/{names.namespace}",
            f"persistentvolume/{names.volume}",
            f"persistentvolumeclaim/{names.claim}",
        ]
        get = ("get", *references, "-n", names.namespace, "--ignore-not-found", "-o", "json")
        found = self.run(*self.settings.kubectl, *get)
        objects = json.loads(found.stdout)["items"] if found.exit_code == 0 and found.stdout else []
        there = [
            f"{obj['kind'].lower()}/{obj['metadata']['name']}"
            for obj in objects
            if "deletionTimestamp" not in obj["metadata"]
        ]
        file = f"{names.folder(self.settings.volume_root)}/file"
        is_whole = self.run("cat", file).stdout == PRECIOUS
        return [*(one for one in references if one not in there), *([] if is_whole else [file])]

    def move_out(self, pods: PodManager) -> None:
        """Purge the stranger's data."""
        try:
            pods.delete(self.owner, purge=True)
        except PodNotFoundError:
            return
