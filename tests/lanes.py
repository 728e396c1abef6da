"""Groups for `pytest -n`: tests that share something costly run in one process."""

from __future__ import annotations

import re

from xdist.scheduler import LoadScopeScheduling

INDEPENDENT = (
    "contract/test_convergence.py",
    "contract/test_instances.py",
    "contract/test_lifecycle.py",
    "e2e/test_errors.py",
    "e2e/test_listing.py",
    "e2e/test_main_job.py",
    "e2e/test_recovery.py",
    "e2e/test_ssh_connections.py",
    "e2e/test_ssh_login.py",
)
"""Files whose tests share only their host, so each test may run in a different process."""
PROVISIONED = ("e2e/test_storage_classes.py", "e2e/test_kubeconfig_only.py")
"""Files that need the storage classes, which one process provides. The site `managed` needs them too."""


def group_of(nodeid: str) -> str:
    """Return the group of the test NODEID. All tests of a group run in one process."""
    path, _, name = nodeid.partition("::")
    file = path.removeprefix("tests/")
    first = re.search(r"\[([a-z]+)", name)
    parameter = first[1] if first else ""
    if file in PROVISIONED or (file.startswith("contract/") and parameter == "managed"):
        return "provisioned"
    if file in INDEPENDENT:
        return nodeid
    return f"{file} {parameter}" if file.startswith(("contract/", "e2e/")) else file


class Lanes(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each process one group after another, the largest first."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
