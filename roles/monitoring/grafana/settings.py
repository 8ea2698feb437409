"""What an operator may say about Grafana, which shows what Prometheus has collected."""

from __future__ import annotations

from pydantic import Field

from roles.secret_sources import SecretCommand, SecretFile, SecretSource, Variable
from roles.settings import Settings


class GrafanaSettings(Settings):
    """Key `monitoring.grafana`; with `monitoring.stack` only."""

    enabled: bool = Field(True, description="`False`: Prometheus alone, for a site that has a Grafana elsewhere")
    version: str | None = Field(None, pattern=r"^\d+\.\d+\.\d+$", description="release; default in pins.toml")
    build: str | None = Field(
        None,
        pattern=r"^\d{6,}$",
        description="number in the archive's name: `grafana_VERSION_BUILD_linux_amd64.tar.gz`",
    )
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="of that archive, from grafana.com/grafana/download/VERSION"
    )
    address: str = Field(
        "127.0.0.1",
        pattern=r"^\d{1,3}(\.\d{1,3}){3}$",
        description="address of the host that browsers reach it by; loopback is for a tunnel",
    )
    port: int = Field(3001, ge=1024, le=65535, description="3000, its own default, is the consumers' frontend")
    anonymous: bool = Field(False, description="whoever reaches it may look without a password; changing asks for one")
    password_variable: Variable = Field(
        "GRAFANA_ADMIN_PASSWORD", description="variable on the controller that holds the password of `admin`"
    )
    password_file: SecretFile = Field(None, description="file on the controller that holds the password instead")
    password_command: SecretCommand = Field(
        (), description="command on the controller that prints it instead, a list of words; no shell reads it"
    )

    @property
    def password(self) -> SecretSource:
        """Where the controller has the password of `admin`."""
        return SecretSource(
            "monitoring.grafana.password", self.password_variable, self.password_file, self.password_command, "password"
        )
