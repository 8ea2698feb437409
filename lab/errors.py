"""What the lab says when it cannot do something: what failed, why, and what to type next."""

from __future__ import annotations


class LabError(Exception):
    """A failure a person can act on.

    `what` names the action and the host, `cause` the reason, `next_command` what to do about it.
    """

    def __init__(self, what: str, cause: str, next_command: str) -> None:
        super().__init__(what, cause, next_command)
        self.what = what
        self.cause = cause
        self.next_command = next_command

    def __str__(self) -> str:
        return f"{self.what}: {self.cause}\n  next: {self.next_command}"


class CannotRun(LabError):
    """This machine cannot host a lab; `cause` is the reason that tests show when they skip."""


class UnknownHost(LabError):
    """A host that this lab does not have."""


class HostNotReady(LabError):
    """A host did not answer in the time it was given."""


class CommandFailed(LabError):
    """A command on a host ended with an exit status other than 0."""

    def __init__(self, host: str, command: str, returncode: int, stdout: str, stderr: str) -> None:
        shown = (stderr.strip() or stdout.strip() or "it printed nothing")[-2000:]
        super().__init__(f"{host}: {command!r} ended with {returncode}", shown, f"python -m lab ssh {host}")
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr


class ToolFailed(LabError):
    """A tool of this machine (ip, nft, mmdebstrap …) failed."""
