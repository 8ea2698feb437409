"""Names and addresses of a lab, all derived from one short id so that two checkouts cannot meet. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

NETWORK = ipaddress.IPv4Network("10.231.0.0/16")
FIRST_HOST_OCTET = 11  # .1 is the gateway; .2 to .10 are kept for what the machine itself may serve
LAST_HOST_OCTET = 250
HOST_NAME = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")


@dataclass(frozen=True)
class Names:
    """Kernel names of one lab. Interface names have at most 15 characters (IFNAMSIZ, linux/if.h)."""

    lab_id: str

    @property
    def bridge(self) -> str:
        return f"llm{self.lab_id}"

    @property
    def nft_table(self) -> str:
        return f"llm_lab_{self.lab_id}"

    @property
    def prefix(self) -> str:
        """Every network namespace, cgroup and machine name of this lab begins with this."""
        return f"llm-{self.lab_id}-"

    @property
    def veth_prefix(self) -> str:
        return f"v{self.lab_id}-"

    def tag(self, host: str) -> str:
        """The host's network namespace, cgroup and systemd machine."""
        return self.prefix + host

    def veth(self, octet: int) -> str:
        return f"{self.veth_prefix}{octet}"

    def mac(self, octet: int) -> str:
        """The host's hardware address, locally administered (IEEE 802, the 02 bit).

        Derived, because a host made anew under the same address would otherwise be out of reach for as long as its
        neighbours remember the old one: up to 45 s (measured; base_reachable_time in arp(7)).
        """
        return ":".join(["02", *(self.lab_id[i : i + 2] for i in range(0, 8, 2)), f"{octet:02x}"])


def lab_id(checkout: Path, suffix: str, state_root: Path) -> str:
    """Eight hex digits for a checkout (its real path), a second lab of it (suffix) and a state directory."""
    return hashlib.sha256(f"{checkout}\0{suffix}\0{state_root}".encode()).hexdigest()[:8]


def check_host_name(name: str) -> str:
    """Return the name if it can be a host name, a directory and a machine name at once; else raise LabError."""
    if not HOST_NAME.fullmatch(name):
        raise LabError(
            f"host {name!r}",
            "a name is 1 to 30 lower-case letters, digits and dashes, begins with a letter and does not end in a dash",
            "python -m lab up gpu1",
        )
    return name


def choose_octet(name: str, known: Mapping[str, int], existing: Collection[str]) -> int:
    """The last octet for `name`: what it had before, else the lowest never used, else that of a host that is gone."""
    if name in known:
        return known[name]
    every = range(FIRST_HOST_OCTET, LAST_HOST_OCTET + 1)
    taken = set(known.values())
    held = {octet for host, octet in known.items() if host in existing}
    for octet in (*(o for o in every if o not in taken), *(o for o in every if o not in held)):
        return octet
    raise LabError(f"host {name!r}", f"all {len(every)} addresses of this lab are taken", "python -m lab destroy NAME")


def choose_subnet(lab: str, claimed: Collection[int], routed: Iterable[str]) -> int:
    """The third octet for a lab: not claimed by another, not routed elsewhere; begins at a number of its own.

    `routed` are destinations of the machine's routes. Routes wider than /16 (a default route, a VPN that takes
    10.0.0.0/8) do not count: the lab's own, narrower route wins over them.
    """
    networks = [ipaddress.ip_network(r, strict=False) for r in routed if r != "default"]
    narrow = [n for n in networks if isinstance(n, ipaddress.IPv4Network) and n.prefixlen >= NETWORK.prefixlen]
    start = int(lab, 16) % 256
    for step in range(256):
        number = (start + step) % 256
        if number not in claimed and not any(n.overlaps(subnet(number)) for n in narrow):
            return number
    raise LabError(
        "choosing a subnet",
        f"every subnet of {NETWORK} is taken",
        "python -m lab destroy --all, in a checkout you do not need",
    )


def subnet(number: int) -> ipaddress.IPv4Network:
    """The /24 with this third octet."""
    return ipaddress.IPv4Network((int(NETWORK.network_address) + (number << 8), 24))


def address(number: int, octet: int) -> str:
    """The address with this third and last octet."""
    return str(subnet(number)[octet])
