"""testinfra's ssh backend with our ssh configuration, which gives a host up at its first silence instead of at each test."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from testinfra.backend.base import CommandResult, HostSpec
from testinfra.backend.ssh import SshBackend

from tests.verify.targets import Target, ssh_config
from tests.verify.unknown import fail_as_unknown

_BY_HAND = ("User", "Port", "IdentityFile", "UserKnownHostsFile")


class Connection(SshBackend):  # type: ignore[misc]  # testinfra is not typed
    """One master connection per host; every command of the suite is a channel of it."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.config = folder / "config"
        self.config.write_text(ssh_config(target, f"{folder}/control"), encoding="utf-8")
        super().__init__(
            "unused", ssh_config=str(self.config), controlpersist=0, sudo=target.sudo, sudo_user=target.sudo_user
        )
        self.host = HostSpec(target.address, None, None, None)  # an IPv6 address is no host:port
        self.hostname = target.name
        self.lost: str | None = None

    def run_ssh(self, command: str) -> CommandResult:
        __tracebackhide__ = True
        if self.lost is None:
            try:
                return super().run_ssh(command)
            except RuntimeError as error:  # exit status 255: ssh itself
                result = error.args[0]
                self.lost = (result.stderr.strip() or "ssh ended with status 255").splitlines()[-1]
        fail_as_unknown(f"{self.hostname} cannot be reached: {self.lost}\n  by hand: {self.by_hand}")

    @property
    def by_hand(self) -> str:
        """A command that shows the same to a person, with the options that are not in their own configuration."""
        options = [
            f"-o {word[0]}={word[1]}"
            for word in map(str.split, self.config.read_text().split("Host *")[0].splitlines())
            if word[0] in _BY_HAND
        ]
        return " ".join(["ssh", *options, self.host.name])

    def close(self) -> None:
        command = ["ssh", "-F", str(self.config), "-O", "exit", "--", self.host.name]
        with contextlib.suppress(
            subprocess.TimeoutExpired
        ):  # a master whose host is gone ends by itself, see ssh_config
            subprocess.run(command, capture_output=True, timeout=10, check=False)

    def resolved(self) -> dict[str, str]:
        """What ssh makes of all configuration, `ssh -G`: option in lower case -> value. Connects to nothing."""
        command = ["ssh", "-F", str(self.config), "-G", "--", self.host.name]
        lines = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()
        return dict(line.split(" ", 1) for line in lines if " " in line)


class Connections:
    """The connections of one test run, opened when first asked for."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="llm-verify-"))  # short: a control socket's path has 104 characters
        self._open: dict[str, Connection] = {}

    def to(self, target: Target) -> Connection:
        if target.name not in self._open:
            folder = self._folder / str(len(self._open))
            folder.mkdir(mode=0o700)
            self._open[target.name] = Connection(target, folder)
        return self._open[target.name]

    def close(self) -> None:
        for connection in self._open.values():
            connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)
