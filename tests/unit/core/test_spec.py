from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfgpods.core.errors import UsageError
from lfgpods.core.spec import Hardening, PodSpec, Request, Resources, checked, quantity, request_from_limits

BASE = PodSpec("busybox:1.36", Resources("1Gi", "1", "128Mi", "50m"), "1Gi", (8080,))


@pytest.mark.parametrize(
    "image",
    [
        "busybox", "python:3.12", "gitpod/workspace-full:latest", "localhost:5000/a/b_c:T.1-x", "ghcr.io/x/y@sha256:" + "a" * 64,
        "[::1]:5000/x", "registry.example.com/x__y/z---w:v",
    ],
)  # fmt: skip
def test_valid_images_pass(image: str) -> None:
    assert Request(image=image).over(BASE).image == image


@pytest.mark.parametrize(
    "image",
    [
        "Busybox",
        "a b",
        "a:",
        ":tag",
        "a//b",
        "/a",
        "a/",
        "a:t:u",
        "a;id",
        "$(id)",
        "-a",
        "a\n",
        "a@sha256:xyz",
        "é",
        "a" * 600,
    ],
)
def test_invalid_images_are_refused(image: str) -> None:
    with pytest.raises(UsageError) as refused:
        Request(image=image).over(BASE)
    assert refused.value.code == "invalid_image"


@pytest.mark.parametrize(("one", "other"), [("1", "1000m"), ("1Gi", "1024Mi"), ("1.5Gi", "1536Mi"), ("2k", "2000")])
def test_equal_quantities_are_equal(one: str, other: str) -> None:
    assert quantity(one) == quantity(other)
    assert not Request(memory=one).differences(checked(Request(memory=other, memory_requests="1m").over(BASE)))


@pytest.mark.parametrize("amount", ["0", "-1", "1GB", "much", "1 Gi", "", "1e3Gi", "Mi", "0x1", "٣"])
def test_invalid_quantities_are_refused(amount: str) -> None:
    with pytest.raises(UsageError) as refused:
        checked(PodSpec("a", Resources(amount, "1", "1m", "1m"), "1Gi", (1,)))
    assert refused.value.code == "invalid_quantity"


def test_a_request_above_its_limit_is_refused_but_a_smaller_limit_lowers_a_default_request() -> None:
    with pytest.raises(UsageError, match="above"):
        Request(memory="1Gi", memory_requests="2Gi").over(BASE)
    assert Request(memory="64Mi").over(BASE).resources.memory_requests == "64Mi"


@pytest.mark.parametrize("ports", [(), (0,), (65536,), (80, 80)])
def test_invalid_ports_are_refused(ports: tuple[int, ...]) -> None:
    with pytest.raises(UsageError) as refused:
        Request(ports=ports).over(BASE)
    assert refused.value.code == "invalid_port"


def test_only_named_values_can_differ() -> None:
    assert Request().differences(BASE) == ()
    asked = Request(image="python:3.12", cpu="2", storage_size="2Gi", ports=(1, 2))
    assert asked.differences(BASE) == (
        "image is busybox:1.36, not python:3.12",
        "cpu is 1, not 2",
        "storage size is 1Gi, not 2Gi",
        "ports are 8080, not 1 2",
    )


def test_restriction_and_runtime_stay_unless_named() -> None:
    special = replace(BASE, restricted=True, runtime_class="gvisor")
    assert Request().over(special) == special
    assert Request(restricted=False, runtime_class="").over(special) == BASE
    assert Request(restricted=True, runtime_class="gvisor").over(BASE) == special


def test_a_different_restriction_or_runtime_is_a_difference() -> None:
    special = replace(BASE, restricted=True, runtime_class="gvisor")
    asked = Request(restricted=True, runtime_class="gvisor")
    assert asked.differences(special) == Request(restricted=False, runtime_class="").differences(BASE) == ()
    assert asked.differences(BASE) == ("restricted is no, not yes", "runtime class is none, not gvisor")
    unasked = Request(restricted=False, runtime_class="")
    assert unasked.differences(special) == ("restricted is yes, not no", "runtime class is gvisor, not none")


@pytest.mark.parametrize("name", ["gVisor", "a b", "-a", "a..b", "a.", "a\n", "ä", "a" * 254])
def test_an_invalid_runtime_class_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        Request(runtime_class=name).over(BASE)
    assert refused.value.code == "invalid_runtime_class"


@pytest.mark.parametrize("spec", [BASE, replace(BASE, restricted=True, runtime_class="kata.qemu")])
def test_a_spec_is_read_back_from_its_record(spec: PodSpec) -> None:
    assert PodSpec.from_dict(json.loads(json.dumps(asdict(spec)))) == spec


def test_a_record_of_an_earlier_version_is_read() -> None:
    recorded = asdict(BASE)
    del recorded["restricted"], recorded["runtime_class"]
    assert PodSpec.from_dict(recorded) == BASE


@pytest.mark.parametrize(
    ("set_to", "restricted", "level"),
    [
        ("privileged", False, "privileged"),
        ("privileged", True, "privileged"),
        ("baseline", False, "baseline"),
        ("baseline", True, "restricted"),
        ("restricted", True, "restricted"),
    ],
)
def test_a_namespace_is_as_strict_as_its_pod_allows(set_to: str, restricted: bool, level: str) -> None:
    assert Hardening(pod_security=set_to).level(replace(BASE, restricted=restricted)) == level


def test_the_keys_of_lfg_are_accepted_and_others_refused() -> None:
    request = request_from_limits("a", {"memory": "2Gi", "cpu": 2, "memory_requests": None})
    assert (request.memory, request.cpu, request.memory_requests) == ("2Gi", "2", None)
    with pytest.raises(UsageError, match="'mem'"):
        request_from_limits("a", {"mem": "2Gi"})


@given(st.text(max_size=40), st.text(max_size=40), st.integers())
def test_no_input_raises_anything_but_a_usage_error(image: str, amount: str, port: int) -> None:
    for request in (Request(image=image), Request(cpu=amount), Request(ports=(port,))):
        with contextlib.suppress(UsageError):
            request.over(BASE)


def test_the_storage_class_is_a_difference_and_an_empty_name_means_a_folder() -> None:
    of_class = replace(BASE, storage_class="fast")
    assert Request().over(of_class) == of_class
    assert Request(storage_class="").over(of_class) == BASE
    assert Request(storage_class="fast").over(BASE) == of_class
    assert Request(storage_class="fast").differences(BASE) == ("storage is a folder on the host, not of class fast",)
    assert Request(storage_class="slow").differences(of_class) == ("storage is of class fast, not of class slow",)
    assert Request().differences(of_class) == ()
    with pytest.raises(UsageError, match="storage class 'No Name'"):
        Request(storage_class="No Name").over(BASE)


def test_a_storage_class_is_recorded_and_a_folder_is_recorded_as_before() -> None:
    of_class = replace(BASE, storage_class="fast")
    assert PodSpec.from_dict(json.loads(json.dumps(of_class.as_dict()))) == of_class
    assert PodSpec.from_dict(json.loads(json.dumps(BASE.as_dict()))) == BASE
    assert "storage_class" not in BASE.as_dict()
