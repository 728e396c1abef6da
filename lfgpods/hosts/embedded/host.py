"""The embedded host: kubectl's command lines answered in this process, every other command run on this machine."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from lfgpods.core.errors import HostError
from lfgpods.hosts.base import Process
from lfgpods.hosts.embedded.cluster.cluster import Cluster
from lfgpods.hosts.embedded.cluster.errors import ApiError, KubectlError
from lfgpods.hosts.embedded.cluster.faults import Faults
from lfgpods.hosts.embedded.cluster.kinds import POD
from lfgpods.hosts.embedded.kubectl import apply, change, get
from lfgpods.hosts.embedded.kubectl.arguments import Arguments, parse
from lfgpods.hosts.embedded.kubectl.streams import ExecProcess, InterpretedProcess, Streams, refused
from lfgpods.hosts.local import LocalHost, LocalProcess

_Verb = Callable[[Cluster, Arguments, Streams], int]
_VERBS: dict[str, _Verb] = {
    "annotate": change.annotate,
    "apply": apply.apply,
    "create": apply.create,
    "delete": change.delete,
    "get": get.get,
    "label": change.label,
    "logs": get.logs,
    "patch": change.patch,
    "scale": change.scale,
    "version": get.version,
    "wait": get.wait,
}
_ROLLOUT: dict[str, _Verb] = {"restart": change.rollout_restart, "status": get.rollout_status}


class EmbeddedHost:
    """A Kubernetes host that lives in FOLDER, for as many processes at once as like; see this package's docstring.

    KUBECTL is how its kubectl is called; a command line that begins otherwise runs on this machine.
    """

    def __init__(self, folder: Path, *, access_host: str | None = None, kubectl: Sequence[str] = ("kubectl",)) -> None:
        self.folder = Path(folder).absolute()
        self.name = f"embedded host {self.folder}"
        self.address = access_host or "localhost"
        self._kubectl = tuple(kubectl)
        self._machine = LocalHost(access_host=access_host)
        self._cluster = Cluster(self.folder)

    capacity = None

    def when_full(self, make_room: Callable[[], object]) -> None:
        """It never is."""

    @property
    def faults(self) -> Faults:
        """What goes wrong on purpose, for every process that uses the folder; set it to change that."""
        return self._cluster.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._cluster.faults = faults

    def open(
        self,
        argv: Sequence[str],
        *,
        after: Sequence[Sequence[str]] = (),
        beside: Sequence[Sequence[str]] = (),
        ends_with_us: bool = False,
    ) -> Process:
        """See Host. `kubectl exec` is taken by itself only, and commands BESIDE others run when those have ended."""
        commands = (*after, argv)
        calls = [self._kubectl_words(command) for command in commands]
        if all(call is None for call in calls) and not beside:
            return self._machine.open(argv, after=after, ends_with_us=ends_with_us)
        try:
            if len(commands) == 1 and not beside and calls[0] is not None:
                arguments = parse(calls[0])
                if arguments.verb == "exec":
                    return self._exec(arguments)
        except KubectlError as error:
            return refused(error)

        def interpret(streams: Streams) -> int:
            for command, call in zip(commands, calls, strict=True):
                if code := self._run(command, call, streams):
                    return code
            for command in beside:
                with closing(self.open(command)) as process:
                    process.close_stdin()
                    streams.pass_on(process, with_stderr=False)
            return 0

        process = InterpretedProcess(interpret)
        if ends_with_us:
            process.close_stdin()
        return process

    def close(self) -> None:
        """Nothing is kept open; pods go on running."""

    def shut_down(self) -> None:
        """End every process of every pod at once and forget all objects; the volumes stay. Meant for tests."""
        self.faults = Faults()
        with self._cluster.change() as world:
            for pod in world.all(POD):
                self._cluster.kubelet.kill(pod)
            for record in world:
                world.remove(record)

    def _run(self, command: Sequence[str], call: Sequence[str] | None, streams: Streams) -> int:
        """COMMAND to its end on STREAMS, interpreted where it is a CALL of kubectl; its exit code."""
        if call is None:
            with closing(self._machine.open(command, ends_with_us=True)) as process:
                process.close_stdin()
                return streams.pass_on(process)
        try:
            arguments = parse(call)
            return _verb(arguments)(self._cluster, arguments, streams)
        except KubectlError as error:
            streams.err(f"{error.text}\n")
            return error.exit_code

    def _kubectl_words(self, argv: Sequence[str]) -> Sequence[str] | None:
        """ARGV without the words that call kubectl, or None where it does not."""
        calls = tuple(self._kubectl)
        program = tuple(itertools.takewhile(lambda word: not word.startswith("-"), calls))
        for prefix in (calls, program):
            if tuple(argv[: len(prefix)]) == prefix:
                return argv[len(prefix) :]
        return None

    def _exec(self, arguments: Arguments) -> Process:
        command = arguments.command if arguments.command is not None else arguments.words[1:]
        if not arguments.words or not command:
            raise KubectlError("error: you must specify at least one command for the container")
        world = self._cluster.look()
        pod = get.find_pod(world, arguments.namespace, arguments.words[0])
        dropped_after = world.faults.exec_dropped_after
        phase, name = pod.obj["status"]["phase"], pod.obj["spec"]["containers"][0]["name"]
        if arguments.value("container", name) != name:
            raise ApiError("BadRequest", f"container {arguments.value('container')} is not valid for pod {pod.name}")
        if phase in ("Failed", "Succeeded"):
            raise KubectlError(f"error: cannot exec into a container in a completed pod; current phase is {phase}")
        if "nodeName" not in pod.obj["spec"]:
            raise ApiError("BadRequest", f"pod {pod.name} does not have a host assigned")
        container = self._cluster.kubelet.container(pod)
        if not self._cluster.kubelet.is_running(pod):
            raise KubectlError(f'error: unable to upgrade connection: container not found ("{name}")')
        if problem := container.find_program(command[0]):
            raise KubectlError(
                "error: Internal error occurred: error executing command in container: failed to exec in container: "
                "OCI runtime exec failed: exec failed: unable to start container process: "
                f'exec: "{command[0]}": {problem}: unknown'
            )
        argv, variables = container.enter(command)
        try:
            child = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, env=variables
            )
        except OSError as error:
            raise HostError(f"{command[0]} cannot be started: {error}", "Check the command and its length.") from error
        inner = LocalProcess(child, ends_with_us=False)
        return ExecProcess(inner, stdin=arguments.on("stdin"), dropped_after=dropped_after)


def _verb(arguments: Arguments) -> _Verb:
    verbs, word = _VERBS, arguments.verb
    if word == "exec":
        raise KubectlError("error: the embedded host takes exec by itself only, not in a sequence of commands")
    if word == "rollout":
        verbs, word = _ROLLOUT, arguments.words[0] if arguments.words else ""
    if word not in verbs:
        raise KubectlError(f'error: unknown command "{word}" for "kubectl" (the embedded host has no such verb)')
    return verbs[word]
