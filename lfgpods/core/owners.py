"""From an owner to the names of everything that belongs to it. Pure: no settings, no network, no clock.

Two different ids never get the same namespace: an id that is a valid label is used as it is, every other
one gets a readable slug and a hash of the exact id, and an id that merely looks like such a slug is hashed too.
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

NAMESPACE_LENGTH = 54  # "<namespace>-service" has to fit into the 63 characters of a label
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
    """A project or a conversation, by its exact id; it has at most one pod."""

    kind: OwnerKind
    id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id!r}"

    @classmethod
    def project(cls, id: str) -> Owner:
        """The project ID. Raises UsageError if it cannot name anything."""
        return _checked(OwnerKind.PROJECT, id)

    @classmethod
    def conversation(cls, id: str) -> Owner:
        """The conversation ID. Raises UsageError if it cannot name anything."""
        return _checked(OwnerKind.CONVERSATION, id)

    @property
    def option(self) -> str:
        """The command line option that names this owner, ready to be typed."""
        return f"--{self.kind}-id {shlex.quote(self.id)}"


@dataclass(frozen=True)
class Names:
    """The names of an owner's objects; those that LFG's first manager made have the names that it gave."""

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
        """The namespace without its prefix: a valid label value that stands for the id."""
        return self.namespace.split("-", 1)[1]

    def folder(self, volume_root: str) -> str:
        """The absolute path of the volume folder on the host."""
        return f"{volume_root.rstrip('/')}/{self.namespace}"


def resolve_owner(project_id: str | None, conversation_id: str | None) -> Owner:
    """The owner that the two ids name: the project where both are given.

    Raises UsageError when neither is given or the id cannot name anything.
    """
    if project_id is not None:
        return _checked(OwnerKind.PROJECT, project_id)
    if conversation_id is not None:
        return _checked(OwnerKind.CONVERSATION, conversation_id)
    raise UsageError("no owner was given", "Name one with --project-id or --conversation-id.")


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
    """The names of OWNER's objects; equal for equal owners only."""
    prefix = _PREFIX[owner.kind]
    plain = prefix + owner.id
    if len(plain) <= NAMESPACE_LENGTH and _LABEL.fullmatch(owner.id) and not _HASHED.search(owner.id):
        return Names(plain)
    digest = base64.b32encode(hashlib.sha256(owner.id.encode()).digest()).decode().lower()[:_HASH_LENGTH]
    room = NAMESPACE_LENGTH - len(prefix) - len("--") - _HASH_LENGTH
    ascii_id = unicodedata.normalize("NFKD", owner.id).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_id).strip("-")[:room].rstrip("-") or "x"
    return Names(f"{prefix}{slug}--{digest}")
