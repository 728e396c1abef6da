"""The flow that lfgpods is for: clone and run a project in a pod, take the pod away, and resume where one left off."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

import lfgpods
from lfgpods.core.owners import Owner
from tests.cluster.paths import ADMIN_KUBECONFIG
from tests.lab import Lab
from tests.waiting import eventually

pytestmark = pytest.mark.real


def fetched(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return ""


def assert_nothing_is_left(lab: Lab, owner: Owner) -> None:
    names = owner.names
    found = lab.kubectl(
        "get", f"namespace/{names.namespace}", f"persistentvolume/{names.volume}",
        f"persistentvolumeclaim/{names.claim}", "-n", names.namespace, "--ignore-not-found", "-o", "name",
    )  # fmt: skip
    assert found == ""
    folder = names.folder(lab.settings().volume_root)
    assert lab.on_host("test", "-e", folder).exit_code == 1


def test_a_project_by_command_line(lab: Lab, new_owner: Callable[[str], Owner], repository_url: str) -> None:
    owner = new_owner("shop")
    me = ("--project-id", owner.id)

    created = lab.lfgpods("create", *me, "--image", lab.images.project, "--port", "8000", "-o", "json")
    assert created.returncode == 0, created.stderr
    pod = json.loads(created.stdout)
    assert pod["status"] == "running"

    clone = lab.lfgpods("exec", *me, "-c", f"git clone {repository_url} /workspace/repo")
    assert clone.returncode == 0, clone.stderr
    ran = lab.lfgpods("exec", *me, "-c", "cd /workspace/repo && python3 app.py")
    assert (ran.returncode, ran.stdout) == (0, b"hello from the app\n")

    serve = "cd /workspace/repo && nohup python3 -m http.server 8000 >/dev/null 2>&1 &"
    assert lab.lfgpods("exec", *me, "-c", serve).returncode == 0
    url = pod["service_details"]["access_url"]
    assert "hello from the app" in eventually(lambda: fetched(f"{url}/app.py"))

    listed = json.loads(lab.lfgpods("list", "-o", "json").stdout)
    assert [one["status"] for one in listed if one["project_id"] == owner.id] == ["running"]

    deleted = lab.lfgpods("delete", *me)
    assert deleted.returncode == 0, deleted.stderr
    assert json.loads(lab.lfgpods("status", *me, "-o", "json").stdout)["status"] == "deleted"

    again = lab.lfgpods("create", *me, "-o", "json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["image"] == lab.images.project
    kept = lab.lfgpods("exec", *me, "-c", "cat /workspace/runs.txt && cd repo && git status --short && python3 app.py")
    assert kept.stdout == b"ran\nhello from the app\n", kept.stderr

    purged = lab.lfgpods("delete", *me, "--purge")
    assert purged.returncode == 0, purged.stderr
    assert_nothing_is_left(lab, owner)
    assert lab.lfgpods("status", *me).returncode == 3


def test_a_conversation_by_lfgs_functions(
    lab: Lab, new_owner: Callable[[str], Owner], repository_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = new_owner("conv Ärger/42")
    for name, value in lab.environment.items():
        monkeypatch.setenv(name, value)
    limits = {"memory": "256Mi", "cpu": "500m", "memory_requests": "64Mi", "cpu_requests": "20m"}

    success, pod = lfgpods.manage_kubernetes_pod(
        conversation_id=owner.id, image=lab.images.project, resource_limits=limits
    )
    assert success
    assert pod is not None
    assert (pod.project_id, pod.conversation_id, pod.status) == (None, owner.id, "running")
    assert (pod.image, pod.resource_limits) == (lab.images.project, limits)
    assert pod.service_details["access_url"].endswith(f":{pod.service_details['node_port']}")

    def execute(command: str) -> tuple[bool, str, str]:
        return lfgpods.execute_command_in_pod(conversation_id=owner.id, command=command)

    success, _, stderr = execute(f"git clone {repository_url} /workspace/repo")
    assert success, stderr
    assert execute("cd /workspace/repo && python3 app.py") == (True, "hello from the app\n", "")
    assert execute("echo no >&2; exit 4") == (False, "", "no\n")

    assert lfgpods.delete_kubernetes_pod(conversation_id=owner.id) is True
    assert execute("true")[0] is False
    success, again = lfgpods.manage_kubernetes_pod(conversation_id=owner.id)
    assert success
    assert again is not None
    assert again.resource_limits == limits
    assert execute("cat /workspace/runs.txt; test -d /workspace/repo/.git")[:2] == (True, "ran\n")

    assert lfgpods.delete_kubernetes_pod(conversation_id=owner.id, preserve_data=False) is True
    assert_nothing_is_left(lab, owner)
    assert lfgpods.delete_kubernetes_pod(conversation_id=owner.id, preserve_data=False) is False


def test_this_machines_own_kubectl_as_the_host(lab: Lab, new_owner: Callable[[str], Owner]) -> None:
    if lab.cluster is None:
        pytest.skip("this machine may have no kubeconfig for a host of one's own")
    owner = new_owner("local")
    me = ("--project-id", owner.id)
    local = {
        "LFGPODS_HOST": "local",
        "LFGPODS_CONTEXT": lab.cluster.kubectl("config", "current-context").strip(),
        "LFGPODS_ACCESS_HOST": lab.environment["K8S_SSH_HOST"],
        "KUBECONFIG": str(ADMIN_KUBECONFIG),
    }
    created = lab.lfgpods("create", *me, "-o", "json", settings=local)
    assert created.returncode == 0, created.stderr
    assert json.loads(created.stdout)["status"] == "running"
    done = lab.lfgpods("exec", *me, "-i", "--", "tee", "kept", stdin=b"bytes\0\xff", settings=local)
    assert (done.returncode, done.stdout) == (0, b"bytes\0\xff")
    assert lab.lfgpods("exec", *me, "--timeout", "0.5", "-c", "sleep 60", settings=local).returncode == 125
    wrong = lab.lfgpods("list", "-o", "json", settings={**local, "LFGPODS_CONTEXT": "nonsense"})
    assert json.loads(wrong.stderr)["error"]["code"] == "kubeconfig"
    purged = lab.lfgpods("delete", *me, "--purge", settings=local)
    assert purged.returncode == 0, purged.stderr
    assert_nothing_is_left(lab, owner)


@pytest.mark.parametrize("kind", ["user", "small_user"])
def test_an_image_without_root_can_write_its_volume(lab: Lab, new_owner: Callable[[str], Owner], kind: str) -> None:
    owner = new_owner(f"as-{kind.replace('_', '-')}")
    with lab.manager() as manager:
        manager.ensure(owner, lfgpods.Request(image=getattr(lab.images, kind)))
        written = manager.exec(owner, lfgpods.Command("id -u; echo mine > note; cat /workspace/note"))
        assert written.stdout == b"1000\nmine\n", written.stderr
    root = lab.settings().volume_root
    assert lab.on_host("stat", "-c", "%a", root).stdout == b"700\n"
    folder = owner.names.folder(root)
    assert lab.on_host("stat", "-c", "%a", folder).stdout == b"777\n"


def test_a_dry_run_prints_the_manifests_and_touches_nothing(lab: Lab, new_owner: Callable[[str], Owner]) -> None:
    owner = new_owner("dry")
    dry = lab.lfgpods("create", "--project-id", owner.id, "--dry-run", "-o", "json")
    kinds = [obj["kind"] for obj in json.loads(dry.stdout)["items"]]
    policies = ["NetworkPolicy", "LimitRange", "ResourceQuota"]
    assert kinds == ["Namespace", "PersistentVolume", "PersistentVolumeClaim", "Service", *policies, "Deployment"]
    assert_nothing_is_left(lab, owner)
