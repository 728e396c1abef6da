"""Ten thousand hostile inputs: nothing runs that was not to, nothing steers a terminal, nothing is misunderstood."""

from __future__ import annotations

import contextlib
import io
import json
import posixpath
import re
import secrets
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, example, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lfgpods import Command, LfgpodsError, Owner, PodManager, Request
from lfgpods.cli import main
from lfgpods.cli.output import Format, show_manifests, show_pod, show_pods
from lfgpods.core.errors import SettingsError
from lfgpods.core.objects import Object
from lfgpods.core.owners import resolve_owner
from lfgpods.core.settings import load_settings
from lfgpods.core.spec import request_from_limits
from lfgpods.exec.command import Invocation
from lfgpods.exec.pool import ShellPool
from lfgpods.hosts.local import LocalHost
from lfgpods.hosts.round_trip import Steps
from lfgpods.kube.kubectl import Kubectl
from lfgpods.kube.labels import OWNER_ID
from lfgpods.pods import lock
from lfgpods.pods.lifecycle import render
from tests.faults.figures import SEED, Figure, Figures, check, scaled
from tests.faults.grounds import Ground
from tests.faults.hostile import (
    CANARY,
    Clock,
    EndlessError,
    HostileHost,
    Reply,
    TurncoatHost,
    check_error,
    harmless,
    replies,
    requests,
    skeleton,
    texts,
)

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:Generating overly large repr:hypothesis.errors.HypothesisWarning"),
]

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
ROOT = "/mnt/data/user-volumes"
NAMES_FOR_REAL = 200

Test = Callable[..., None]


def tried(
    times: int, phases: Sequence[Phase] = (Phase.explicit, Phase.generate, Phase.shrink)
) -> Callable[[Test], Test]:
    """Run a property TIMES times from the suite's seed."""

    def decorate(test: Test) -> Test:
        limits = hypothesis_settings(
            max_examples=scaled(times),
            deadline=None,
            database=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        )
        return seed(SEED)(limits(test))

    return decorate


@contextlib.contextmanager
def told(figure: Figure, what: object) -> Iterator[None]:
    """Count one input; what goes wrong with it breaks the figure too."""
    figure.tried()
    try:
        yield
    except BaseException as error:
        if len(figure.broken) < 3:
            figure.breaks(f"{what!r:.200}: {type(error).__name__}: {error!s:.200}")
        raise


PLAIN = load_settings({}, Path("/nonexistent/.env"))
USUAL = skeleton(list(render(PLAIN, Owner.project("usual"), Request(ports=(1,)))))


def check_objects(owner: Owner, objects: tuple[Object, ...]) -> None:
    namespace = owner.names.namespace
    for obj in objects:
        metadata = obj["metadata"]
        assert NAME.fullmatch(metadata["name"])
        assert metadata.get("namespace", namespace) == namespace
        assert all(LABEL_VALUE.fullmatch(value) for value in metadata["labels"].values())
        assert sum(len(f"{key}{value}".encode()) for key, value in metadata.get("annotations", {}).items()) < 1 << 18
        if obj["kind"] == "PersistentVolume":
            assert posixpath.split(obj["spec"]["hostPath"]["path"]) == (ROOT, namespace)
        if obj["kind"] == "Namespace":
            assert metadata["annotations"][OWNER_ID] == owner.id
    assert skeleton(list(objects)) == USUAL
    assert json.loads(show_manifests(objects, Format.JSON))["items"] == list(objects)
    assert list(yaml.safe_load_all(show_manifests(objects, Format.YAML))) == list(objects)


def test_names_and_manifests(figures: Figures) -> None:
    figure = figures.begin("Hostile input: names and manifests", "0 wrong", scaled(4000))

    @tried(4000)
    @given(st.none() | texts, st.none() | texts, requests | st.just(Request(ports=(1,))))
    def nothing_breaks_out(project: str | None, conversation: str | None, request: Request) -> None:
        with told(figure, (project, conversation, request)):
            try:
                owner = resolve_owner(project, conversation)
                objects = render(PLAIN, owner, request, conversation_id=conversation)
            except LfgpodsError as error:
                check_error(error)
            else:
                check_objects(owner, objects)

    nothing_breaks_out()
    check(figure)


VARIABLES = (
    "LFGPODS_HOST", "K8S_SSH_HOST", "K8S_SSH_PORT", "K8S_SSH_USERNAME", "K8S_SSH_HOST_KEY_POLICY", "K8S_SSH_KEY_FILE", "LFGPODS_IMAGE",
    "LFGPODS_CPU", "LFGPODS_MEMORY", "LFGPODS_STORAGE_SIZE", "LFGPODS_PORTS", "LFGPODS_TIMEOUT", "LFGPODS_VOLUME_ROOT",
    "LFGPODS_KUBECTL", "LFGPODS_CONTEXT", "LFGPODS_SUDO", "LFGPODS_DATABASE", "LFGPODS_EMBEDDED_FOLDER", "LFGPODS_TEMPLATES",
)  # fmt: skip


def test_settings_and_limits(figures: Figures) -> None:
    figure = figures.begin("Hostile input: settings and limits", "0 wrong", scaled(1000))

    @tried(1000)
    @given(st.dictionaries(st.sampled_from(VARIABLES), texts, max_size=4), st.dictionaries(texts, texts | st.none()))
    @example({"LFGPODS_DATABASE": "~nosuchuser/x"}, {})
    def wrong_ones_are_named(values: dict[str, str], limits: dict[str, str | None]) -> None:
        with told(figure, (values, limits)):
            try:
                load_settings(values, Path("/nonexistent/.env"))
            except SettingsError as error:
                check_error(error, *values, "LFGPODS_*")
            with contextlib.suppress(LfgpodsError):
                request_from_limits("busybox", limits).over(PLAIN.defaults)

    wrong_ones_are_named()
    check(figure)


COMMAND_LINES = st.one_of(
    st.builds(
        lambda owner, image, port, output: (
            ["create", "--project-id", owner, "--image", image, "--port", port, "--dry-run", "-o", output]
        ),
        texts,
        texts | st.just("busybox"),
        texts | st.just("80"),
        st.sampled_from(["table", "json", "yaml", "name"]) | texts,
    ),
    st.builds(lambda owner, output: ["status", "--conversation-id", owner, "-o", output], texts, st.sampled_from(["table", "json"])),
    st.builds(lambda owner: ["delete", "--purge", "--yes", "--project-id", owner], texts),
    st.builds(lambda owner, line, folder: ["exec", "--project-id", owner, "--workdir", folder, "-c", line], texts, texts, texts),
    st.builds(lambda owner, argv: ["exec", "--project-id", owner, "--", *argv], texts, st.lists(texts, max_size=3)),
    st.lists(texts, max_size=3).filter(lambda argv: "demo" not in argv),
)  # fmt: skip


def test_command_lines(figures: Figures, embedded: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = figures.begin("Hostile input: command lines", "0 wrong", scaled(1500))
    monkeypatch.chdir(tmp_path)
    for name, value in embedded.environment.items():
        monkeypatch.setenv(name, value)

    @tried(1500)
    @given(COMMAND_LINES)
    def only_answers_and_errors(argv: list[str]) -> None:
        with told(figure, argv):
            raw = [io.BytesIO(), io.BytesIO()]
            out, err = (io.TextIOWrapper(bytes_of, "utf-8", newline="", write_through=True) for bytes_of in raw)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main(argv)
            stdout, stderr = (bytes_of.getvalue().decode() for bytes_of in raw)
            assert code in (0, 1, 2, 3, 125), (code, stderr)
            assert "internal error" not in stderr
            assert "Traceback" not in stdout + stderr
            assert harmless(stdout), stdout
            assert harmless(stderr), stderr
            if "json" in argv and code == 0:
                json.loads(stdout)

    only_answers_and_errors()
    assert not list(tmp_path.iterdir()), "something ran on the host"
    check(figure)


def test_exec_quoting(figures: Figures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = figures.begin("Hostile input: words of exec and of remote commands", "0 changed or run", scaled(1000))
    monkeypatch.chdir(tmp_path)
    fake = tmp_path / "kubectl"
    fake.write_text('#!/bin/sh\n# exec -i -n NAMESPACE POD -- sh ARGUMENT...\nshift 7\nexec sh "$@"\n')
    fake.chmod(0o755)
    host = LocalHost()
    shells = ShellPool(host, Kubectl(host, [str(fake)]))
    prints = ("sh", "-c", 'printf "%s\\0" "$@"', "sh")

    def in_the_pod(command: Command) -> tuple[int, bytes, bytes]:
        out, err = bytearray(), bytearray()
        code = shells.run("n", "p", Invocation(command, out.extend, err.extend, timeout=60))
        return code, bytes(out), bytes(err)

    def on_the_host(argv: tuple[str, ...]) -> tuple[int, bytes, bytes]:
        """As sshd gives it to the account's shell."""
        steps = Steps([("true", *argv), (*prints, *argv)])
        done = subprocess.run(["sh", "-c", "exec " + shlex.join(steps)], capture_output=True, timeout=60)
        assert done.returncode == 0
        (_, (out, code)), (_, (err, _)) = steps.sections(done.stdout), steps.sections(done.stderr)
        return code, out, err

    @tried(1000)
    @given(st.sampled_from(["argv", "line", "host"]), st.lists(texts, min_size=1, max_size=6))
    def words_arrive_as_they_are(way: str, given_words: list[str]) -> None:
        with told(figure, (way, given_words)):
            expected = b""
            try:
                expected = b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in given_words)
                if way == "host" and "\0" not in "".join(given_words):
                    got = on_the_host(tuple(given_words))
                elif way == "argv":
                    got = in_the_pod(Command(argv=(*prints, *given_words)))
                else:
                    got = in_the_pod(Command(shlex.join((*prints, *given_words))))
            except LfgpodsError as error:
                check_error(error, "NUL")
            except UnicodeEncodeError:
                with pytest.raises(LfgpodsError):
                    in_the_pod(Command(argv=tuple(given_words)))
            else:
                assert got == (0, expected, b"")

    shells.close()
    words_arrive_as_they_are()
    assert [path.name for path in tmp_path.iterdir()] == ["kubectl"], f"{CANARY}: something ran on the host"
    check(figure)


OWNER = Owner.project("a")
OPERATIONS: dict[str, Callable[[PodManager], Any]] = {
    "status": lambda pods: pods.status(OWNER),
    "list": lambda pods: pods.list(),
    "create": lambda pods: pods.ensure(OWNER, timeout=30),
    "start": lambda pods: pods.ensure(OWNER, Request(memory="2Gi"), wait=False, update=True, timeout=30),
    "delete": lambda pods: pods.delete(OWNER, timeout=30),
    "purge": lambda pods: pods.delete(OWNER, purge=True, timeout=30),
    "exec": lambda pods: pods.exec(OWNER, Command("true"), timeout=30),
}


NOTHING = Reply()
TAKEN = Reply(1, b"", b'Error from server (AlreadyExists): leases.coordination.k8s.io "lfgpods-proj-a" already exists')
"""With the one above it is a lock that is held and not there, for as long as anybody asks."""


def true_objects(ground: Ground) -> list[dict[str, Any]]:
    """What a host has of an owner whose pod runs."""
    with ground.manager() as manager:
        manager.ensure(OWNER)
        namespace = OWNER.names.namespace
        found = ground.objects("namespaces,persistentvolumes,persistentvolumeclaims,deployments,services,pods", "-A")
        manager.delete(OWNER, purge=True)
    return [obj for obj in found if namespace in json.dumps(obj["metadata"])]


def test_replies_of_the_host(
    figures: Figures, embedded: Ground, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = figures.begin("Hostile input: replies of the host", "0 wrong", scaled(4000))
    monkeypatch.setattr(lock, "RELEASE_GRACE", 0.0)
    monkeypatch.setattr(lock, "_POLL", (0.001,))
    monkeypatch.setattr("lfgpods.hosts.run.MAX_OUTPUT", 2 << 20)
    known = load_settings({"LFGPODS_DATABASE": str(tmp_path / "a.db"), "LFGPODS_START_GRACE": "0"}, tmp_path / "no.env")
    objects = true_objects(embedded)
    assert {obj["kind"] for obj in objects} >= {"Namespace", "PersistentVolume", "Deployment", "Service", "Pod"}

    @tried(4000)
    @given(st.sampled_from(sorted(OPERATIONS)), st.lists(replies(objects), min_size=1, max_size=4))
    @example("create", [NOTHING, TAKEN])
    @example("delete", [NOTHING, TAKEN])
    def a_result_or_an_error_of_ours(operation: str, answers: list[Reply]) -> None:
        with told(figure, (operation, answers)), PodManager(known, host=HostileHost(answers, clock)) as pods:
            try:
                result = OPERATIONS[operation](pods)
            except LfgpodsError as error:
                check_error(error)
            except EndlessError as error:
                raise AssertionError(f"no end: {error}") from None
            else:
                if operation in ("status", "create", "start"):
                    assert harmless(show_pod(result, Format.TABLE))
                    json.loads(show_pod(result, Format.JSON))
                elif operation == "list":
                    assert harmless(show_pods(result, Format.TABLE))
                elif operation == "exec":
                    raise AssertionError("a success of which nobody can have known")

    a_result_or_an_error_of_ours()
    check(figure)


def test_one_reply_of_many(figures: Figures, embedded: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = figures.begin("Hostile input: one reply in the middle", "0 wrong", scaled(300))
    monkeypatch.setattr(lock, "RELEASE_GRACE", 0.0)
    monkeypatch.setattr("lfgpods.hosts.run.MAX_OUTPUT", 2 << 20)
    objects = true_objects(embedded)
    settings = embedded.settings(LFGPODS_TIMEOUT="2", LFGPODS_START_GRACE="0")

    @tried(300, [Phase.generate])  # each starts from where the one before it left the owner
    @given(st.sampled_from(["create", "delete", "purge"]), st.integers(0, 9), replies(objects))
    def a_success_is_true(operation: str, number: int, reply: Reply) -> None:
        host = TurncoatHost(embedded.host, number, reply)
        with told(figure, (operation, number, reply)), PodManager(settings, host=host) as pods:
            try:
                if operation == "create":
                    pods.ensure(OWNER, timeout=2)
                else:
                    pods.delete(OWNER, purge=operation == "purge", timeout=2)
            except LfgpodsError as error:
                check_error(error)
            else:
                figure.note("succeeded")
                if reply.exit_code == 0:
                    return  # a host that says that it did what it did not do is not found out
                if operation == "create":
                    assert embedded.doubles(OWNER) == []
                else:
                    assert embedded.running_pods(OWNER) == []
                    # A lock whose giving back got lost is taken over by the next one, and told in the log.
                    left = [one for one in embedded.remains(OWNER) if not one.startswith("lease/")]
                    assert operation == "delete" or left == []

    a_success_is_true()
    with embedded.manager() as manager:
        manager.ensure(OWNER)
        assert embedded.doubles(OWNER) == []
        manager.delete(OWNER, purge=True)
    assert embedded.remains(OWNER) == []
    check(figure)


@pytest.mark.real
def test_names_are_taken_by_the_real_api_server(figures: Figures, real: Ground) -> None:
    wanted = scaled(NAMES_FOR_REAL)
    figure = figures.begin("Hostile names: given to the real API server", "0 refused", wanted)
    mark = secrets.token_hex(4)
    owners: dict[str, Owner] = {}

    @tried(NAMES_FOR_REAL * 8)
    @given(texts, st.booleans())
    def gather(id: str, project: bool) -> None:
        with contextlib.suppress(LfgpodsError):
            owner = (Owner.project if project else Owner.conversation)(id[:200] + mark)
            owners.setdefault(owner.names.namespace, owner)

    gather()
    chosen = dict(list(owners.items())[:wanted])
    settings = real.settings()
    drawn = {name: render(settings, owner, Request(), conversation_id=owner.id) for name, owner in chosen.items()}
    namespaces = [next(obj for obj in objects if obj["kind"] == "Namespace") for objects in drawn.values()]
    others = [obj for objects in drawn.values() for obj in objects if obj["kind"] != "Namespace"]

    def apply(items: list[Any], *words: str) -> str:
        payload = json.dumps({"apiVersion": "v1", "kind": "List", "items": items}).encode()
        done = real.kubectl("apply", "--server-side", "-f", "-", *words, "-o", "name", stdin=payload, timeout=180)
        return done.stderr.decode() if done.exit_code else ""

    try:
        for refusal in filter(None, (apply(namespaces), apply(others, "--dry-run=server"))):
            figure.breaks(refusal[:1000])
        figure.tried(len(namespaces))
        ids = {obj["metadata"]["name"]: obj["metadata"].get("annotations", {}) for obj in real.objects("namespaces")}
        for name, owner in chosen.items():
            if ids.get(name, {}).get(OWNER_ID) != owner.id:
                figure.breaks(f"{name} is not kept as {owner.id!r}")
    finally:
        real.kubectl("delete", "namespaces", *chosen, "--ignore-not-found", "--wait=false", timeout=120)
    check(figure)
