"""Several steps in one remote command: each has its own input, output, exit code and error."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from lfgpods.core.errors import HostError, LfgpodsError, TimeLimitError, VolumeError
from lfgpods.hosts.base import Completed, Host, Output, Process
from lfgpods.hosts.local import LocalHost
from lfgpods.hosts.round_trip import Pending, RoundTrip, Step, Steps
from lfgpods.hosts.run import run
from lfgpods.testing import EmbeddedLfgpods, embedded_host
from tests.waiting import eventually

SAY = ("sh", "-c", 'printf "%b" "$1"; printf err >&2; exit "$2"', "sh")
NAMESPACE = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}).encode()
CREATE = ("kubectl", "create", "-f", "-")
GET = ("kubectl", "get", "namespace/a", "-o", "name")


def checked(completed: Completed) -> Completed:
    if completed.exit_code:
        raise VolumeError(f"it ended with {completed.exit_code}", code=str(completed.exit_code))
    return completed


def step(*argv: str, stdin: bytes = b"") -> Step[Completed]:
    return Step(argv, checked, stdin)


def send(host: Host, *steps: Step[Completed]) -> list[Pending[Completed]]:
    trip = RoundTrip()
    pending = [trip.add(one, required=False) for one in steps]
    trip.send(host, timeout=20)
    return pending


@pytest.fixture
def embedded() -> Iterator[EmbeddedLfgpods]:
    with embedded_host() as lfgpods:
        yield lfgpods


@pytest.fixture(params=["embedded", "local"])
def host(request: pytest.FixtureRequest) -> Host:
    return request.getfixturevalue("embedded").host if request.param == "embedded" else LocalHost()


def test_each_step_has_its_own_output(host: Host) -> None:
    first, second = send(host, step(*SAY, "one", "0"), step(*SAY, "two\n", "0"))
    assert (first.result.stdout, first.result.stderr) == (b"one", b"err")
    assert (second.result.stdout, second.result.stderr) == (b"two\n", b"err")


def test_output_of_any_size_arrives_unchanged(host: Host) -> None:
    odd, much, empty = send(
        host, step(*SAY, r"\0377\0000\0342 0\n0", "0"), step("sh", "-c", "yes | head -c 300000"), step("true")
    )
    assert odd.result.stdout == b"\xff\x00\xe2 0\n0"
    assert much.result.stdout == b"y\n" * 150_000
    assert empty.result == Completed(0, b"", b"")


def test_kubectl_and_other_programs_can_both_be_steps(embedded: EmbeddedLfgpods) -> None:
    said, created, found = send(embedded.host, step(*SAY, "one", "0"), step(*CREATE, stdin=NAMESPACE), step(*GET))
    assert said.result.stdout == b"one"
    assert created.result.stdout == b"namespace/a created\n"
    assert found.result.stdout == b"namespace/a\n"


@pytest.mark.parametrize("reader", [0, 1, 2])
def test_stdin_goes_to_its_own_step(reader: int) -> None:
    steps = [step("cat", stdin=b"input" if number == reader else b"") for number in range(3)]
    assert [one.result.stdout for one in send(LocalHost(), *steps)] == [
        b"input" if number == reader else b"" for number in range(3)
    ]


def test_a_second_step_that_reads_stdin_is_refused() -> None:
    trip = RoundTrip()
    trip.add(step("cat", stdin=b"one"))
    with pytest.raises(ValueError, match="only one step"):
        trip.add(step("cat", stdin=b"two"))


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        ((*SAY, "", "3"), "3"),
        (("sh", "-c", "kill -9 $$"), "137"),
        (("no-such-program-at-all",), "127"),
        (("kubectl", "get", "pod/x"), "1"),
        (("kubectl", "get", "--nonsense"), "1"),
        (("kubectl", "exec", "-i", "pod", "--", "true"), "1"),
    ],
)
def test_a_failed_step_ends_the_trip_and_is_the_error_of_all_later_steps(
    embedded: EmbeddedLfgpods, argv: tuple[str, ...], code: str
) -> None:
    before, failed, after = send(embedded.host, step("echo", "before"), step(*argv), step(*CREATE, stdin=NAMESPACE))
    assert before.result.stdout == b"before\n"
    assert (failed.error and failed.error.code, after.error) == (code, failed.error)
    assert run(embedded.host, GET).exit_code == 1, "the step after it ran"
    with pytest.raises(VolumeError):
        assert after.result


def test_the_error_of_a_required_step_is_raised(host: Host) -> None:
    trip = RoundTrip()
    trip.add(step("true"))
    trip.add(step("sh", "-c", "exit 4"))
    trip.add(step("true"), required=False)
    with pytest.raises(VolumeError, match="ended with 4"):
        trip.send(host, timeout=20)


def test_an_optional_step_may_fail_without_undoing_earlier_steps(host: Host) -> None:
    trip = RoundTrip()
    done, refused = trip.add(step("echo", "done")), trip.add(step("sh", "-c", "exit 4"), required=False)
    trip.send(host, timeout=20)
    assert (done.result.stdout, refused.error and refused.error.code) == (b"done\n", "4")


def test_a_single_step_is_sent_without_a_wrapper() -> None:
    sent: list[Sequence[str]] = []

    class Recording(LocalHost):
        def open(self, argv: Sequence[str], *, ends_with_us: bool = False) -> Process:  # type: ignore[override]
            sent.append(argv)
            return super().open(argv, ends_with_us=ends_with_us)

    [only] = send(Recording(), step("cat", stdin=b"input"))
    assert (only.result.stdout, sent) == (b"input", [("cat",)])


def test_a_trip_can_be_sent_again(host: Host, tmp_path: Path) -> None:
    trip = RoundTrip()
    trip.add(step("true"))
    there = trip.add(step("test", "-e", str(tmp_path / "there")))
    with pytest.raises(VolumeError):
        trip.send(host, timeout=20)
    (tmp_path / "there").touch()
    trip.send(host, timeout=20)
    assert there.result.exit_code == 0


class Cut:
    """A process whose streams are truncated and that has no exit code."""

    exit_code: int | None = None

    def __init__(self, stdout: bytes, stderr: bytes) -> None:
        self._output = [Output(stdout, stderr), Output(ended=True)]

    def read(self, timeout: float) -> Output:
        return self._output.pop(0)

    def write(self, data: bytes) -> None: ...
    def close_stdin(self) -> None: ...
    def close(self) -> None: ...


class CutHost(LocalHost):
    def __init__(self, cut: Callable[[Steps], tuple[bytes, bytes]]) -> None:
        super().__init__()
        self._cut = cut

    def open(self, argv: Sequence[str], *, ends_with_us: bool = False) -> Process:  # type: ignore[override]
        assert isinstance(argv, Steps)
        return Cut(*self._cut(argv))


@pytest.mark.parametrize("stderr_came", [True, False])
def test_a_finished_step_keeps_its_result_if_the_host_is_lost(stderr_came: bool) -> None:
    def cut(steps: Steps) -> tuple[bytes, bytes]:
        frame = steps.frame(0).encode()
        return b"one" + frame + b"half of tw", frame if stderr_came else frame[:-1]

    first, second = send(CutHost(cut), step("true"), step("true"))
    assert (first.error is None) == stderr_came
    assert isinstance(second.error, HostError)
    assert (second.error.code, second.error.is_unreachable) == ("host_lost", True)


def test_a_host_without_a_working_shell_is_an_error() -> None:
    class Broken(LocalHost):
        def open(self, argv: Sequence[str], *, ends_with_us: bool = False) -> Process:  # type: ignore[override]
            return super().open(("sh", "-c", "echo out of memory >&2; exit 2"), ends_with_us=ends_with_us)

    first, _ = send(Broken(), step("true"), step("true"))
    assert (first.error and first.error.code, "out of memory" in str(first.error)) == ("bad_answer", True)


def test_an_endless_step_is_a_time_limit_error(host: Host) -> None:
    trip = RoundTrip()
    done, endless = trip.add(step("echo", "done")), trip.add(step("sleep", "100"))
    with pytest.raises(TimeLimitError):
        trip.send(host, timeout=0.5)
    assert (done.result.stdout, isinstance(endless.error, TimeLimitError)) == (b"done\n", True)


def test_the_parser_of_a_step_raises_its_error() -> None:
    def refuse(completed: Completed) -> None:
        raise LfgpodsError("this is no answer", code="odd")

    trip = RoundTrip()
    odd, after = trip.add(Step(("true",), refuse), required=False), trip.add(step("echo"), required=False)
    trip.send(LocalHost(), timeout=20)
    assert (odd.error and odd.error.code, after.error and after.error.code) == ("odd", "odd")


def test_a_running_step_ends_when_its_caller_stops_waiting(embedded: EmbeddedLfgpods, tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/pid; exec sleep 100"
    process = embedded.host.open(Steps([("sh", "-c", script), ("kubectl", "version")]), ends_with_us=True)
    assert process.read(0).ended is False
    pid = str(eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip()))
    closing = threading.Thread(target=process.close)
    closing.start()
    closing.join(5)
    assert not closing.is_alive()
    assert not Path("/proc", pid).exists()
