"""Base: the ground every service stands on – packages, directories, the probe all gates use, a bounded journal."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.facts.server import OsRelease
from pyinfra.operations import apt

from roles.base.operations import distribution_sources, packages_finished
from roles.base.settings import BaseSettings
from roles.distribution import sources_text
from roles.host_files import directory, install_program, write
from roles.layout import CACHE, CREDENTIALS, ETC, LIBEXEC, OPT, STATE
from roles.restarts import started_after

# zstd unpacks Ollama's archive; python3-venv makes the first environment, in which uv makes all others.
PACKAGES = ("ca-certificates", "curl", "python3", "python3-venv", "zstd", "procps", "iproute2")
JOURNALD = "/etc/systemd/journald.conf.d/50-llm.conf"


@deploy("Base")
def base(settings: BaseSettings, distribution: str | None) -> None:
    """:param distribution: mirror of the distribution's packages; None leaves apt's sources to the host."""
    packages_finished(name="Finish what a run that was cut off left of packages")
    use_mirror(distribution)
    install(settings)
    configure(settings)


def use_mirror(distribution: str | None) -> None:
    system = host.get_fact(OsRelease)
    os, codename = system["id"], system["version_codename"]
    install_program("Install use-distribution-mirror", "roles/base/host/use-distribution-mirror")
    distribution_sources(
        name="Have the distribution's packages come from where the settings say",
        text=sources_text(distribution, os, codename) if distribution else "",
        codename=codename,
    )


def install(settings: BaseSettings) -> None:
    write(
        "Have apt wait for whoever holds its lock",
        "/etc/apt/apt.conf.d/51llm-lock",
        'DPkg::Lock::Timeout "300";\n',
    )
    apt.packages(
        name="Install the packages every role needs",
        packages=[*PACKAGES, *settings.packages],
        no_recommends=True,
        update=True,
        cache_time=86400,
    )


def configure(settings: BaseSettings) -> None:
    for path in (ETC, f"{ETC}/inputs", OPT, STATE, CACHE, LIBEXEC):
        directory(f"Have {path}", path)
    directory("Have the credentials directory, for root only", CREDENTIALS, mode="700")
    install_program("Install llm-ready, the probe of every gate", "roles/base/host/llm-ready")
    install_program("Install add-repository", "roles/base/host/add-repository")
    install_program("Install record-start", "roles/base/host/record-start")
    write(
        "Bound the journal",
        JOURNALD,
        f"[Journal]\nSystemMaxUse={settings.journal_max}\n",
    )
    started_after(
        name="Have the journal run with this bound",
        unit="systemd-journald.service",
        path=JOURNALD,
        restart="systemctl restart systemd-journald",
    )
