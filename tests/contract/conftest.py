"""Each test of the contract runs against each site, under the same name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from lfgpods import Owner
from lfgpods.pods import rollout
from tests.contract.sites import Site, embedded_site, managed_site, real_site

_HOSTPATH = [pytest.param("embedded", id="embedded"), pytest.param("real", id="real", marks=pytest.mark.real)]
_SITES = [*_HOSTPATH, pytest.param("managed", id="managed", marks=pytest.mark.real)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "site" in metafunc.fixturenames:
        sites = _HOSTPATH if metafunc.definition.get_closest_marker("hostpath") else _SITES
        metafunc.parametrize("site", sites, indirect=True, scope="package")


@pytest.fixture(scope="package")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with _open(request.param, request) as opened:
        yield opened


def _open(name: str, request: pytest.FixtureRequest) -> AbstractContextManager[Site]:
    if name == "embedded":
        return embedded_site()
    cluster = request.getfixturevalue("cluster")
    if name == "real":
        return real_site(cluster)
    if cluster is None:
        pytest.skip("the rights of a host of one's own are not for tests to change")
    return managed_site(cluster)


@pytest.fixture(autouse=True)
def _early_failures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "site" in request.fixturenames:
        monkeypatch.setattr(rollout, "GRACE", request.getfixturevalue("site").grace)


@pytest.fixture
def owner(site: Site) -> Iterator[Owner]:
    """An owner without anything."""
    new = site.new_owner()
    yield new
    site.purge(new)


@pytest.fixture(scope="package")
def resident(site: Site) -> Iterator[Owner]:
    """An owner whose pod runs all the time; tests leave it as they found it."""
    new = site.new_owner()
    site.pods.ensure(new, site.request)
    yield new
    site.purge(new)
