"""The embedded host: runs kubectl commands in this process, and all other commands on this machine."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from lfgpods.hosts.base import Process
from lfgpods.hosts.embedded.cluster.cluster import Cluster
from lfgpods.hosts.embedded.cluster.errors import KubectlError
from lfgpods.hosts.embedded.cluster.faults import Faults
from lfgpods.hosts.embedded.cluster.kinds import POD
from lfgpods.hosts.embedded.kubectl import apply, change, exec, get
from lfgpods.hosts.embedded.kubectl.arguments import Arguments, parse
from lfgpods.hosts.embedded.kubectl.streams import InterpretedProcess, Streams, failed_process
from lfgpods.hosts.local import LocalHost

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
    """A Kubernetes host in FOLDER, which several processes can use; see the docstring of this package.

    Commands that start with KUBECTL run in this process, all others on this machine.
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
        """Do nothing: there is no limit."""

    @property
    def faults(self) -> Faults:
        """The injected faults, for every process that uses the folder. Can be set."""
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
        """See Host. `kubectl exec` runs only as a single command, and the commands BESIDE run after the others."""
        commands = (*after, argv)
        calls = [self._kubectl_words(command) for command in commands]
        if all(call is None for call in calls) and not beside:
            return self._machine.open(argv, after=after, ends_with_us=ends_with_us)
        try:
            if len(commands) == 1 and not beside and calls[0] is not None:
                arguments = parse(calls[0])
                if arguments.verb == "exec":
                    return exec.start(self._cluster, arguments)
        except KubectlError as error:
            return failed_process(error)

        def interpret(streams: Streams) -> int:
            for command, call in zip(commands, calls, strict=True):
                if code := self._run(command, call, streams):
                    return code
            for command in beside:
                with closing(self.open(command)) as process:
                    process.close_stdin()
                    streams.forward(process, with_stderr=False)
            return 0

        process = InterpretedProcess(interpret)
        if ends_with_us:
            process.close_stdin()
        return process

    def close(self) -> None:
        """Do nothing: no connection is open. Pods keep running."""

    def shut_down(self) -> None:
        """Kill all pods and remove all objects; the volumes stay. For tests."""
        self.faults = Faults()
        with self._cluster.transaction() as objects:
            for pod in objects.all(POD):
                self._cluster.kubelet.kill(pod)
            for record in objects:
                objects.remove(record)

    def _run(self, command: Sequence[str], call: Sequence[str] | None, streams: Streams) -> int:
        """Run COMMAND on STREAMS until it ends, in this process if CALL is a kubectl command. Returns its exit code."""
        if call is None:
            with closing(self._machine.open(command, ends_with_us=True)) as process:
                process.close_stdin()
                return streams.forward(process)
        try:
            arguments = parse(call)
            return _verb(arguments)(self._cluster, arguments, streams)
        except KubectlError as error:
            streams.err(f"{error.text}\n")
            return error.exit_code

    def _kubectl_words(self, argv: Sequence[str]) -> Sequence[str] | None:
        """The words after kubectl in ARGV, or None if it is another command."""
        calls = tuple(self._kubectl)
        program = tuple(itertools.takewhile(lambda word: not word.startswith("-"), calls))
        for prefix in (calls, program):
            if tuple(argv[: len(prefix)]) == prefix:
                return argv[len(prefix) :]
        return None


def _verb(arguments: Arguments) -> _Verb:
    verbs, word = _VERBS, arguments.verb
    if word == "exec":
        raise KubectlError("error: the embedded host takes exec by itself only, not in a sequence of commands")
    if word == "rollout":
        verbs, word = _ROLLOUT, arguments.words[0] if arguments.words else ""
    if word not in verbs:
        raise KubectlError(f'error: unknown command "{word}" for "kubectl" (the embedded host has no such verb)')
    return verbs[word]
