"""Settings from `.env` in the current folder and from the environment, which wins.

Nothing is read at import. An empty value counts as not set.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from lfgpods.core.errors import SettingsError, UsageError
from lfgpods.core.kinds import HostKind as HostKind
from lfgpods.core.spec import POD_SECURITY_LEVELS, Hardening, PodSpec, Resources, checked
from lfgpods.core.text import duration

T = TypeVar("T")

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True)
class SshSettings:
    """How to reach the Kubernetes host. A repr shows no secrets."""

    host: str
    port: int | None
    username: str | None
    key_file: Path | None
    key_string: str | None = field(repr=False)
    key_passphrase: str | None = field(repr=False)
    known_hosts: Path | None
    accept_new_host_keys: bool
    accepted_host_keys: Path
    """lfgpods' own file, to which accept-new appends. Nothing writes to the user's known_hosts."""


@dataclass(frozen=True)
class Settings:
    """All settings. Times are in seconds."""

    host: HostKind | None
    ssh: SshSettings | None
    embedded_folder: Path
    kubectl: tuple[str, ...]
    context: str | None
    sudo: bool
    access_host: str | None
    volume_root: str
    database: str = field(repr=False)
    """A path or a PostgreSQL URL. The URL may hold a password."""
    templates: Path | None
    defaults: PodSpec
    hardening: Hardening
    timeout: float
    log_file: Path
    keep: float | None
    """How long a keeper, and the shells in pods, wait for the next command. None: no keeper."""
    node: str | None
    """The node with the volume folders, if lfgpods cannot find out."""
    lock_namespace: str
    """The namespace of the Leases that lock an owner during a change."""
    start_grace: float = 10.0
    """How long scheduling or pulling the image may fail before the pod counts as failed."""
    instance: str | None = None
    """This installation's name, if several share a cluster. Each sees only its own pods."""

    def require_host(self) -> HostKind:
        """The kind of host. Raises SettingsError if none is configured."""
        if self.host is None:
            raise SettingsError(
                "no Kubernetes host is configured",
                "In .env or in the environment, set K8S_SSH_HOST to reach one by SSH, LFGPODS_HOST=local to use this "
                "machine's kubectl, or LFGPODS_HOST=embedded to try lfgpods without a cluster.",
            )
        return self.host

    def require_ssh(self) -> SshSettings:
        """The SSH settings. Raises SettingsError if there are none."""
        if self.ssh is None:
            raise SettingsError("LFGPODS_HOST is ssh, but no host is set", "Set K8S_SSH_HOST to its name or address.")
        return self.ssh


def load_settings(environ: Mapping[str, str] | None = None, env_file: Path | None = None) -> Settings:
    """Read the settings from ENV_FILE (default `.env`) and ENVIRON (default: the process's environment).

    Raises SettingsError, which names the variable.
    """
    values = _Values({**_read_env_file(env_file or Path(".env")), **(os.environ if environ is None else environ)})
    data_dir = _data_dir()
    ssh = _ssh_settings(values, data_dir)
    host = values.get("LFGPODS_HOST", _host_kind) or (HostKind.SSH if ssh else None)
    embedded_folder = (values.get("LFGPODS_EMBEDDED_FOLDER", _path) or data_dir / "embedded").absolute()
    instance = values.get("LFGPODS_INSTANCE", _instance)
    suffix = f"-{instance}" if instance else ""
    volume_root = str(embedded_folder / "volumes") if host is HostKind.EMBEDDED else "/mnt/data/user-volumes"
    context = values.text("LFGPODS_CONTEXT")
    hardening = _hardening(values)
    grace = values.get("LFGPODS_START_GRACE", lambda text: 0.0 if text == "0" else _seconds(text))
    return Settings(
        host=host,
        ssh=ssh,
        embedded_folder=embedded_folder,
        kubectl=(
            *(values.get("LFGPODS_KUBECTL", _command) or ["kubectl"]),
            *(["--context", context] if context else []),
        ),
        context=context,
        sudo=values.flag("LFGPODS_SUDO", default=False),
        access_host=values.text("LFGPODS_ACCESS_HOST"),
        volume_root=values.get("LFGPODS_VOLUME_ROOT", _absolute) or volume_root + suffix,
        database=values.get("LFGPODS_DATABASE", database_place) or str(data_dir / f"lfgpods{suffix}.db"),
        templates=values.get("LFGPODS_TEMPLATES", _folder),
        defaults=_default_spec(values, hardening),
        hardening=hardening,
        timeout=values.get("LFGPODS_TIMEOUT", _seconds) or 300.0,
        log_file=(values.get("LFGPODS_LOG_FILE", _path) or data_dir / "lfgpods.log").absolute(),
        keep=values.get("LFGPODS_KEEP", _duration) or None,
        node=values.get("LFGPODS_NODE", _name),
        lock_namespace=values.get("LFGPODS_LOCK_NAMESPACE", _label) or "default",
        start_grace=10.0 if grace is None else grace,
        instance=instance,
    )


def _ssh_settings(values: _Values, data_dir: Path) -> SshSettings | None:
    host = values.text("K8S_SSH_HOST")
    if host is None:
        return None
    key_string = values.text("K8S_SSH_KEY_STRING")
    policies = {"strict": False, "accept-new": True}
    policy = values.text("K8S_SSH_HOST_KEY_POLICY") or "strict"
    if policy not in policies:
        raise _wrong("K8S_SSH_HOST_KEY_POLICY", "strict or accept-new")
    return SshSettings(
        host=host,
        port=values.get("K8S_SSH_PORT", _port),
        username=values.text("K8S_SSH_USERNAME"),
        key_file=values.get("K8S_SSH_KEY_FILE", _path),
        key_string=key_string.replace("\\n", "\n") if key_string else None,
        key_passphrase=values.text("K8S_SSH_KEY_PASSPHRASE"),
        known_hosts=values.get("K8S_SSH_KNOWN_HOSTS", _path),
        accept_new_host_keys=policies[policy],
        accepted_host_keys=data_dir / "known_hosts",
    )


def _hardening(values: _Values) -> Hardening:
    base = Hardening()
    return Hardening(
        service_account_token=values.flag("LFGPODS_SERVICE_ACCOUNT_TOKEN", default=base.service_account_token),
        seccomp=values.flag("LFGPODS_SECCOMP", default=base.seccomp),
        pod_security=values.get("LFGPODS_POD_SECURITY", _pod_security) or base.pod_security,
        restricted_user=values.get("LFGPODS_RESTRICTED_USER", _user) or base.restricted_user,
        network_policy=values.flag("LFGPODS_NETWORK_POLICY", default=base.network_policy),
        pod_cidrs=values.get("LFGPODS_POD_CIDRS", _networks) or base.pod_cidrs,
        limit_range=values.flag("LFGPODS_LIMIT_RANGE", default=base.limit_range),
        resource_quota=values.flag("LFGPODS_RESOURCE_QUOTA", default=base.resource_quota),
    )


def _default_spec(values: _Values, hardening: Hardening) -> PodSpec:
    spec = PodSpec(
        image=values.text("LFGPODS_IMAGE") or "gitpod/workspace-full:latest",
        resources=Resources(
            memory=values.text("LFGPODS_MEMORY") or "1Gi",
            cpu=values.text("LFGPODS_CPU") or "1",
            memory_requests=values.text("LFGPODS_MEMORY_REQUEST") or "128Mi",
            cpu_requests=values.text("LFGPODS_CPU_REQUEST") or "50m",
        ),
        storage_size=values.text("LFGPODS_STORAGE_SIZE") or "1Gi",
        ports=values.get("LFGPODS_PORTS", _ports) or (8080,),
        restricted=values.flag("LFGPODS_RESTRICTED", default=hardening.pod_security == "restricted"),
        runtime_class=values.text("LFGPODS_RUNTIME_CLASS"),
        storage_class=values.text("LFGPODS_STORAGE_CLASS"),
    )
    try:
        return checked(spec)
    except UsageError as error:
        raise SettingsError(
            f"the default pod is invalid: {error.message}", f"Correct the LFGPODS_* setting: {error.hint}"
        ) from None


class _Values:
    """The raw values. Converts one at a time, and names the variable in errors."""

    def __init__(self, values: Mapping[str, str | None]) -> None:
        self._values = values

    def text(self, name: str) -> str | None:
        return (self._values.get(name) or "").strip() or None

    def get(self, name: str, convert: Callable[[str], T]) -> T | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            return convert(text)
        except ValueError as error:
            raise _wrong(name, str(error)) from None

    def flag(self, name: str, *, default: bool) -> bool:
        found = self.get(name, _boolean)
        return default if found is None else found


def _wrong(name: str, expected: str) -> SettingsError:
    return SettingsError(f"{name} must be {expected}", f"Correct {name} in .env or in the environment.")


def _read_env_file(path: Path) -> dict[str, str | None]:
    if not path.is_file():
        return {}
    from dotenv import dotenv_values

    try:
        return dotenv_values(path, interpolate=False, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}", "Make it a readable UTF-8 text file.") from error


def _data_dir() -> Path:
    from platformdirs import user_data_path

    return user_data_path("lfgpods")


def _host_kind(text: str) -> HostKind:
    try:
        return HostKind(text)
    except ValueError:
        raise ValueError("ssh, local or embedded") from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise ValueError("a port from 1 to 65535")
    return int(text)


def _ports(text: str) -> tuple[int, ...]:
    try:
        return tuple(_port(word) for word in text.replace(",", " ").split())
    except ValueError:
        raise ValueError("a list of ports such as 8080 3000") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise ValueError("a number of seconds above 0")
    return seconds


def _duration(text: str) -> float:
    try:
        return 0.0 if text == "0" else duration(text)
    except ValueError:
        raise ValueError("a time such as 90s, 10m or 2h, or 0") from None


def _boolean(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError("1 or 0")
    return text.lower() in _TRUE


def _pod_security(text: str) -> str:
    if text not in POD_SECURITY_LEVELS:
        raise ValueError("privileged, baseline or restricted")
    return text


def _user(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) < 2**31):
        raise ValueError("the number of a user other than root, such as 1000")
    return int(text)


def _networks(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(word)) for word in text.replace(",", " ").split())
    except ValueError:
        raise ValueError("a list of networks such as 10.244.0.0/16") from None


def _label(text: str) -> str:
    if len(text) > 63 or not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", text):
        raise ValueError("the name of a namespace")
    return text


def _instance(text: str) -> str:
    if len(text) > 40 or not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", text):
        raise ValueError("a name of up to 40 lower-case letters, digits and hyphens, such as staging")
    return text


def _name(text: str) -> str:
    if len(text) > 253 or not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", text):
        raise ValueError("the name of a node, as kubectl get nodes lists it")
    return text


def _command(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        raise ValueError("a command line with closed quotes") from None


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("a path whose ~ names an existing user") from None


def is_postgresql(database: str) -> bool:
    """Whether DATABASE is a PostgreSQL URL, not the path of an SQLite file."""
    return database.startswith(("postgresql://", "postgres://"))


def database_place(text: str) -> str:
    """The path or PostgreSQL URL in TEXT. Raises ValueError."""
    if is_postgresql(text):
        return text
    if re.match(r"[A-Za-z][\w+.-]*://", text):
        raise ValueError("the path of an SQLite file or a URL such as postgresql://user@host/name")
    return str(_path(text))


def _folder(text: str) -> Path:
    if not _path(text).is_dir():
        raise ValueError("an existing folder")
    return _path(text)


def _absolute(text: str) -> str:
    path = os.path.normpath(text)
    plain = text.isprintable() and "\\" not in text
    if not text.startswith("/") or ".." in text.split("/") or path.count("/") < 2 or not plain:
        raise ValueError("a plain absolute path at least two levels deep, such as /mnt/data/user-volumes")
    return path
