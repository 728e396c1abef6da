"""The script for the pod, in each shell that pods have. A fake kubectl runs it on this machine."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lfgpods.core.errors import KubernetesError, OutcomeUnknownError, PodNotRunningError, TimeLimitError, UsageError
from lfgpods.exec.command import Command, Invocation
from lfgpods.exec.shell import Shell
from lfgpods.hosts.local import LocalHost
from lfgpods.kube.kubectl import Kubectl
from tests.waiting import eventually

SHELLS = [shell for shell in ("dash", "bash", "busybox sh") if shutil.which(shell.split()[0])]


class Pod:
    """Runs commands as if in a pod with SHELL as its `sh`."""

    def __init__(self, folder: Path, shell: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        fake = folder / "kubectl"
        fake.write_text(f'#!/bin/sh\n# exec -i -n NAMESPACE POD -- sh ARGUMENT...\nshift 7\nexec {shell} "$@"\n')
        fake.chmod(0o755)
        self.kubectl = Kubectl(LocalHost(), [str(fake)])
        self.stdout = bytearray()
        self.stderr = bytearray()

    def run(
        self, line: str | None = None, *argv: str, workdir: str | None = None, **options: Any
    ) -> tuple[int, bytes, bytes]:
        self.stdout.clear()
        self.stderr.clear()
        sinks = {"on_stdout": self.stdout.extend, "on_stderr": self.stderr.extend}
        invocation = Invocation(Command(line, argv, workdir), **{**sinks, **options})
        with closing(Shell(self.kubectl, "namespace", "pod")) as shell:
            code = shell.run(invocation)
        return code, bytes(self.stdout), bytes(self.stderr)


@pytest.fixture
def in_each_shell(tmp_path: Path) -> Callable[[Callable[[Pod], object]], None]:
    """Runs a check in every shell at once. For checks that wait for seconds."""

    def run(check: Callable[[Pod], object]) -> None:
        pods = [Pod(tmp_path / shell.split()[0], shell) for shell in SHELLS]
        with ThreadPoolExecutor(len(pods)) as pool:
            list(pool.map(check, pods))

    return run


InEachShell = Callable[[Callable[[Pod], object]], None]


@pytest.fixture(params=SHELLS)
def pod(request: pytest.FixtureRequest, tmp_path: Path) -> Pod:
    return Pod(tmp_path, request.param)


def test_the_streams_stay_apart_and_the_exit_code_is_that_of_the_command(pod: Pod) -> None:
    assert pod.run("echo out; echo err >&2; exit 7") == (7, b"out\n", b"err\n")
    assert pod.run("true") == (0, b"", b"")
    assert pod.run("kill -9 $$")[0] == 137


def test_arguments_arrive_unchanged(pod: Pod) -> None:
    words = ("%s|", "a b", "", "$(id)", "`id`", "é\n\\n", "'\"", "-n", "*", "\udcff\x01", "%b\\0101")
    assert pod.run(None, "printf", *words)[1] == b"".join(os.fsencode(word) + b"|" for word in words[1:])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4))
def test_any_arguments_arrive_unchanged(pod: Pod, words: list[str]) -> None:
    assert pod.run(None, "printf", "%s|", *words)[1] == "".join(f"{word}|" for word in words or [""]).encode()


def test_a_long_line_arrives_complete(pod: Pod) -> None:
    assert pod.run(f"echo '{'y' * 300_000}' | wc -c")[1].strip() == b"300001"


def test_binary_data_passes_in_both_directions(pod: Pod) -> None:
    data = os.urandom(3_000_000)
    assert pod.run("sha256sum", stdin=io.BytesIO(data))[1].split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert pod.run("cat", stdin=io.BytesIO(b"a\0b\n\xff"))[1] == b"a\0b\n\xff"
    assert len(pod.run("head -c 5000000 /dev/zero")[1]) == 5_000_000


def test_the_command_sees_the_end_of_its_stdin(pod: Pod) -> None:
    assert pod.run("cat; echo end")[1] == b"end\n"
    assert pod.run("cat; echo end", stdin=io.BytesIO(b""))[1] == b"end\n"
    assert pod.run("head -c 3; echo; echo more", stdin=io.BytesIO(b"x" * 3_000_000))[1] == b"xxx\nmore\n"


def test_input_that_breaks_off_kills_the_command_before_it_sees_an_end(in_each_shell: InEachShell) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell():
                raise OSError("the disk is gone")
            return super().read(3)

    def check(pod: Pod) -> None:
        done = pod.folder / "done"
        pod.run(f"cat; echo yes > '{done}'", stdin=Broken(b"abcdef"))
        assert not done.exists()

    in_each_shell(check)


def test_non_blocking_input_is_waited_for(pod: Pod) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with os.fdopen(reader, "rb", buffering=0) as stdin:

        def write_late() -> None:
            os.write(writer, b"late")
            os.close(writer)

        late = threading.Timer(0.3, write_late)
        os.write(writer, b"early ")
        late.start()
        assert pod.run("cat", stdin=stdin)[1] == b"early late"
        late.join()


def test_a_time_limit_applies_while_a_sink_blocks(in_each_shell: InEachShell) -> None:
    def check(pod: Pod) -> None:
        pid = pod.folder / "pid"

        def slow_reader(_: bytes) -> None:
            eventually(lambda: not is_running(pid.read_text().strip()), within=20)

        with pytest.raises(TimeLimitError):
            pod.run(f"echo $$ > {pid}; echo up; sleep 60", timeout=0.5, on_stdout=slow_reader)

    in_each_shell(check)


@pytest.mark.skipif(
    subprocess.run(["env", "--default-signal=INT", "true"], capture_output=True, check=False).returncode != 0,
    reason="env cannot reset signals here",
)
@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shell != "busybox sh"])
def test_a_command_can_be_interrupted_if_env_can_reset_signals(tmp_path: Path, shell: str) -> None:
    pod = Pod(tmp_path, shell)
    assert pod.run("trap 'echo caught; exit 9' INT; kill -INT $$; sleep 5")[:2] == (9, b"caught\n")


def test_a_command_runs_in_its_working_directory(pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LFGPODS_WORKSPACE", "/usr")
    assert pod.run("pwd")[1] == b"/usr\n"
    assert pod.run("pwd", workdir=str(tmp_path))[1].decode() == f"{tmp_path}\n"
    with pytest.raises(UsageError, match="/no/such"):
        pod.run("pwd", workdir="/no/such")


def test_a_time_limit_kills_a_command_that_does_not_read_its_input(in_each_shell: InEachShell) -> None:
    def check(pod: Pod) -> None:
        pid = pod.folder / "pid"
        with pytest.raises(TimeLimitError, match="ended after"):
            pod.run(f"echo $$ > {pid}; echo begun; sleep 60", stdin=io.BytesIO(b"x" * 3_000_000), timeout=0.3)
        assert bytes(pod.stdout) == b"begun\n"
        assert not is_running(pid.read_text().strip())

    in_each_shell(check)


def test_a_time_limit_kills_the_process_group_and_keeps_the_output(in_each_shell: InEachShell) -> None:
    def check(pod: Pod) -> None:
        pids = pod.folder / "pids"
        line = f"echo begun; (trap '' TERM; echo $$ >> {pids}; exec sleep 60) & echo $! >> {pids}; sleep 60"
        with pytest.raises(TimeLimitError, match="ended after"):
            pod.run(line, timeout=0.3)
        assert bytes(pod.stdout) == b"begun\n"
        for pid in pids.read_text().split():
            eventually(lambda pid=pid: not is_running(pid))  # type: ignore[misc]

    in_each_shell(check)


def test_a_command_is_killed_when_its_caller_is_gone(in_each_shell: InEachShell) -> None:
    class CallerIsGoneError(Exception):
        pass

    def leave(_: bytes) -> None:
        raise CallerIsGoneError

    def check(pod: Pod) -> None:
        with pytest.raises(CallerIsGoneError):
            pod.run(f"echo $$ > {pod.folder}/pid; echo up; sleep 60", on_stdout=leave)
        pid = (pod.folder / "pid").read_text().strip()
        eventually(lambda: not is_running(pid))

    in_each_shell(check)


def test_a_process_left_in_the_background_lives_on(pod: Pod, tmp_path: Path) -> None:
    assert pod.run(f"sleep 60 > /dev/null 2>&1 & echo $! > {tmp_path}/pid")[0] == 0
    pid = (tmp_path / "pid").read_text().strip()
    assert is_running(pid)
    os.kill(int(pid), 9)


def test_a_background_process_that_holds_the_streams_does_not_delay_the_result(pod: Pod) -> None:
    assert pod.run("sleep 60 & echo $!")[0] == 0
    os.kill(int(pod.stdout), 9)


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def fake(tmp_path: Path, script: str) -> Pod:
    pod = Pod(tmp_path, "sh")
    (tmp_path / "kubectl").write_text(f"#!/bin/sh\n{script}\n")
    return pod


@pytest.mark.parametrize("code", [0, 1, 137])
def test_without_a_trailer_the_outcome_is_unknown_whatever_the_exit_code(tmp_path: Path, code: int) -> None:
    script = f'read -r script; read -r token; echo "$token start"; echo "$token start" >&2; echo some; exit {code}'
    pod = fake(tmp_path, script)
    with pytest.raises(OutcomeUnknownError, match="outcome unknown"):
        pod.run("true")
    assert bytes(pod.stdout) == b"some\n"


def test_an_end_without_a_start_and_without_an_error_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(OutcomeUnknownError):
        fake(tmp_path, "cat > /dev/null & exit 0").run("true")
    with pytest.raises(OutcomeUnknownError):
        fake(tmp_path, "kill -9 $$").run("true")


def test_streams_that_break_off_before_a_start_are_unknown(tmp_path: Path) -> None:
    said = "error: error reading from error stream: websocket: close 1006 (abnormal closure): unexpected EOF"
    with pytest.raises(OutcomeUnknownError):
        fake(tmp_path, f"read -r script; read -r token; echo '{said}' >&2; exit 1").run("true")


def test_a_trailer_on_one_stream_only_is_unknown(tmp_path: Path) -> None:
    script = 'read -r script; read -r token; echo "$token start" >&2; echo "$token 0" >&2; exit 0'
    with pytest.raises(OutcomeUnknownError):
        fake(tmp_path, script).run("true")


@pytest.mark.parametrize(
    ("stderr", "error", "code"),
    [
        ('Error from server (NotFound): pods "p" not found', PodNotRunningError, "pod_not_running"),
        ('error: unable to upgrade connection: container not found ("c")', PodNotRunningError, "pod_not_running"),
        ('OCI runtime exec failed: exec: "sh": executable file not found in $PATH', KubernetesError, "no_shell"),
        ("The connection to the server 1.2.3.4:6443 was refused - did you", KubernetesError, "cluster_unreachable"),
        ('Error from server (Forbidden): pods "p" is forbidden', KubernetesError, "forbidden"),
        # kubectl 1.37 shows the server's refusal of an exec without its reason.
        ('error: unable to upgrade connection: pods "p" not found', PodNotRunningError, "pod_not_running"),
        ('error: unable to upgrade connection: pods "p" is forbidden: User "u"', KubernetesError, "forbidden"),
        ("error: unable to upgrade connection: pod p does not have a host assigned", KubernetesError, "bad_request"),
        ("error: unable to upgrade connection: error dialing backend: x", KubernetesError, "node_unreachable"),
        ("error: unable to upgrade connection: something else", KubernetesError, "kubectl"),
    ],
)
def test_a_command_that_kubectl_refuses_has_not_run(
    tmp_path: Path, stderr: str, error: type[KubernetesError], code: str
) -> None:
    (tmp_path / "said").write_text(stderr)
    with pytest.raises(error) as refused:
        fake(tmp_path, f"cat {tmp_path}/said >&2; exit 1").run("true")
    assert refused.value.code == code
    assert not isinstance(refused.value, OutcomeUnknownError)


def test_a_long_command_that_kubectl_refuses_fails_with_the_reason(tmp_path: Path) -> None:
    pod = fake(tmp_path, 'echo "The connection to the server 1.2.3.4:6443 was refused" >&2; exit 1')
    with pytest.raises(KubernetesError) as refused:
        pod.run("x" * 1_000_000)
    assert refused.value.code == "cluster_unreachable"


def test_warnings_of_kubectl_do_not_reach_the_stderr_of_the_command(tmp_path: Path) -> None:
    pod = Pod(tmp_path, "sh")
    wrapped = (tmp_path / "kubectl").read_text().replace("shift 7", 'echo "Defaulted container c" >&2; shift 7')
    (tmp_path / "kubectl").write_text(wrapped)
    assert pod.run("echo mine >&2") == (0, b"", b"mine\n")


def test_stdin_is_not_read_if_nothing_runs(tmp_path: Path) -> None:
    stdin = io.BytesIO(b"precious")
    with pytest.raises(PodNotRunningError):
        fake(tmp_path, 'echo "Error from server (NotFound): pods \\"p\\" not found" >&2; exit 1').run(
            "cat", stdin=stdin
        )
    assert stdin.tell() == 0


WRONG = [Command(), Command("a", ("b",)), Command("a\0b"), Command(argv=("a", "\0")), Command("echo \ud83d")]


@pytest.mark.parametrize("command", WRONG)
def test_an_impossible_command_is_refused_before_anything_runs(tmp_path: Path, command: Command) -> None:
    with pytest.raises(UsageError):
        fake(tmp_path, f"cat > {tmp_path}/said").run(command.line, *command.argv)


def test_many_threads_get_their_own_results(tmp_path: Path) -> None:
    results: dict[int, bytes] = {}

    pods = [Pod(tmp_path / str(n), "sh") for n in range(8)]

    def run(n: int) -> None:
        results[n] = pods[n].run(f"for i in 1 2 3; do echo {n}; done")[1]

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == {n: f"{n}\n".encode() * 3 for n in range(8)}
