"""Data outlives its pod: written, the pod deleted and created, read back and compared, again and again."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from lfgpods import Command, Owner, PodManager
from tests.faults.figures import SEED, Figure, Figures, check, scaled
from tests.faults.grounds import Ground

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]

OWNERS = 5
ROUNDS = 20
LARGE = 1 << 20
ODD_NAMES = ("it's odd", 'a "b" $(id)', "new\nline", "-rf", "ä€😀", "back\\slash", "*", ".hidden", "deep/er/and/deeper")


def files_of(rng: random.Random) -> dict[str, bytes]:
    """A large file, an empty one, and small ones under names that shells stumble over."""
    small = {name: rng.randbytes(rng.randrange(1, 5000)) for name in rng.sample(ODD_NAMES, 5)}
    return {"large": rng.randbytes(LARGE), "empty": b"", **small}


def packed(files: dict[str, bytes], folder: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def checksums(archive: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        found = {}
        for member in opened:
            if member.isfile():
                content = opened.extractfile(member)
                assert content is not None
                found[member.name.removeprefix("./")] = hashlib.sha256(content.read()).hexdigest()
        return found


def write(manager: PodManager, owner: Owner, archive: bytes, folder: str) -> None:
    """Replace what is in FOLDER by what ARCHIVE has."""
    line = f"rm -rf ./{folder} && tar x && sync"
    result = manager.exec(owner, Command(line), stdin=io.BytesIO(archive))
    assert result.exit_code == 0, result.stderr


def rounds(ground: Ground, intact: Figure, number: int, times: int) -> None:
    """Each round writes anew what the one before it wrote; what the first one kept is never written again."""
    owner = ground.new_owner("round")
    rng = random.Random(f"{SEED} rounds {number}")
    with ground.manager() as manager:
        manager.ensure(owner)
        kept = packed(files_of(rng), "kept")
        write(manager, owner, kept, "kept")
        for one in range(times):
            changed = packed(files_of(rng), "changed")
            write(manager, owner, changed, "changed")
            manager.delete(owner)
            manager.ensure(owner)
            result = manager.exec(owner, Command("tar c ."))
            intact.tried()
            if result.exit_code != 0 or checksums(result.stdout) != checksums(kept) | checksums(changed):
                intact.breaks(f"{owner.id}, round {one}: exit code {result.exit_code}, {len(result.stdout)} bytes")
        manager.delete(owner, purge=True)


def test_every_round_is_intact(real: Ground, figures: Figures) -> None:
    times = scaled(ROUNDS)
    intact = figures.begin("write, delete, create, verify", "0 not intact", OWNERS * times)
    with ThreadPoolExecutor(OWNERS) as pool:
        for share in [pool.submit(rounds, real, intact, number, times) for number in range(OWNERS)]:
            share.result()
    check(intact)
