"""Each test of the contract runs against each site, under the same name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from lfgpods import Owner
from tests.contract.sites import Site, embedded_site, managed_site, real_site

_HOSTPATH = [pytest.param("embedded", id="embedded"), pytest.param("real", id="real", marks=pytest.mark.real)]
_SITES = [*_HOSTPATH, pytest.param("managed", id="managed", marks=pytest.mark.real)]
_WHOLLY_MANAGED = ("test_lifecycle", "test_convergence")
"""What depends on where a volume comes from; everything else is as on the host that has the folders."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "site" in metafunc.fixturenames:
        marked = metafunc.definition.get_closest_marker
        wide = metafunc.module.__name__.endswith(_WHOLLY_MANAGED) or marked("managed")
        sites = _SITES if wide and not marked("hostpath") else _HOSTPATH
        metafunc.parametrize("site", sites, indirect=True)


@pytest.fixture(scope="session")
def open_site() -> Iterator[Callable[[str, pytest.FixtureRequest], Site]]:
    """Gives the site of a name, opened when the first test asks for it and closed at the end."""
    opened: dict[str, Site] = {}
    with contextlib.ExitStack() as stack:

        def give(name: str, request: pytest.FixtureRequest) -> Site:
            if name not in opened:
                opened[name] = stack.enter_context(_open(name, request))
            return opened[name]

        yield give


@pytest.fixture
def site(request: pytest.FixtureRequest, open_site: Callable[[str, pytest.FixtureRequest], Site]) -> Site:
    if request.param == "managed":
        request.getfixturevalue("rights")
        request.getfixturevalue("provisioning")
    return open_site(request.param, request)


def _open(name: str, request: pytest.FixtureRequest) -> contextlib.AbstractContextManager[Site]:
    if name == "embedded":
        return embedded_site()
    cluster = request.getfixturevalue("cluster")
    return real_site(cluster) if name == "real" else managed_site(cluster)


@pytest.fixture
def owner(site: Site) -> Iterator[Owner]:
    """An owner without anything."""
    new = site.new_owner()
    yield new
    site.purge(new)


@pytest.fixture
def resident(site: Site) -> Owner:
    """An owner whose pod runs all the time; tests leave it as they found it."""
    return site.resident()
