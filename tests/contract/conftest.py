"""Each test of the contract runs against each site, under the same name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lfgpods import Owner, rollout
from tests.contract.sites import Site, embedded_site, real_site

_SITES = [pytest.param("embedded", id="embedded"), pytest.param("real", id="real", marks=pytest.mark.real)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "site" in metafunc.fixturenames:
        metafunc.parametrize("site", _SITES, indirect=True, scope="session")


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    real = request.param == "real"
    with real_site(request.getfixturevalue("cluster")) if real else embedded_site() as opened:
        yield opened


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


@pytest.fixture(scope="session")
def resident(site: Site) -> Iterator[Owner]:
    """An owner whose pod runs all the time; tests leave it as they found it."""
    new = site.new_owner()
    site.pods.ensure(new, site.request)
    yield new
    site.purge(new)
