"""What goes wrong is told in one line of cause and one of remedy, with the exit code that shells rely on."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lfgpods.core.owners import Owner
from tests.lab import Lab
from tests.scope import ID

pytestmark = pytest.mark.real


def fails(lab: Lab, code: str, exit_code: int, *argv: str, **settings: str) -> dict[str, str]:
    """Run lfgpods, expect that failure as JSON, and return it. Cause and remedy are one line each."""
    done = lab.lfgpods(*argv, "-o", "json", settings=settings)
    assert done.stdout == b""
    assert done.returncode == exit_code, done.stderr
    error: dict[str, str] = json.loads(done.stderr)["error"]
    assert error["code"] == code, error
    assert len(error["message"].splitlines()) == 1
    assert len(error["hint"].splitlines()) == 1
    return error


LIST = ("list",)


def test_a_host_that_cannot_be_reached(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    nobody = {"K8S_SSH_HOST": "127.0.0.1", "K8S_SSH_PORT": str(port)}
    error = fails(lab, "host_unreachable", 4, *LIST, **nobody)
    told = lab.lfgpods(*LIST, settings=nobody).stderr.decode().splitlines()
    assert told == [f"Error: {error['message']}", f"Hint: {error['hint']}"]
    fails(lab, "host_unreachable", 4, *LIST, K8S_SSH_HOST="no-such-host.invalid")


def public_key(folder: Path, kind: str) -> str:
    """The type and text of a new public key."""
    path = folder / f"other-{kind}"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-t", kind, "-f", str(path)], check=True)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def test_host_keys(lab: Lab, tmp_path: Path) -> None:
    unknown = tmp_path / "unknown"
    unknown.write_text("")
    error = fails(lab, "host_key_unknown", 4, *LIST, K8S_SSH_KNOWN_HOSTS=str(unknown))
    assert "ssh-keyscan" in error["hint"]

    accept = {"K8S_SSH_KNOWN_HOSTS": str(unknown), "XDG_DATA_HOME": str(tmp_path / "data")}
    assert lab.lfgpods(*LIST, settings={"K8S_SSH_HOST_KEY_POLICY": "accept-new", **accept}).returncode == 0
    assert unknown.read_text() == ""
    assert lab.lfgpods(*LIST, settings=accept).returncode == 0

    ours = tmp_path / "data" / "lfgpods" / "known_hosts"
    host = lab.environment["K8S_SSH_HOST"]
    for kind in ("ed25519", "ecdsa"):
        other_key = public_key(tmp_path, kind)
        ours.write_text(f"{host} {other_key}\n")
        for policy in ("strict", "accept-new"):
            fails(lab, "host_key_changed", 4, *LIST, K8S_SSH_HOST_KEY_POLICY=policy, **accept)
    ours.unlink()

    real = lab.settings().require_ssh().known_hosts
    assert real is not None
    keys = [line for line in real.read_text().splitlines() if line.strip()]
    unknown.write_text("".join(f"@revoked {line}\n{line}\n" for line in keys) + "@cert-authority * " + other_key + "\n")
    fails(lab, "host_key_changed", 4, *LIST, K8S_SSH_KNOWN_HOSTS=str(unknown))
    fails(lab, "host_key_unknown", 4, *LIST, K8S_SSH_KNOWN_HOSTS=str(tmp_path / "none"))


def test_keys_and_logins(lab: Lab, tmp_path: Path) -> None:
    if lab.cluster is None:
        pytest.skip("the keys of a host of one's own are not for tests to vary")
    from tests import cluster

    fails(lab, "login_refused", 4, *LIST, K8S_SSH_KEY_FILE=str(cluster.UNAUTHORIZED_KEY))
    fails(lab, "login_refused", 4, *LIST, K8S_SSH_USERNAME="nosuchuser")
    fails(lab, "key_missing", 4, *LIST, K8S_SSH_KEY_FILE=str(tmp_path / "none"))
    garbage = tmp_path / "garbage"
    garbage.write_text("not a key")
    fails(lab, "key_invalid", 4, *LIST, K8S_SSH_KEY_FILE=str(garbage))
    protected = {"K8S_SSH_KEY_FILE": str(cluster.KEY_WITH_PASSPHRASE)}
    fails(lab, "wrong_passphrase", 4, *LIST, **protected)
    wrong = fails(lab, "wrong_passphrase", 4, *LIST, K8S_SSH_KEY_PASSPHRASE="not th1s", **protected)
    assert "not th1s" not in str(wrong)
    assert lab.lfgpods(*LIST, settings={"K8S_SSH_KEY_PASSPHRASE": cluster.PASSPHRASE, **protected}).returncode == 0
    assert lab.lfgpods(*LIST, settings={"K8S_SSH_KEY_FILE": str(cluster.RSA_KEY)}).returncode == 0
    text = cluster.KEY.read_text()
    for written in (text, text.replace("\n", "\\n")):
        both = {"K8S_SSH_KEY_STRING": written, "K8S_SSH_KEY_FILE": str(garbage)}
        assert lab.lfgpods(*LIST, settings=both).returncode == 0


def test_kubectl_and_the_cluster_behind_it(lab: Lab, new_owner: Callable[[str], Owner]) -> None:
    fails(lab, "kubectl_missing", 5, *LIST, LFGPODS_KUBECTL="/no/such/kubectl")
    nobody = "kubectl --server=https://127.0.0.1:1"
    fails(lab, "cluster_unreachable", 5, *LIST, LFGPODS_KUBECTL=nobody, LFGPODS_DATABASE=str(lab.folder / "empty.db"))
    fails(lab, "bad_answer", 5, *LIST, LFGPODS_KUBECTL="echo")
    fails(lab, "no_such_pod", 3, "status", "--project-id", new_owner("nothing").id)
    fails(lab, "no_such_pod", 3, "delete", "--project-id", new_owner("nothing").id)


def test_stored_pods_are_unknown_when_the_host_does_not_answer(lab: Lab, new_owner: Callable[[str], Owner]) -> None:
    owner = new_owner("silent")
    with lab.manager() as manager:
        manager.ensure(owner)
    nobody = "kubectl --server=https://127.0.0.1:1"
    for argv in (LIST, ("status", "--project-id", owner.id)):
        done = lab.lfgpods(*argv, "-o", "json", settings={"LFGPODS_KUBECTL": nobody})
        assert done.returncode == 4
        answer = json.loads(done.stdout)
        for pod in answer if isinstance(answer, list) else [answer]:
            assert pod["status"] == "unknown"
        assert b"does not answer" in done.stderr
    unanswered = lab.lfgpods("exec", "--project-id", owner.id, "-c", "true", settings={"LFGPODS_KUBECTL": nobody})
    assert unanswered.returncode == 125
    assert json.loads(lab.lfgpods("status", "--project-id", owner.id, "-o", "json").stdout)["status"] == "running"


def test_a_pod_that_cannot_start(lab: Lab, new_owner: Callable[[str], Owner]) -> None:
    owner = new_owner("broken")
    create = ("create", "--project-id", owner.id)
    error = fails(lab, "unschedulable", 5, *create, "--cpu-request", "900", "--cpu", "900")
    assert "cpu" in error["message"].lower()
    small = ("--memory-request", "32Mi", "--memory", "64Mi", "--cpu-request", "10m", "--cpu", "1")
    fails(lab, "image_pull", 5, *create, *small, "--image", "localhost:1/no/such:image")
    if lab.cluster is not None:
        fails(lab, "container_crash", 5, *create, "--image", lab.images.crash)
        fails(lab, "container_crash", 5, *create, "--image", lab.images.no_shell)
    status = json.loads(lab.lfgpods("status", "--project-id", owner.id, "-o", "json").stdout)
    assert status["status"] == "failed"
    assert lab.lfgpods("exec", "--project-id", owner.id, "-c", "true").returncode == 125
    fixed = lab.lfgpods(*create, *small, "--image", lab.images.small, "-o", "json")
    assert json.loads(fixed.stdout)["status"] == "running", fixed.stderr


def test_a_wait_that_is_too_short(lab: Lab, new_owner: Callable[[str], Owner]) -> None:
    owner = new_owner("hasty")
    fails(
        lab,
        "time_limit",
        6,
        "create",
        "--project-id",
        owner.id,
        "--image",
        "localhost:1/no/such:image",
        "--timeout",
        "2",
    )
    done = lab.lfgpods("create", "--project-id", owner.id, "--image", lab.images.small, "--no-wait", "-o", "json")
    assert json.loads(done.stdout)["status"] == "creating"


def test_a_quota_that_is_used_up(lab: Lab, new_owner: Callable[[str], Owner]) -> None:
    owner = new_owner("limited")
    namespace = owner.names.namespace
    with lab.manager() as manager:
        manager.ensure(owner)
        manager.delete(owner)
    lab.kubectl("create", "quota", "none", "--hard=pods=0", "-n", namespace)
    error = fails(lab, "pod_refused", 5, "create", "--project-id", owner.id, "--image", lab.images.small)
    assert "quota" in error["message"]


def test_volume_folders_that_cannot_be_made(lab: Lab, new_owner: Callable[[str], Owner]) -> None:
    create = ("create", "--project-id", new_owner("homeless").id)
    fails(lab, "volume", 1, *create, LFGPODS_VOLUME_ROOT="/proc/sys/volumes")
    fails(lab, "volume", 1, *create, LFGPODS_VOLUME_ROOT="/usr/share")
    disks = f"/mnt/lfgpods-test-disks-{ID}"
    made = lab.on_host("sh", "-c", f"""
        mkdir -p {disks}/full {disks}/read-only
        mount -t tmpfs -o nr_inodes=2,mode=700 tmpfs {disks}/full && mkdir -m 700 {disks}/full/volumes &&
        mount -t tmpfs -o ro tmpfs {disks}/read-only""")  # fmt: skip
    try:
        assert made.exit_code == 0, made.stderr
        fails(lab, "read_only", 1, *create, LFGPODS_VOLUME_ROOT=f"{disks}/read-only/volumes")
        fails(lab, "disk_full", 1, *create, LFGPODS_VOLUME_ROOT=f"{disks}/full/volumes")
    finally:
        lab.on_host("sh", "-c", f"umount {disks}/full {disks}/read-only; rmdir {disks}/full {disks}/read-only {disks}")


def test_an_account_without_root_needs_sudo(lab: Lab, new_owner: Callable[[str], Owner]) -> None:
    if lab.cluster is None:
        pytest.skip("a host of one's own may have no such account")
    from tests.cluster import USER_ACCOUNT

    owner = new_owner("humble")
    create = ("create", "--project-id", owner.id)
    error = fails(lab, "volume", 1, *create, K8S_SSH_USERNAME=USER_ACCOUNT)
    assert "LFGPODS_SUDO" in error["hint"]
    done = lab.lfgpods(*create, settings={"K8S_SSH_USERNAME": USER_ACCOUNT, "LFGPODS_SUDO": "1"})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "argv"),
    [
        ("invalid_id", ("create", "--project-id", "")),
        ("invalid_id", ("create", "--project-id", "a\tb")),
        ("invalid_image", ("create", "--project-id", "x", "--image", "Not An Image")),
        ("invalid_quantity", ("create", "--project-id", "x", "--memory", "much")),
        ("invalid_quantity", ("create", "--project-id", "x", "--cpu", "0")),
        ("invalid_quantity", ("create", "--project-id", "x", "--cpu", "1", "--cpu-request", "2")),
        ("invalid_port", ("create", "--project-id", "x", "--port", "0")),
        ("usage", ("create",)),
    ],
)
def test_wrong_input_reaches_no_host(lab: Lab, code: str, argv: tuple[str, ...]) -> None:
    fails(lab, code, 2, *argv, K8S_SSH_HOST="192.0.2.1")


def test_the_failures_of_exec_itself_are_125(lab: Lab, new_owner: Callable[[str], Owner]) -> None:
    nothing = new_owner("nothing").id
    for argv in (("-c", "true"), (), ("-c", "a", "--", "b"), ("--no-such-option",), ("--timeout", "-1", "-c", "true")):
        assert lab.lfgpods("exec", "--project-id", nothing, *argv).returncode == 125
