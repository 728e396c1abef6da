"""The kubectl verb that runs a command in a container: exec."""

from __future__ import annotations

import subprocess

from lfgpods.core.errors import HostError
from lfgpods.hosts.base import Process
from lfgpods.hosts.embedded.cluster.cluster import Cluster
from lfgpods.hosts.embedded.cluster.errors import KubectlError
from lfgpods.hosts.embedded.cluster.objects import Record
from lfgpods.hosts.embedded.kubectl.arguments import Arguments
from lfgpods.hosts.embedded.kubectl.get import find_pod
from lfgpods.hosts.embedded.kubectl.streams import ExecProcess
from lfgpods.hosts.local import LocalProcess


def start(cluster: Cluster, arguments: Arguments) -> Process:
    """Start the command in the container. Raises KubectlError where kubectl does, and HostError if it cannot start."""
    command = arguments.command if arguments.command is not None else arguments.words[1:]
    if not arguments.words or not command:
        raise KubectlError("error: you must specify at least one command for the container")
    objects = cluster.refresh()
    pod = find_pod(objects, arguments.namespace, arguments.words[0])
    name = pod.obj["spec"]["containers"][0]["name"]
    _check_pod(pod, arguments.value("container", name), name)
    container = cluster.kubelet.container(pod)
    if not cluster.kubelet.is_running(pod):
        raise KubectlError(f'error: unable to upgrade connection: container not found ("{name}")')
    if problem := container.find_program(command[0]):
        raise KubectlError(
            "error: Internal error occurred: Internal error occurred: error executing command in container: failed to "
            "exec in container: OCI runtime exec failed: exec failed: unable to start container process: "
            f'exec: "{command[0]}": {problem}'
        )
    argv, variables = container.enter(command)
    try:
        child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, env=variables
        )
    except OSError as error:
        raise HostError(f"{command[0]} cannot be started: {error}", "Check the command and its length.") from error
    inner = LocalProcess(child, ends_with_us=False)
    return ExecProcess(inner, stdin=arguments.on("stdin"), dropped_after=objects.faults.exec_dropped_after)


def _check_pod(pod: Record, asked: str, name: str) -> None:
    """Raise KubectlError unless POD has a node and has not completed, and the container ASKED for is NAME."""
    phase = pod.obj["status"]["phase"]
    if asked != name:
        raise KubectlError(f"error: container {asked} is not valid for pod {pod.name} out of: {name}")
    if phase in ("Failed", "Succeeded"):
        raise KubectlError(f"error: cannot exec into a container in a completed pod; current phase is {phase}")
    if "nodeName" not in pod.obj["spec"]:
        raise KubectlError(f"error: unable to upgrade connection: pod {pod.name} does not have a host assigned")
