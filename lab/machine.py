"""What a host takes over from this machine: package sources, keys, certificates, name servers, proxies."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass
from pathlib import Path

from lab import apt_sources
from lab.errors import CannotRun
from lab.shell import run

ETC_APT = Path("/etc/apt")
CA_DIRECTORY = Path("/usr/local/share/ca-certificates")
# Settings without which a download that works here may not work there.
TRUST_SETTINGS = re.compile(
    r"(Acquire::(Check-Valid-Until|Check-Date|Retries|https?::(Verify-Peer|Verify-Host))) (.*);"
)
PROXY_SETTINGS = re.compile(r"Acquire::https?::Proxy(::\S+)? .*;")


@dataclass(frozen=True)
class Distribution:
    """What the base system is installed from."""

    suite: str
    sources: str  # the text of a .sources file
    files: dict[str, bytes]  # keys, mirror lists and certificates, by absolute path
    apt_settings: str


def distribution() -> Distribution:
    """Read this machine's distribution. Raises CannotRun where it is not one of Debian's family."""
    texts = {str(p): p.read_text(errors="replace") for p in sorted(ETC_APT.glob("sources.list*")) if p.is_file()}
    texts |= {str(p): p.read_text(errors="replace") for p in sorted((ETC_APT / "sources.list.d").glob("*"))}
    release = Path("/etc/os-release")
    name = apt_sources.codename(release.read_text()) if release.exists() else ""
    try:
        suite, kept = apt_sources.own_sources(apt_sources.parse_all(texts), name)
    except ValueError as error:
        raise CannotRun(
            "reading this machine's package sources",
            f"{error} (read: {', '.join(texts) or 'nothing in /etc/apt'}); hosts are made of its own packages",
            "run the lab on Debian or Ubuntu, with its package sources in /etc/apt",
        ) from error
    keys = [Path(s.signed_by) for s in kept if s.signed_by.startswith("/")]
    trusted = [p for p in (ETC_APT / "trusted.gpg.d").glob("*") if p.is_file()]
    mirror_lists = [p for p in (ETC_APT / "mirrors").glob("*") if p.is_file()]
    certificates = [p for p in CA_DIRECTORY.rglob("*.crt") if p.is_file()]
    files = {str(p): p.read_bytes() for p in sorted({*keys, *trusted, *mirror_lists, *certificates}) if p.exists()}
    return Distribution(suite, apt_sources.to_deb822(kept), files, "\n".join(_apt_config(TRUST_SETTINGS)))


def _apt_config(wanted: re.Pattern[str]) -> list[str]:
    return [line for line in run("apt-config", "dump").stdout.splitlines() if wanted.fullmatch(line)]


def apt_proxy_settings(gateway: str) -> str:
    """The machine's apt proxies as an apt.conf; one on the machine's loopback is reached at the gateway."""
    lines = _apt_config(PROXY_SETTINGS)
    return "".join(re.sub(r"//(localhost|127\.0\.0\.1|\[::1\])", f"//{gateway}", line) + "\n" for line in lines)


def choose_resolv_conf(candidates: list[str]) -> str:
    """The first resolv.conf that names a server outside loopback (a guest cannot reach the machine's); else nothing."""
    for text in candidates:
        kept = [line for line in text.splitlines() if not _names_loopback(line)]
        if any(line.split()[:1] == ["nameserver"] for line in kept):
            return "".join(f"{line}\n" for line in kept)
    return ""


def _names_loopback(line: str) -> bool:
    words = line.split()
    if len(words) < 2 or words[0] != "nameserver":
        return False
    try:
        return ipaddress.ip_address(words[1].partition("%")[0]).is_loopback
    except ValueError:
        return False


def resolv_conf() -> str:
    """The name servers for the hosts; empty when this machine knows none but itself."""
    files = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf")
    return choose_resolv_conf([Path(file).read_text() for file in files if Path(file).exists()])


def uplink_mtu() -> int:
    """The MTU of the device the default route leaves by; Ethernet's 1500 where there is none."""
    routes = json.loads(run("ip", "-j", "-4", "route", "show", "default").stdout or "[]")
    device = Path("/sys/class/net", routes[0]["dev"], "mtu") if routes else None
    return int(device.read_text()) if device is not None and device.exists() else 1500
