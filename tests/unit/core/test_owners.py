from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfgpods.core.errors import UsageError
from lfgpods.core.owners import NAMESPACE_LENGTH, Owner, OwnerKind, names_of, resolve_owner

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
ids = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=256).filter(str.strip)
lookalikes = st.from_regex(r"[aA][-_.a-zA]{0,3}(--[a-z2-7]{16})?", fullmatch=True)


def test_a_valid_id_is_kept_as_it_is() -> None:
    names = names_of(Owner.project("my-app"))
    assert names.namespace == "proj-my-app"
    assert (names.volume, names.claim) == ("proj-my-app-pv", "proj-my-app-pvc")
    assert (names.deployment, names.service) == ("proj-my-app-dep", "proj-my-app-service")
    assert (names.network_policy, names.limits) == ("proj-my-app-netpol", "proj-my-app-limits")
    assert names.quota == "proj-my-app-quota"
    assert names.folder("/mnt/data/user-volumes/") == "/mnt/data/user-volumes/proj-my-app"
    assert names_of(Owner.conversation("42")).namespace == "conv-42"


def test_similar_ids_get_different_readable_names() -> None:
    namespaces = {names_of(Owner.project(id)).namespace for id in ("My_App", "my-app", "my.app", "MY-APP", "my app")}
    assert len(namespaces) == 5
    assert all(namespace.startswith("proj-my-app") for namespace in namespaces)


@given(ids | lookalikes, st.sampled_from(OwnerKind))
def test_every_id_gives_valid_names(id: str, kind: OwnerKind) -> None:
    names = names_of(Owner(kind, id))
    assert len(names.namespace) <= NAMESPACE_LENGTH
    objects = (names.volume, names.claim, names.deployment, names.service)
    policies = (names.network_policy, names.limits, names.quota)
    for name in (names.namespace, *objects, *policies, names.slug):
        assert LABEL.fullmatch(name), name


@given(st.lists(lookalikes | ids, min_size=2, max_size=20, unique=True))
def test_no_two_ids_share_a_namespace(several: list[str]) -> None:
    owners = [Owner(kind, id) for id in several for kind in OwnerKind]
    assert len({names_of(owner).namespace for owner in owners}) == len(owners)


def test_an_id_that_looks_like_the_name_of_another_gets_a_name_of_its_own() -> None:
    hashed = names_of(Owner.project("My_App"))
    assert names_of(Owner.project(hashed.slug)) != hashed


def test_the_project_wins_over_the_conversation() -> None:
    assert resolve_owner("p", "c") == Owner.project("p")
    assert resolve_owner(None, "c") == Owner.conversation("c")


@pytest.mark.parametrize("id", ["", "  ", "a\nb", "a\x1b[0m", "a\0", "x" * 257, "\ud800", "a\u2028b"])
def test_an_invalid_id_is_refused(id: str) -> None:
    with pytest.raises(UsageError) as refused:
        resolve_owner(id, None)
    assert refused.value.code == "invalid_id"


def test_a_missing_owner_is_refused() -> None:
    with pytest.raises(UsageError, match="no owner"):
        resolve_owner(None, None)


def test_an_owners_option_can_be_typed_as_shown() -> None:
    assert Owner.project("it's me").option == "--project-id 'it'\"'\"'s me'"
