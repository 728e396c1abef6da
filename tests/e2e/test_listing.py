"""`list` needs no more than the right to list, and says which one is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from lfgpods import KubernetesError, Owner, PodManager, Request, Settings
from tests.lab import Lab
from tests.scope import RUN

pytestmark = pytest.mark.real

ROLE = f"lfgpods-test-lister-{RUN}"
RULES = [
    {"apiGroups": [""], "resources": ["namespaces", "persistentvolumes", "services", "pods"], "verbs": ["list"]},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["list"]},
]


@pytest.fixture
def lister(lab: Lab) -> Iterator[Settings]:
    """The settings of somebody who may list, and nothing else."""
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ROLE}
    bound = {"subjects": [{"apiGroup": role["apiGroup"], "kind": "User", "name": ROLE}], "roleRef": role}
    api = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": ROLE}}
    items = [{**api, "kind": "ClusterRole", "rules": RULES}, {**api, "kind": "ClusterRoleBinding", **bound}]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    on_host = ("sh", "-c", 'printf %s "$1" | $2 apply -f -', "sh", text, " ".join(lab.settings().kubectl))
    made = lab.on_host(*on_host)
    assert made.exit_code == 0, made.stderr
    settings = lab.settings()
    yield replace(settings, kubectl=(*settings.kubectl, f"--as={ROLE}"))
    lab.kubectl("delete", f"clusterrole/{ROLE}", f"clusterrolebinding/{ROLE}")


def test_list_needs_only_the_right_to_list(lab: Lab, lister: Settings, new_owner: Callable[[str], Owner]) -> None:
    owner = new_owner("listed")
    with lab.manager() as manager:
        pod = manager.ensure(owner, Request(memory="64Mi", memory_requests="16Mi", cpu_requests="10m"))
    with PodManager(lister) as manager:
        assert [found for found in manager.list() if found.owner == owner] == [pod]
        with pytest.raises(KubernetesError) as refused:
            manager.gc()
    assert refused.value.code == "forbidden"
    assert "persistentvolumeclaims" in refused.value.message or "leases" in refused.value.message


def test_a_list_without_the_right_to_list_is_a_clear_error(lab: Lab) -> None:
    settings = lab.settings()
    nobody = replace(settings, kubectl=(*settings.kubectl, "--as=lfgpods-test-nobody"))
    with PodManager(nobody) as manager, pytest.raises(KubernetesError) as refused:
        manager.list()
    assert refused.value.code == "forbidden"
    assert "cannot list resource" in refused.value.message
