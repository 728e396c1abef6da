"""Waiting for a pod: a watch rather than a clock, and an early end with its cause when it cannot become ready."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from lfgpods.errors import KubernetesError, TimeLimitError
from lfgpods.kubectl import Kubectl
from lfgpods.labels import NUDGED, REVISION, Object, metadata
from lfgpods.naming import Names
from lfgpods.state import UNBOUND_CLAIM, diagnose, has_ended, is_going, newest_pod, refusal

GRACE = 10.0
"""Seconds that a failure which may pass (a pull that is tried again, a node that is being added) is given."""
POD_EXPECTED_AFTER = 3.0
RELIST_AFTER = 10.0
REPLACEMENTS = 3

OnStep = Callable[[str], object]


def wait_ready(kubectl: Kubectl, names: Names, revision: str, timeout: float, on_step: OnStep) -> Object:
    """Wait for the pod of REVISION, a running one of the same revision included, and return it.

    Raises KubernetesError with cause and remedy when it cannot become ready, TimeLimitError after TIMEOUT seconds.
    """
    start = time.monotonic()
    deadline = start + timeout
    pods: dict[str, Object] = {}
    failing_since: dict[str, float] = {}
    looked = start
    replaced: set[str] = set()
    step = "waiting for the pod to be made"
    while (left := deadline - time.monotonic()) > 0:
        for changed in kubectl.watch_pods(names.namespace, f"app={names.namespace}", left):
            if changed is not None and changed["metadata"]["name"] not in replaced:
                pods[changed["metadata"]["name"]] = changed
            now = time.monotonic()
            pod = newest_pod((one for one in pods.values() if not is_going(one)), revision)
            if pod is None:
                on_step(step)
                if now - looked > POD_EXPECTED_AFTER:
                    looked = now
                    revision = _expected_revision(kubectl, names) or revision
                continue
            diagnosis = diagnose(pod)
            step = diagnosis.step
            on_step(step)
            if diagnosis.ready:
                return pod
            if diagnosis.error is None:
                failing_since.clear()
                continue
            if diagnosis.error.code == UNBOUND_CLAIM and len(replaced) < REPLACEMENTS:
                name = pod["metadata"]["name"]
                _replace_unbound(kubectl, names, name, again=bool(replaced))
                replaced.add(name)
                del pods[name]
                continue
            since = failing_since.setdefault(diagnosis.error.code, now)
            if diagnosis.final or now - since >= GRACE:
                raise diagnosis.error
    raise TimeLimitError(
        f"the pod was not ready after {timeout:g} s: {step}{_last_warning(kubectl, names)}",
        "It goes on starting; look with lfgpods status, and wait longer with --timeout.",
    )


def _replace_unbound(kubectl: Kubectl, names: Names, pod_name: str, *, again: bool) -> None:
    """Have a pod made anew that the scheduler saw before its claim was bound.

    It never ran, and its successor is looked at at once, where it would wait for the scheduler's next round. A
    claim that stays unbound was itself seen before its volume, and waits for a resync (15 s) unless it changes.
    """
    if again:
        nudge = {"metadata": {"annotations": {NUDGED: str(time.time())}}}
        kubectl.patch(f"persistentvolumeclaim/{names.claim}", names.namespace, nudge)
    kubectl.delete([f"pod/{pod_name}"], names.namespace)


def wait_ended(kubectl: Kubectl, names: Names, pods: Iterable[Object], timeout: float, on_step: OnStep) -> None:
    """Wait until nothing runs any more in PODS, nor in any other pod of the owner that is going away.

    Raises TimeLimitError after TIMEOUT seconds. Waits for containers, not for the pods' objects: kubelet
    confirms an ended pod in rounds of ten seconds. A pod that somebody makes meanwhile is not waited for.
    """
    deadline = time.monotonic() + timeout
    selector = f"app={names.namespace}"
    awaited = {pod["metadata"]["name"] for pod in pods}
    while True:
        listed = kubectl.get_pods(names.namespace, selector)
        alive = {
            pod["metadata"]["name"]
            for pod in listed
            if not has_ended(pod) and (is_going(pod) or pod["metadata"]["name"] in awaited)
        }
        if not alive:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise still_running(min(alive), timeout)
        on_step("waiting for the pod to end")
        for changed in kubectl.watch_pods(names.namespace, selector, min(left, RELIST_AFTER)):
            on_step("waiting for the pod to end")
            if changed is not None and has_ended(changed):
                alive.discard(changed["metadata"]["name"])
            if not alive:
                return


def still_running(pod_name: str, timeout: float) -> TimeLimitError:
    return TimeLimitError(
        f"the pod {pod_name} has not ended after {timeout:g} s",
        "It goes on ending; its node may be down: see kubectl get nodes.",
    )


def _expected_revision(kubectl: Kubectl, names: Names) -> str | None:
    """The revision that the Deployment makes pods of now, which is another one once somebody else has changed it.

    Raises KubernetesError where the Deployment says why there is no pod.
    """
    for deployment in kubectl.get([f"deployment/{names.deployment}"], names.namespace):
        if error := refusal(deployment):
            raise error
        return metadata(deployment["spec"]["template"], "annotations").get(REVISION)
    raise KubernetesError(
        "the Deployment was deleted by somebody else while its pod was waited for", "Create again.", code="conflict"
    )


def _last_warning(kubectl: Kubectl, names: Names) -> str:
    try:
        warnings = kubectl.get_warnings(names.namespace)
    except KubernetesError:
        return ""
    if not warnings:
        return ""
    event = warnings[-1]
    return f" ({event.get('reason', '')}: {' '.join(str(event.get('message', '')).split())[:200]})"
