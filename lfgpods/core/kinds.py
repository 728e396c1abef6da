"""Enumerations that are values of command line options. Imports nothing else, so that `lfgpods --help` stays quick."""

from __future__ import annotations

from enum import StrEnum


class HostKind(StrEnum):
    """Where kubectl runs: on a host over SSH, on this machine, or nowhere (the embedded stand-in answers)."""

    SSH = "ssh"
    LOCAL = "local"
    EMBEDDED = "embedded"


class State(StrEnum):
    """The state of a pod. `deleted`: its data is kept. `unknown`: the host or the node does not answer."""

    CREATING = "creating"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    DELETED = "deleted"
    UNKNOWN = "unknown"
