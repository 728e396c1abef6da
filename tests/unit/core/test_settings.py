from __future__ import annotations

import re
from pathlib import Path

import pytest

from lfgpods.core.errors import SettingsError
from lfgpods.core.settings import HostKind, Settings, load_settings
from lfgpods.core.spec import Hardening

ROOT = Path(__file__).parents[3]


def test_defaults(empty_folder: Path) -> None:
    settings = load_settings({"K8S_SSH_HOST": "h"})
    ssh = settings.require_ssh()
    assert (settings.host, ssh.host, ssh.port, ssh.username, ssh.key_file) == (HostKind.SSH, "h", None, None, None)
    assert settings.defaults.image == "gitpod/workspace-full:latest"
    assert (settings.volume_root, settings.kubectl) == ("/mnt/data/user-volumes", ("kubectl",))
    assert settings.database == str(empty_folder / "data" / "lfgpods" / "lfgpods.db")
    assert not ssh.accept_new_host_keys


def test_the_environment_wins_over_the_file(empty_folder: Path) -> None:
    (empty_folder / ".env").write_text("K8S_SSH_HOST=file\nK8S_SSH_PORT=2222\nK8S_SSH_KEY_PASSPHRASE='a$b${HOME}#c'\n")
    ssh = load_settings({"K8S_SSH_HOST": "environment"}).require_ssh()
    assert (ssh.host, ssh.port, ssh.key_passphrase) == ("environment", 2222, "a$b${HOME}#c")


def test_without_any_settings_the_error_says_what_to_set(empty_folder: Path) -> None:
    with pytest.raises(SettingsError) as missing:
        load_settings({}).require_host()
    assert all(word in missing.value.hint for word in ("K8S_SSH_HOST", "local", "embedded"))
    with pytest.raises(SettingsError, match="LFGPODS_HOST is ssh"):
        load_settings({"LFGPODS_HOST": "ssh"}).require_ssh()


def test_a_key_string_may_spell_its_newlines_as_backslash_n() -> None:
    ssh = load_settings({"K8S_SSH_HOST": "h", "K8S_SSH_KEY_STRING": "-----BEGIN\\nabc\\n-----END"}).require_ssh()
    assert ssh.key_string == "-----BEGIN\nabc\n-----END"


def test_no_secret_shows_in_a_repr() -> None:
    settings = load_settings({"K8S_SSH_HOST": "h", "K8S_SSH_KEY_STRING": "k3y", "K8S_SSH_KEY_PASSPHRASE": "phr4se"})
    assert not re.search("k3y|phr4se", repr(settings))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("K8S_SSH_PORT", "ssh"), ("K8S_SSH_PORT", "70000"), ("K8S_SSH_HOST_KEY_POLICY", "no"), ("LFGPODS_SUDO", "perhaps"),
        ("LFGPODS_TIMEOUT", "-1"), ("LFGPODS_TIMEOUT", "nan"), ("LFGPODS_VOLUME_ROOT", "/"), ("LFGPODS_VOLUME_ROOT", "/mnt"),
        ("LFGPODS_VOLUME_ROOT", "a/b"), ("LFGPODS_VOLUME_ROOT", "/mnt/../etc"), ("LFGPODS_TEMPLATES", "/no/such/folder"),
        ("LFGPODS_PORTS", "http"), ("LFGPODS_KUBECTL", "kubectl '"), ("LFGPODS_HOST", "cloud"),
        ("LFGPODS_POD_SECURITY", "strict"), ("LFGPODS_SECCOMP", "RuntimeDefault"), ("LFGPODS_RESTRICTED", "perhaps"),
        ("LFGPODS_RESTRICTED_USER", "0"), ("LFGPODS_RESTRICTED_USER", "root"), ("LFGPODS_RESTRICTED_USER", "4294967296"),
        ("LFGPODS_POD_CIDRS", "10.244.0.0/33"), ("LFGPODS_POD_CIDRS", "10.244.0.1/16"), ("LFGPODS_POD_CIDRS", "pods"),
        ("LFGPODS_NODE", "Two Words"),
    ],
)  # fmt: skip
def test_an_invalid_value_is_an_error_that_names_the_setting(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as wrong:
        load_settings({"K8S_SSH_HOST": "h", name: value})
    assert name in wrong.value.message + wrong.value.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LFGPODS_IMAGE", "No Image"),
        ("LFGPODS_MEMORY", "1GB"),
        ("LFGPODS_PORTS", "1 1"),
        ("LFGPODS_RUNTIME_CLASS", "a b"),
    ],
)
def test_an_invalid_default_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match="default pod"):
        load_settings({name: value})


def test_all_hardening_is_on_unless_switched_off() -> None:
    assert load_settings({}).hardening == Hardening()
    switched = {
        "LFGPODS_SERVICE_ACCOUNT_TOKEN": "1",
        "LFGPODS_SECCOMP": "0",
        "LFGPODS_POD_SECURITY": "privileged",
        "LFGPODS_RESTRICTED_USER": "33333",
        "LFGPODS_NETWORK_POLICY": "0",
        "LFGPODS_POD_CIDRS": "10.244.0.0/16, fd00::/64",
        "LFGPODS_LIMIT_RANGE": "0",
        "LFGPODS_RESOURCE_QUOTA": "0",
    }
    assert load_settings(switched).hardening == Hardening(
        service_account_token=True,
        seccomp=False,
        pod_security="privileged",
        restricted_user=33333,
        network_policy=False,
        pod_cidrs=("10.244.0.0/16", "fd00::/64"),
        limit_range=False,
        resource_quota=False,
    )


def test_new_pods_are_restricted_if_the_cluster_allows_nothing_else() -> None:
    assert not load_settings({}).defaults.restricted
    assert load_settings({"LFGPODS_RESTRICTED": "1", "LFGPODS_RUNTIME_CLASS": "gvisor"}).defaults.restricted
    assert load_settings({"LFGPODS_POD_SECURITY": "restricted"}).defaults.restricted


def test_kubectl_may_be_several_words_and_have_a_context() -> None:
    settings = load_settings({"LFGPODS_KUBECTL": "k3s kubectl", "LFGPODS_CONTEXT": "work"})
    assert settings.kubectl == ("k3s", "kubectl", "--context", "work")


def test_a_database_is_a_path_or_a_postgresql_url_whose_password_does_not_show() -> None:
    for url in ("postgresql://ada:hunter2@db.example.com:5433/pods?sslmode=require", "postgres:///pods"):
        settings = load_settings({"LFGPODS_DATABASE": url})
        assert settings.database == url
        assert "hunter2" not in repr(settings)
    assert load_settings({"LFGPODS_DATABASE": "~/a.db"}).database == str(Path.home() / "a.db")
    with pytest.raises(SettingsError, match="LFGPODS_DATABASE must be the path of an SQLite file or a URL") as refused:
        load_settings({"LFGPODS_DATABASE": "mysql://ada:hunter2@db.example.com/pods"})
    assert "hunter2" not in refused.value.message + refused.value.hint


def test_a_start_may_be_given_no_grace(empty_folder: Path) -> None:
    assert load_settings({}).start_grace == 10.0
    assert load_settings({"LFGPODS_START_GRACE": "0"}).start_grace == 0.0
    assert load_settings({"LFGPODS_START_GRACE": "2.5"}).start_grace == 2.5
    with pytest.raises(SettingsError, match="LFGPODS_START_GRACE must be a number of seconds"):
        load_settings({"LFGPODS_START_GRACE": "-1"})


def test_an_instance_has_a_volume_root_and_a_database_of_its_own(empty_folder: Path) -> None:
    usual, staging = load_settings({}), load_settings({"LFGPODS_INSTANCE": "staging"})
    assert (usual.instance, staging.instance) == (None, "staging")
    assert staging.volume_root == f"{usual.volume_root}-staging"
    assert staging.database == usual.database.replace("lfgpods.db", "lfgpods-staging.db") != usual.database
    chosen = {"LFGPODS_VOLUME_ROOT": "/srv/volumes", "LFGPODS_DATABASE": "/srv/a.db", "LFGPODS_INSTANCE": "b"}
    assert (load_settings(chosen).volume_root, load_settings(chosen).database) == ("/srv/volumes", "/srv/a.db")
    for wrong in ("Staging", "a b", "-a", "a" * 41, "a/b", "a.b"):
        with pytest.raises(SettingsError, match="LFGPODS_INSTANCE must be a name of up to 40"):
            load_settings({"LFGPODS_INSTANCE": wrong})


def test_the_example_shows_every_setting_with_its_default(empty_folder: Path) -> None:
    example = ROOT / ".env.example"
    shown = set(re.findall(r"^([A-Z0-9_]+)=", example.read_text(), re.MULTILINE))
    read = set(re.findall(r'"((?:K8S_SSH|LFGPODS)_[A-Z_]+)"', (ROOT / "lfgpods" / "core" / "settings.py").read_text()))
    assert shown == read

    def without_key_file(settings: Settings) -> object:
        return (
            settings.defaults,
            settings.hardening,
            settings.volume_root,
            settings.kubectl,
            settings.timeout,
            settings.start_grace,
            settings.sudo,
            settings.database,
        )

    assert without_key_file(load_settings({}, example)) == without_key_file(load_settings({}))


def test_the_docs_tell_every_setting() -> None:
    example = set(re.findall(r"^([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    table = set(
        re.findall(
            r"`((?:K8S_SSH|LFGPODS)_[A-Z_]+)`",
            "".join(re.findall(r"^\| `.*$", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)),
        )
    )
    assert example <= table
