"""A Kubernetes pod for each project and each conversation, with data that outlives it.

    from lfgpods import Command, Owner, PodManager, Request

    with PodManager() as pods:
        pod = pods.ensure(Owner.project("my-app"), Request(image="python:3.12"))
        result = pods.exec(pod.owner, Command("python3 app.py"))

Importing lfgpods is quick: each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lfgpods.api.lfg import delete_kubernetes_pod, execute_command_in_pod, manage_kubernetes_pod
    from lfgpods.api.manager import PodManager
    from lfgpods.core.errors import (
        ClusterUnreachableError,
        HostError,
        HostUnreachableError,
        KubernetesError,
        LfgpodsError,
        OutcomeUnknownError,
        PodNotFoundError,
        PodNotRunningError,
        SettingsError,
        StoreError,
        TemplateError,
        TimeLimitError,
        UsageError,
        VolumeError,
    )
    from lfgpods.core.kinds import State
    from lfgpods.core.owners import Owner
    from lfgpods.core.pod import Deletion, Pod
    from lfgpods.core.settings import Settings, load_settings
    from lfgpods.core.spec import Request
    from lfgpods.core.version import __version__
    from lfgpods.exec.command import Command, ExecResult

_HOMES = {
    "api.lfg": "delete_kubernetes_pod execute_command_in_pod manage_kubernetes_pod",
    "api.manager": "PodManager",
    "core.errors": "ClusterUnreachableError HostError HostUnreachableError KubernetesError LfgpodsError"
    " OutcomeUnknownError PodNotFoundError PodNotRunningError SettingsError StoreError TemplateError TimeLimitError"
    " UsageError VolumeError",
    "core.owners": "Owner",
    "core.kinds": "State",
    "core.pod": "Deletion Pod",
    "core.settings": "Settings load_settings",
    "core.spec": "Request",
    "core.version": "__version__",
    "exec.command": "Command ExecResult",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "ClusterUnreachableError",
    "Command",
    "Deletion",
    "ExecResult",
    "HostError",
    "HostUnreachableError",
    "KubernetesError",
    "LfgpodsError",
    "OutcomeUnknownError",
    "Owner",
    "Pod",
    "PodManager",
    "PodNotFoundError",
    "PodNotRunningError",
    "Request",
    "Settings",
    "SettingsError",
    "State",
    "StoreError",
    "TemplateError",
    "TimeLimitError",
    "UsageError",
    "VolumeError",
    "__version__",
    "delete_kubernetes_pod",
    "execute_command_in_pod",
    "load_settings",
    "manage_kubernetes_pod",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"lfgpods.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
