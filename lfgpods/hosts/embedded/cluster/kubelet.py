"""The scheduler and kubelet: they give a pod its node, container and status, and end it. One step per call."""

from __future__ import annotations

import os
import re
import shutil
import signal
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

from lfgpods.core.objects import Object
from lfgpods.core.spec import quantity
from lfgpods.hosts.embedded.cluster.kinds import CLAIM, POD, VOLUME
from lfgpods.hosts.embedded.cluster.nodes import NODE_NAME, capacity
from lfgpods.hosts.embedded.cluster.objects import Objects, Record, timestamp
from lfgpods.hosts.embedded.sandbox.container import Container, Plan, StartError

BACKOFF = 10.0
BACKOFF_LIMIT = 300.0
PULL_BACKOFF_AFTER = 1.0
"""Seconds from ErrImagePull to ImagePullBackOff."""

_IMAGE = re.compile(r"[a-zA-Z0-9][\w.:/@-]*")
_SCHEDULER: Object = {"component": "default-scheduler"}
_KUBELET: Object = {"component": "kubelet", "host": NODE_NAME}


class Kubelet:
    """Runs the pods of the cluster in FOLDER; each run of a container has a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def provisioned(self) -> Path:
        """The folder that holds the provisioned volumes."""
        return self._folder / "provisioned"

    def container(self, pod: Record) -> Container:
        return Container(self._folder / "pods" / pod.uid / str(pod.private.get("run", 0)))

    def earlier_container(self, pod: Record) -> Container | None:
        run = pod.private.get("run", 0)
        return Container(self._folder / "pods" / pod.uid / str(run - 1)) if run else None

    def is_running(self, pod: Record) -> bool:
        return pod.private.get("step") in ("started", "running") and self.container(pod).exit_code() is None

    def sync(self, objects: Objects, pod: Record) -> None:
        """Move POD one step forward."""
        if pod.is_terminating:
            self._terminate(objects, pod)
            return
        if pod.obj["status"].get("phase") in ("Failed", "Succeeded"):
            return
        step = pod.private.setdefault("step", "pending")
        {
            "pending": self._schedule,
            "creating": self._start,
            "started": self._check,
            "running": self._check,
            "waiting": self._retry,
        }[step](objects, pod)

    def _schedule(self, objects: Objects, pod: Record) -> None:
        reason = self._unschedulable(objects, pod)
        if reason:
            message = f"0/1 nodes are available: {reason}."
            _condition(pod, objects, "PodScheduled", False, "Unschedulable", message)
            objects.add_event(pod, "Warning", "FailedScheduling", message, _SCHEDULER, repeat=False)
            return
        pod.obj["spec"]["nodeName"] = NODE_NAME
        message = f"Successfully assigned {pod.namespace}/{pod.name} to {NODE_NAME}"
        objects.add_event(pod, "Normal", "Scheduled", message, _SCHEDULER)
        status = pod.obj["status"]
        status.update(hostIP="127.0.0.1", hostIPs=[{"ip": "127.0.0.1"}], startTime=objects.time, observedGeneration=1)
        _condition(pod, objects, "Initialized", True)
        _condition(pod, objects, "PodScheduled", True)
        pod.private.update(step="creating", since=objects.now)
        self._set_status(objects, pod, ready=False, state={"waiting": {"reason": "ContainerCreating"}})

    def _unschedulable(self, objects: Objects, pod: Record) -> str:
        if objects.faults.unschedulable:
            return "1 node(s) were unschedulable"
        for volume in pod.obj["spec"].get("volumes") or []:
            name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            claim = objects.find(CLAIM, pod.namespace, name) if name else None
            if name and claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            if claim and claim.is_terminating:
                return f'persistentvolumeclaim "{name}" is being deleted'
            if claim and claim.obj["status"]["phase"] != "Bound":
                return "1 pod has unbound immediate PersistentVolumeClaims"
        short = [f"1 Insufficient {name}" for name, amount in capacity().items() if _requested(pod, name) > amount]
        return ", ".join(short)

    def _start(self, objects: Objects, pod: Record) -> None:
        container = pod.obj["spec"]["containers"][0]
        image = container["image"]
        if not _IMAGE.fullmatch(image):
            reason = f'couldn\'t parse image reference "{image}": invalid reference format'
            message = f'Failed to apply default image tag "{image}": {reason}'
            self._set_waiting(objects, pod, "InvalidImageName", message)
            objects.add_event(pod, "Warning", "InspectFailed", message, _KUBELET)
            return
        if objects.faults.image_pull:
            reason = f'failed to resolve reference "{image}": pull access denied, repository does not exist'
            message = f'rpc error: code = NotFound desc = failed to pull and unpack image "{image}": {reason}'
            self._set_waiting(objects, pod, "ErrImagePull", message, until=objects.now + PULL_BACKOFF_AFTER)
            objects.add_event(pod, "Warning", "Failed", f'Failed to pull image "{image}": {message}', _KUBELET)
            objects.add_event(pod, "Warning", "Failed", "Error: ErrImagePull", _KUBELET)
            return
        if objects.now - pod.private["since"] < objects.faults.slow_start:
            return
        volumes, problem = self._volumes(objects, pod)
        if problem:
            objects.add_event(pod, "Warning", "FailedMount", problem, _KUBELET, repeat=False)
            return
        name = container["name"]
        try:
            self.container(pod).start(_plan(pod, container, volumes), self._folder)
        except StartError as error:
            self._exited(objects, pod, 128, f"failed to start container: {error}")
            return
        pod.private.update(step="started", started=objects.now, container=uuid.uuid4().hex * 2)
        for reason, message in (
            ("Pulled", f'Container image "{image}" already present on machine'),
            ("Created", f"Created container {name}"),
            ("Started", f"Started container {name}"),
        ):
            objects.add_event(pod, "Normal", reason, message, _KUBELET)

    def _volumes(self, objects: Objects, pod: Record) -> tuple[dict[str, str], str]:
        """The folder on this machine for each mount path, and why a volume cannot be mounted, if one cannot."""
        folders: dict[str, str] = {}
        for volume in pod.obj["spec"].get("volumes") or []:
            source, name = volume.get("hostPath"), volume["name"]
            if "persistentVolumeClaim" in volume:
                claim = objects.find(CLAIM, pod.namespace, volume["persistentVolumeClaim"]["claimName"])
                bound = objects.find(VOLUME, "", claim.obj["spec"].get("volumeName", "")) if claim else None
                if bound is not None:
                    source, name = bound.obj["spec"].get("hostPath"), bound.name
            if "emptyDir" in volume:
                source = {
                    "path": str(self._folder / "pods" / pod.uid / "empty" / volume["name"]),
                    "type": "DirectoryOrCreate",
                }
            if source is None:
                return {}, f'MountVolume.SetUp failed for volume "{name}" : the embedded host has no such volumes'
            path = Path(source["path"])
            if source.get("type") in ("DirectoryOrCreate", "", None):
                path.mkdir(parents=True, exist_ok=True)
            if not path.is_dir():
                what = f"hostPath type check failed: {path} is not a directory"
                return {}, f'MountVolume.SetUp failed for volume "{name}" : {what}'
            folders[volume["name"]] = str(path)
        mounts = pod.obj["spec"]["containers"][0].get("volumeMounts") or []
        return {mount["mountPath"]: str(Path(folders[mount["name"]], mount.get("subPath", ""))) for mount in mounts}, ""

    def _check(self, objects: Objects, pod: Record) -> None:
        """Check the container. It becomes Running at the second check, so that one that exits at once never does."""
        container = self.container(pod)
        code = container.exit_code()
        if objects.faults.crash_loop and code is None:
            container.end(signal.SIGKILL)
            code = 1
        if code is not None:
            pod.obj["status"]["phase"] = "Running"
            self._exited(objects, pod, code, "")
        elif pod.private["step"] == "started":
            pod.private["step"] = "running"
            pod.obj["status"]["phase"] = "Running"
            self._set_status(
                objects, pod, ready=True, state={"running": {"startedAt": timestamp(pod.private["started"])}}
            )

    def _exited(self, objects: Objects, pod: Record, code: int, message: str) -> None:
        """Handle a container that has exited: restart it with back-off, as its restartPolicy says."""
        self.container(pod).end(signal.SIGKILL)  # the processes that its first process left behind
        private = pod.private
        if objects.now - private.get("started", objects.now) > 2 * BACKOFF_LIMIT:
            private["backoff"] = 0.0
        private["last"] = _terminated(pod, objects, code, message)
        policy = pod.obj["spec"]["restartPolicy"]
        if policy == "Never" or (policy == "OnFailure" and code == 0):
            pod.obj["status"]["phase"] = "Succeeded" if code == 0 else "Failed"
            self._set_status(objects, pod, ready=False, state={"terminated": private["last"]}, last=False)
            return
        delay = private.get("backoff", 0.0)
        private["backoff"] = min(BACKOFF_LIMIT, delay * 2 or BACKOFF)
        private.update(step="waiting", until=objects.now + delay, run=private.get("run", 0) + 1, restart=True)
        if delay:
            name = pod.obj["spec"]["containers"][0]["name"]
            message = (
                f"back-off {int(delay)}s restarting failed container={name} pod={pod.name}_{pod.namespace}({pod.uid})"
            )
            self._set_status(
                objects, pod, ready=False, state={"waiting": {"reason": "CrashLoopBackOff", "message": message}}
            )
            objects.add_event(pod, "Warning", "BackOff", "Back-off restarting failed container", _KUBELET)
        else:
            self._set_status(objects, pod, ready=False, state={"terminated": private["last"]}, last=False)

    def _set_waiting(
        self, objects: Objects, pod: Record, reason: str, message: str, until: float | None = None
    ) -> None:
        pod.private.update(step="waiting", until=until or float("inf"), restart=False)
        self._set_status(objects, pod, ready=False, state={"waiting": {"reason": reason, "message": message}})

    def _retry(self, objects: Objects, pod: Record) -> None:
        private = pod.private
        pulling = not private["restart"] and private["until"] != float("inf")
        if pulling and objects.faults.image_pull:
            if objects.now >= private["until"] and private.get("reason") != "ImagePullBackOff":
                image = pod.obj["spec"]["containers"][0]["image"]
                self._set_waiting(
                    objects, pod, "ImagePullBackOff", f'Back-off pulling image "{image}"', until=objects.now
                )
                objects.add_event(pod, "Warning", "Failed", "Error: ImagePullBackOff", _KUBELET, repeat=False)
                private["reason"] = "ImagePullBackOff"
            return
        if pulling or objects.now >= private["until"]:
            private["restarts"] = private.get("restarts", 0) + (1 if private["restart"] else 0)
            private.update(step="creating", since=objects.now)
            self._start(objects, pod)

    def _terminate(self, objects: Objects, pod: Record) -> None:
        """Terminate a deleted pod: send TERM, then KILL after the grace period, then remove the object."""
        private = pod.private
        container = self.container(pod)
        if private.get("step") not in ("started", "running"):
            self._remove(objects, pod)
            return
        if "kill_at" not in private:
            grace = float(pod.obj["metadata"].get("deletionGracePeriodSeconds", 30))
            private["kill_at"] = objects.now + grace
            container.end(signal.SIGTERM if grace else signal.SIGKILL)
            message = f"Stopping container {pod.obj['spec']['containers'][0]['name']}"
            objects.add_event(pod, "Normal", "Killing", message, _KUBELET)
        if not container.has_ended():
            if objects.now >= private["kill_at"]:
                container.end(signal.SIGKILL)
            return
        if "last" in private and private.get("gone"):
            self._remove(objects, pod)
            return
        private["gone"] = True
        private["last"] = _terminated(pod, objects, container.exit_code() or 0, "")
        self._set_status(objects, pod, ready=False, state={"terminated": private["last"]}, last=False)

    def kill(self, pod: Record) -> None:
        """Kill the processes of a pod at once and remove its folder; its volumes stay."""
        container = self.container(pod)
        container.end(signal.SIGKILL)
        container.wait()
        shutil.rmtree(self._folder / "pods" / pod.uid, ignore_errors=True)

    def _remove(self, objects: Objects, pod: Record) -> None:
        objects.remove(pod)
        shutil.rmtree(self._folder / "pods" / pod.uid, ignore_errors=True)

    def _set_status(self, objects: Objects, pod: Record, *, ready: bool, state: Object, last: bool = True) -> None:
        """Set the state of the container in the status of the pod, and the conditions that follow from it."""
        container = pod.obj["spec"]["containers"][0]
        private = pod.private
        shown: dict[str, Any] = {
            "image": container["image"],
            "imageID": "",
            "lastState": {"terminated": private["last"]} if last and "last" in private else {},
            "name": container["name"],
            "ready": ready,
            "restartCount": private.get("restarts", 0),
            "started": ready,
            "state": state,
        }
        if "container" in private:
            shown.update(containerID=f"embedded://{private['container']}", imageID=f"embedded://{container['image']}")
            resources = container.get("resources") or {}
            allocated = resources.get("requests") or {}
            user = {"linux": {"gid": os.getgid(), "supplementalGroups": [os.getgid()], "uid": os.getuid()}}
            mounts = [{k: m[k] for k in ("mountPath", "name")} for m in container.get("volumeMounts") or []]
            shown.update(allocatedResources=allocated, resources=resources, user=user, volumeMounts=mounts)
            pod.obj["status"].update(podIP="127.0.0.1", podIPs=[{"ip": "127.0.0.1"}])
            pod.obj["status"].update(allocatedResources=allocated, resources=resources)
        pod.obj["status"]["containerStatuses"] = [shown]
        message = f"containers with unready status: [{container['name']}]"
        for kind in ("Ready", "ContainersReady"):
            if ready:
                _condition(pod, objects, kind, True)
            else:
                _condition(pod, objects, kind, False, "ContainersNotReady", message)


def new_status() -> Object:
    return {"phase": "Pending", "qosClass": "Burstable"}


def delete_pod(objects: Objects, pod: Record, grace: int | None = None) -> None:
    """Start to delete POD with a grace period of GRACE seconds; the default is the one in its spec."""
    if pod.is_terminating or pod.kind is not POD:
        return
    seconds = pod.obj["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace
    pod.obj["metadata"].update(deletionGracePeriodSeconds=seconds, deletionTimestamp=timestamp(objects.now + seconds))


def _plan(pod: Record, container: Object, volumes: dict[str, str]) -> Plan:
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    environment = {entry["name"]: entry["value"] for entry in container.get("env") or [] if "value" in entry}
    command = [*(container.get("command") or ["sh", "-c", "exit 0"]), *(container.get("args") or [])]
    return Plan(
        hostname=pod.name[:63],
        command=tuple(command),
        workdir=container.get("workingDir") or "/",
        environment=environment,
        volumes=volumes,
        memory=int(quantity(limit)) if limit else None,
    )


def _requested(pod: Record, name: str) -> Decimal:
    requests = [(c.get("resources") or {}).get("requests") or {} for c in pod.obj["spec"]["containers"]]
    return sum((quantity(request[name]) for request in requests if name in request), Decimal(0))


def _terminated(pod: Record, objects: Objects, code: int, message: str) -> Object:
    ended: Object = {
        "containerID": f"embedded://{pod.private.get('container', '')}",
        "exitCode": code,
        "finishedAt": objects.time,
        "reason": "Completed" if code == 0 else "StartError" if message else "Error",
        "startedAt": timestamp(pod.private.get("started", objects.now)),
    }
    return {**ended, "message": message} if message else ended


def _condition(pod: Record, objects: Objects, kind: str, value: bool, reason: str = "", message: str = "") -> None:
    """Set a condition; its transition time changes only with its status."""
    conditions: list[Object] = pod.obj["status"].setdefault("conditions", [])
    status = "True" if value else "False"
    known = next((condition for condition in conditions if condition["type"] == kind), None)
    since = known["lastTransitionTime"] if known and known["status"] == status else objects.time
    condition: Object = {
        "lastProbeTime": None,
        "lastTransitionTime": since,
        "observedGeneration": 1,
        "status": status,
        "type": kind,
    }
    if reason:
        condition.update(reason=reason, message=message)
    if known:
        conditions[conditions.index(known)] = condition
    else:
        conditions.append(condition)
