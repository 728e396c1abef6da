"""Writes container images as one OCI archive, the form that `ctr images import` reads."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Image:
    """An image: its full name, its layers (uncompressed tar files, lowest first) and what runs in it as whom."""

    name: str
    layers: tuple[Path, ...]
    user: str = ""
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()


@dataclass
class Layer:
    """A layer that is put together file by file; everything in it belongs to root unless said otherwise."""

    entries: list[tuple[tarfile.TarInfo, bytes]] = field(default_factory=list)

    def _add(self, path: str, kind: bytes, mode: int, owner: int, content: bytes = b"", target: str = "") -> None:
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.uid, info.gid = kind, mode, owner, owner
        info.size, info.linkname = len(content), target
        self.entries.append((info, content))

    def folder(self, path: str, mode: int = 0o755, owner: int = 0) -> None:
        self._add(path, tarfile.DIRTYPE, mode, owner)

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        self._add(path, tarfile.REGTYPE, mode, 0, content)

    def link(self, path: str, target: str) -> None:
        self._add(path, tarfile.SYMTYPE, 0o777, 0, target=target)

    def write(self, path: Path) -> Path:
        with tarfile.open(path, "w") as archive:
            for info, content in self.entries:
                archive.addfile(info, io.BytesIO(content))
        return path


class _Blobs:
    """The content-addressed files of an archive; what two images share is written once."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._files: dict[Path, dict[str, object]] = {}
        self._written: set[str] = set()

    def add(self, media_type: str, content: bytes) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._written:
            self._written.add(digest)
            info = tarfile.TarInfo(f"blobs/sha256/{digest}")
            info.size = len(content)
            self._archive.addfile(info, io.BytesIO(content))
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def add_file(self, media_type: str, path: Path) -> dict[str, object]:
        if path not in self._files:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            self._archive.add(path, f"blobs/sha256/{digest}")
            size = path.stat().st_size
            self._files[path] = {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}
        return self._files[path]


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True).encode()


def _manifest(image: Image, blobs: _Blobs) -> dict[str, object]:
    layers = [blobs.add_file("application/vnd.oci.image.layer.v1.tar", layer) for layer in image.layers]
    config = {
        "architecture": _ARCHITECTURES[os.uname().machine],
        "os": "linux",
        "config": {
            "Env": [f"PATH={PATH}"],
            "User": image.user,
            "Cmd": list(image.command),
            "Entrypoint": list(image.entrypoint),
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blobs.add("application/vnd.oci.image.config.v1+json", _json(config)),
        "layers": layers,
    }
    descriptor = blobs.add("application/vnd.oci.image.manifest.v1+json", _json(manifest))
    return {**descriptor, "annotations": {"io.containerd.image.name": image.name}}


def write_archive(path: Path, images: Iterable[Image]) -> None:
    """Write IMAGES to PATH; PATH appears only once it is whole."""
    unfinished = path.with_suffix(".new")
    with tarfile.open(unfinished, "w") as archive:
        blobs = _Blobs(archive)
        manifests: Sequence[dict[str, object]] = [_manifest(image, blobs) for image in images]
        for name, document in (
            ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
            ("index.json", {"schemaVersion": 2, "manifests": manifests}),
        ):
            content = _json(document)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    os.replace(unfinished, path)
