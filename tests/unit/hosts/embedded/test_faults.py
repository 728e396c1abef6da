"""Each fault looks as it does on a real cluster, and ends when it is reset."""

from __future__ import annotations

import json
import time

import pytest

from lfgpods import Command, KubernetesError, OutcomeUnknownError, Owner, State, TimeLimitError
from lfgpods.core.objects import Object
from lfgpods.hosts.base import Completed
from lfgpods.hosts.embedded import EmbeddedHost, Faults
from lfgpods.hosts.run import run
from lfgpods.testing import EmbeddedLfgpods
from tests.waiting import eventually

OWNER = Owner.project("faulty")


def kubectl(embedded: EmbeddedLfgpods, *words: str) -> Completed:
    return run(embedded.host, ("kubectl", *words))


def the_pod(embedded: EmbeddedLfgpods) -> Object:
    found = kubectl(embedded, "get", "pods", "-n", "proj-faulty", "-o", "json")
    pods: list[Object] = json.loads(found.stdout)["items"]
    return pods[0]


def waiting(embedded: EmbeddedLfgpods) -> Object:
    statuses = the_pod(embedded)["status"].get("containerStatuses") or [{"state": {}}]
    found: Object = statuses[0]["state"].get("waiting") or {}
    return found


def test_image_pull_fails_the_create_with_image_pull(embedded: EmbeddedLfgpods) -> None:
    embedded.host.faults = Faults(image_pull=True)
    with pytest.raises(KubernetesError, match="cannot be pulled: ErrImagePull") as failed:
        embedded.pods.ensure(OWNER)
    assert failed.value.code == "image_pull"
    assert eventually(lambda: waiting(embedded).get("reason") == "ImagePullBackOff")
    assert waiting(embedded)["message"].startswith("Back-off pulling image ")
    warnings = json.loads(kubectl(embedded, "get", "events", "-n", "proj-faulty", "-o", "json").stdout)["items"]
    assert "Failed" in {event["reason"] for event in warnings if event["type"] == "Warning"}
    embedded.host.faults = Faults()
    assert eventually(lambda: embedded.pods.status(OWNER).status is State.RUNNING)


def test_unschedulable_leaves_the_pod_pending(embedded: EmbeddedLfgpods) -> None:
    embedded.host.faults = Faults(unschedulable=True)
    with pytest.raises(KubernetesError, match="0/1 nodes are available") as failed:
        embedded.pods.ensure(OWNER)
    assert failed.value.code == "unschedulable"
    assert the_pod(embedded)["status"]["phase"] == "Pending"
    refused = kubectl(embedded, "exec", "-n", "proj-faulty", the_pod(embedded)["metadata"]["name"], "--", "true")
    assert refused.stderr.startswith(b"error: unable to upgrade connection: pod proj-faulty")
    assert refused.stderr.endswith(b" does not have a host assigned\n")


def test_crash_loop_restarts_the_container_with_back_off(embedded: EmbeddedLfgpods) -> None:
    embedded.host.faults = Faults(crash_loop=True)
    with pytest.raises(KubernetesError, match="exit code 1") as failed:
        embedded.pods.ensure(OWNER)
    assert failed.value.code == "container_crash"
    assert eventually(lambda: waiting(embedded).get("reason") == "CrashLoopBackOff")
    status = the_pod(embedded)["status"]["containerStatuses"][0]
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert status["restartCount"] == 1


def test_slow_start_delays_the_container(embedded: EmbeddedLfgpods) -> None:
    embedded.host.faults = Faults(slow_start=2.0)
    started = time.monotonic()
    with pytest.raises(TimeLimitError):
        embedded.pods.ensure(OWNER, timeout=0.1)
    assert embedded.pods.status(OWNER).status is State.CREATING
    embedded.pods.ensure(OWNER)
    assert time.monotonic() - started >= 2.0


def test_api_down_refuses_connections(embedded: EmbeddedLfgpods) -> None:
    embedded.pods.ensure(OWNER)
    embedded.host.faults = Faults(api_down=True)
    assert embedded.pods.status(OWNER).status is State.UNKNOWN
    with pytest.raises(KubernetesError) as failed:
        embedded.pods.ensure(Owner.project("other"))
    assert failed.value.code == "cluster_unreachable"
    completed = kubectl(embedded, "get", "pods")
    assert completed.exit_code == 1
    assert b"was refused - did you specify the right host or port?" in completed.stderr
    embedded.host.faults = Faults()
    assert embedded.pods.status(OWNER).status is State.RUNNING


def test_exec_dropped_after_leaves_the_outcome_unknown(embedded: EmbeddedLfgpods) -> None:
    embedded.pods.ensure(OWNER)
    embedded.host.faults = Faults(exec_dropped_after=1000)
    with pytest.raises(OutcomeUnknownError) as dropped:
        embedded.pods.exec(OWNER, Command("head -c 5000 /dev/zero; echo end >&2"))
    assert 0 < len(dropped.value.stdout) <= 1000


def test_namespace_stuck_leaves_the_namespace_terminating(embedded: EmbeddedLfgpods) -> None:
    embedded.pods.ensure(OWNER)
    embedded.host.faults = Faults(namespace_stuck=True)
    with pytest.raises(TimeLimitError, match="still exists after"):
        embedded.pods.delete(OWNER, purge=True, timeout=1.0)
    namespace = json.loads(kubectl(embedded, "get", "namespace/proj-faulty", "-o", "json").stdout)
    conditions = {condition["type"]: condition["status"] for condition in namespace["status"]["conditions"]}
    assert namespace["status"]["phase"] == "Terminating"
    assert conditions["NamespaceFinalizersRemaining"] == "True"
    embedded.host.faults = Faults()
    assert embedded.pods.delete(OWNER, purge=True).purged


def test_other_users_of_the_folder_see_the_same_faults(embedded: EmbeddedLfgpods) -> None:
    embedded.host.faults = Faults(api_down=True)
    assert EmbeddedHost(embedded.host.folder).faults == Faults(api_down=True)
