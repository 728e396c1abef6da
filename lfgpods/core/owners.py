"""Owners, and the names of everything that belongs to one. Pure: no settings, no network, no clock.

Two different ids never get the same namespace. A valid label is used as it is. Any other id becomes a readable slug
and a hash of the exact id; so does an id that looks like such a slug.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from lfgpods.core.errors import UsageError

NAMESPACE_LENGTH = 54  # "<namespace>-service" must fit into the 63 characters of a label
ID_LENGTH = 256
_HASH_LENGTH = 16  # base32 characters, 80 bits
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_HASHED = re.compile(rf"--[a-z2-7]{{{_HASH_LENGTH}}}$")


class OwnerKind(StrEnum):
    PROJECT = "project"
    CONVERSATION = "conversation"


_PREFIX = {OwnerKind.PROJECT: "proj-", OwnerKind.CONVERSATION: "conv-"}


@dataclass(frozen=True)
class Owner:
    """A project or a conversation, by its exact id. Has at most one pod."""

    kind: OwnerKind
    id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id!r}"

    @classmethod
    def project(cls, id: str) -> Owner:
        """The project ID. Raises UsageError if ID is invalid."""
        return _checked(OwnerKind.PROJECT, id)

    @classmethod
    def conversation(cls, id: str) -> Owner:
        """The conversation ID. Raises UsageError if ID is invalid."""
        return _checked(OwnerKind.CONVERSATION, id)

    @property
    def option(self) -> str:
        """The command line option for this owner, quoted for a shell."""
        return f"--{self.kind}-id {shlex.quote(self.id)}"


@dataclass(frozen=True)
class Names:
    """The names of an owner's objects: those that LFG's first manager used, so that lfgpods adopts what it made."""

    namespace: str

    @property
    def volume(self) -> str:
        return f"{self.namespace}-pv"

    @property
    def claim(self) -> str:
        return f"{self.namespace}-pvc"

    @property
    def deployment(self) -> str:
        return f"{self.namespace}-dep"

    @property
    def service(self) -> str:
        return f"{self.namespace}-service"

    @property
    def network_policy(self) -> str:
        return f"{self.namespace}-netpol"

    @property
    def limits(self) -> str:
        return f"{self.namespace}-limits"

    @property
    def quota(self) -> str:
        return f"{self.namespace}-quota"

    @property
    def slug(self) -> str:
        """The namespace without its prefix. A valid label value for the id."""
        return self.namespace.split("-", 1)[1]

    def folder(self, volume_root: str) -> str:
        """The absolute path of the volume folder on the host."""
        return f"{volume_root.rstrip('/')}/{self.namespace}"


def resolve_owner(project_id: str | None, conversation_id: str | None) -> Owner:
    """The owner with one of the two ids; the project if both are given.

    Raises UsageError if neither is given or the id is invalid.
    """
    if project_id is not None:
        return _checked(OwnerKind.PROJECT, project_id)
    if conversation_id is not None:
        return _checked(OwnerKind.CONVERSATION, conversation_id)
    raise UsageError("no owner was given", "Give one with --project-id or --conversation-id.")


def _checked(kind: OwnerKind, id: str) -> Owner:
    wrong = None
    if not isinstance(id, str):
        wrong = f"it is of type {type(id).__name__}, not text"
    elif not id.strip():
        wrong = "it is empty"
    elif len(id) > ID_LENGTH:
        wrong = f"it has {len(id)} characters"
    elif any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in id):
        wrong = "it holds a control character"
    if wrong:
        raise UsageError(
            f"the {kind} id is invalid: {wrong}",
            f"Use 1 to {ID_LENGTH} printable characters, for example {kind.value[:4]}-42.",
            code="invalid_id",
        )
    return Owner(kind, id)


def names_of(owner: Owner) -> Names:
    """The names of OWNER's objects. No two owners share any."""
    prefix = _PREFIX[owner.kind]
    plain = prefix + owner.id
    if len(plain) <= NAMESPACE_LENGTH and _LABEL.fullmatch(owner.id) and not _HASHED.search(owner.id):
        return Names(plain)
    digest = base64.b32encode(hashlib.sha256(owner.id.encode()).digest()).decode().lower()[:_HASH_LENGTH]
    room = NAMESPACE_LENGTH - len(prefix) - len("--") - _HASH_LENGTH
    ascii_id = unicodedata.normalize("NFKD", owner.id).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_id).strip("-")[:room].rstrip("-") or "x"
    return Names(f"{prefix}{slug}--{digest}")
