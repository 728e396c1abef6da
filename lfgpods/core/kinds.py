"""Enumerations that options of the command line offer. They load nothing, so `lfgpods --help` stays quick."""

from __future__ import annotations

from enum import StrEnum


class HostKind(StrEnum):
    """Where kubectl runs: on a host over SSH, on this machine, or nowhere, as the built-in stand-in answers."""

    SSH = "ssh"
    LOCAL = "local"
    EMBEDDED = "embedded"


class State(StrEnum):
    """The state of a pod. `deleted` has kept data; `unknown` is not known now, as the host or node is silent."""

    CREATING = "creating"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    DELETED = "deleted"
    UNKNOWN = "unknown"
