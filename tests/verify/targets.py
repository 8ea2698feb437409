"""The hosts to verify and how OpenSSH reaches them: from the inventory's data to settings and an ssh configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from roles.inventory import read_hosts
from roles.pins import ROOT
from roles.settings import SettingsError
from roles.site import Site, site_from


@dataclass(frozen=True)
class Target:
    """One host of the inventory. `ssh` holds its ssh_* data; `listeners` what `_verify_listeners` allows besides ours.

    pytest prints the arguments of a test that fails: whatever may hold a secret stays out of the repr.
    """

    name: str
    connector: str
    ssh: Mapping[str, Any] = field(repr=False)
    sudo: bool
    sudo_user: str | None
    sudo_password: bool
    listeners: tuple[str, ...]
    layers: tuple[Mapping[str, Any], ...] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)

    @property
    def address(self) -> str:
        """What the ssh configuration knows the host by; its HostName may say otherwise."""
        return str(self.ssh.get("ssh_hostname") or self.name)

    @cached_property
    def site_or_problems(self) -> Site | list[str]:
        """The settings exactly as deploy sees them, or every problem in them."""
        try:
            return site_from(self.layers, self.environment)
        except SettingsError as error:
            return error.problems

    @property
    def obstacle(self) -> str | None:
        """Why this suite cannot reach the host at all, although pyinfra may: None when it can try."""
        if self.connector != "SSHConnector":
            return f"pyinfra reaches it by {self.connector}; verify needs SSH: give it an ssh_hostname"
        if self.ssh.get("ssh_password"):
            return "ssh_password is set; verify uses the OpenSSH client, which needs a key or an agent: ssh-copy-id, ssh_key"
        if self.ssh.get("ssh_key_password"):
            return f"ssh_key_password is set; load the key into an agent instead: ssh-add {self.ssh.get('ssh_key', '')}"
        if self.sudo_password:
            return (
                "_sudo_password is set; verify has no terminal to give it: allow sudo without a password, or use root"
            )
        return None


def read_targets(
    inventory: str, limit: Sequence[str], data: Sequence[str], environment: Mapping[str, str]
) -> list[Target]:
    """The hosts of `inventory` that `limit` leaves, see read_hosts. Raises InventoryError."""
    return [target_from(host, environment) for host in read_hosts(inventory, limit, data)]


def target_from(host: Mapping[str, Any], environment: Mapping[str, str]) -> Target:
    """One host of read_hosts' answer."""
    return Target(
        name=host["name"],
        connector=host["connector"],
        ssh=host["ssh"],
        sudo=bool(host["sudo"]),
        sudo_user=host["sudo_user"],
        sudo_password=host["sudo_password"],
        listeners=tuple(host["listeners"]),
        layers=tuple(host["layers"]),
        environment=environment,
    )


def ssh_config(target: Target, control_path: str) -> str:
    """The configuration file for `ssh -F` to `target.address`; says what pyinfra's own SSH client would do.

    Host data wins over the operator's ssh configuration, because ssh takes the first value it meets. The lines are in a block
    for this host alone: a jump host named in the operator's configuration is reached with its own user and key.
    """
    return "\n".join([f"Host {quoted(target.address)}", *_options(target, control_path), "Host *", *_last(target), ""])


def _options(target: Target, control_path: str) -> Iterable[str]:
    ssh = target.ssh
    yield "  BatchMode yes"  # no question can be answered here
    if user := ssh.get("ssh_user"):
        yield f"  User {quoted(str(user))}"
    if port := int(ssh.get("ssh_port") or 0):
        yield f"  Port {port}"
    if key := ssh.get("ssh_key"):
        yield f"  IdentityFile {quoted(_path(str(key)))}"
        yield "  IdentitiesOnly yes"
    else:
        if not ssh.get("ssh_allow_agent", True):
            yield "  IdentityAgent none"
        if not ssh.get("ssh_look_for_keys", True):
            yield "  IdentityFile none"
    if known_hosts := ssh.get("ssh_known_hosts_file"):
        yield f"  UserKnownHostsFile {quoted(_path(str(known_hosts)))}"
    if checking := ssh.get("ssh_strict_host_key_checking", "accept-new"):
        yield f"  StrictHostKeyChecking {checking}"
    yield f"  ConnectionAttempts {1 + int(ssh.get('ssh_connect_retries') or 0)}"
    yield "  ServerAliveInterval 5"  # a cable that is pulled in the middle ends the run in 15 s
    yield "  ServerAliveCountMax 3"
    yield "  ControlMaster auto"
    yield f"  ControlPath {quoted(control_path)}"
    yield "  ControlPersist 60s"


def _last(target: Target) -> Iterable[str]:
    # `ssh -F` leaves out the user's own configuration; pyinfra reads it, unless ssh_config_file names another.
    operators = _path(str(target.ssh.get("ssh_config_file") or "~/.ssh/config"))
    yield f"  Include {quoted(operators, tokens=False)}"
    yield "  LogLevel ERROR"


def quoted(text: str, tokens: bool = True) -> str:
    """One word of an ssh configuration. `tokens`: whether ssh would expand %-tokens in it (it does so in most paths)."""
    return '"' + (text.replace("%", "%%") if tokens else text) + '"'


def _path(text: str) -> str:
    path = Path(text).expanduser()
    return str(path if path.is_absolute() else ROOT / path)
