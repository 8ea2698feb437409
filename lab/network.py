"""The lab's network: one bridge with NAT, a network namespace and a cable (veth) per host, and cuts in the cables."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.machine import uplink_mtu
from lab.naming import Names, address, subnet
from lab.shell import TOOL_PATH, run

NETNS = Path("/run/netns")  # where ip-netns(8) keeps its names
DIRECTIONS = ("in", "out")


def _ip_json(*argv: str) -> list[dict[str, Any]]:
    done = run("ip", "-j", *argv, check=False)
    found = json.loads(done.stdout or "[]") if done.returncode == 0 else []
    return [entry for entry in found if entry]


def routed_elsewhere(names: Names) -> list[str]:
    """Destinations of this machine's routes, those of the lab's own bridge left out."""
    return [
        r["dst"] for r in _ip_json("-4", "route", "show", "table", "all") if r.get("dev") != names.bridge and "dst" in r
    ]


def ensure_bridge(names: Names, number: int) -> None:
    """Bridge, gateway address, forwarding, NAT and the (empty) sets of cut cables. Safe to repeat."""
    if not Path("/sys/class/net", names.bridge).exists():
        run("ip", "link", "add", names.bridge, "type", "bridge")
    net, gateway = subnet(number), address(number, 1)
    run("ip", "addr", "replace", f"{gateway}/{net.prefixlen}", "dev", names.bridge)
    run("ip", "link", "set", names.bridge, "up")
    forward = Path("/proc/sys/net/ipv4/ip_forward")
    if forward.read_text().strip() != "1":
        forward.write_text("1")
    table = names.nft_table
    if run("nft", "list", "table", "ip", table, check=False).returncode != 0:
        run("nft", "-f", "-", stdin=nat_rules(table, str(net)))
    if run("nft", "list", "table", "bridge", table, check=False).returncode != 0:
        run("nft", "-f", "-", stdin=cut_rules(table))
    _open_firewall(names)


def nat_rules(table: str, net: str) -> str:
    """nft script: what leaves the lab's subnet carries the machine's address."""
    return f"""table ip {table} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {net} ip daddr != {net} masquerade
  }}
}}
"""


def cut_rules(table: str) -> str:
    """nft script: frames from a cable in `cut_out`, and to one in `cut_in`, are dropped, ARP included."""
    return f"""table bridge {table} {{
  set cut_out {{ type ifname; }}
  set cut_in {{ type ifname; }}
  chain from_hosts {{
    type filter hook prerouting priority -300; policy accept;
    iifname @cut_out drop
  }}
  chain to_hosts {{
    type filter hook postrouting priority 0; policy accept;
    oifname @cut_in drop
  }}
}}
"""


def _firewall_chain() -> str | None:
    """The chain that must let the lab through, where another program (Docker, ufw) drops what is forwarded."""
    if shutil.which("iptables", path=TOOL_PATH) is None:
        return None
    listed = run("iptables", "-w", "-S", "FORWARD", check=False).stdout
    if "-P FORWARD DROP" not in listed:
        return None
    return "DOCKER-USER" if "-j DOCKER-USER" in listed else "FORWARD"


def _open_firewall(names: Names) -> None:
    # A drop policy in another table wins over any accept of ours, so the accept has to stand in that table.
    chain = _firewall_chain()
    for side in ("-i", "-o") if chain is not None else ():
        rule = (str(chain), side, names.bridge, "-j", "ACCEPT")
        if run("iptables", "-w", "-C", *rule, check=False).returncode != 0:
            run("iptables", "-w", "-I", *rule)


def _close_firewall(names: Names) -> None:
    for chain in ("DOCKER-USER", "FORWARD") if _firewall_chain() is not None else ():
        for side in ("-i", "-o"):
            run("iptables", "-w", "-D", chain, side, names.bridge, "-j", "ACCEPT", check=False)


def ensure_cable(names: Names, host: str, number: int, octet: int) -> None:
    """Network namespace and cable of a host that is off. Safe to repeat; a half-made one is made anew."""
    netns, veth = names.tag(host), names.veth(octet)
    if _is_plugged_in(names, netns, veth, address(number, octet)):
        return
    remove_cable(names, host, octet)
    mtu = str(uplink_mtu())
    run("ip", "netns", "add", netns)
    peer = ("name", "eth0", "address", names.mac(octet), "mtu", mtu, "netns", netns)
    run("ip", "link", "add", veth, "mtu", mtu, "type", "veth", "peer", *peer)
    run("ip", "link", "set", veth, "master", names.bridge, "up")
    run("ip", "-n", netns, "link", "set", "lo", "up")
    run("ip", "-n", netns, "addr", "add", f"{address(number, octet)}/{subnet(number).prefixlen}", "dev", "eth0")
    run("ip", "-n", netns, "link", "set", "eth0", "up")
    run("ip", "-n", netns, "route", "add", "default", "via", address(number, 1))


def _is_plugged_in(names: Names, netns: str, veth: str, wanted: str) -> bool:
    outer = _ip_json("link", "show", "dev", veth)
    inner = _ip_json("-n", netns, "-4", "addr", "show", "dev", "eth0")
    routes = _ip_json("-n", netns, "-4", "route", "show", "default")
    addresses = [a["local"] for entry in inner for a in entry.get("addr_info", [])]
    return bool(outer) and outer[0].get("master") == names.bridge and addresses == [wanted] and bool(routes)


def remove_cable(names: Names, host: str, octet: int | None) -> None:
    """Undo `ensure_cable` and `cut`; whatever of it is missing does not matter."""
    if octet is not None:
        mend(names, octet)
        run("ip", "link", "del", names.veth(octet), check=False)
    remove_netns(names.tag(host))


def remove_netns(name: str) -> None:
    """Remove a network namespace, or the empty file that a restart of the machine leaves in its place."""
    run("ip", "netns", "del", name, check=False)
    with suppress(OSError):
        (NETNS / name).unlink()


def cut(names: Names, octet: int, one_way: str | None) -> None:
    """Drop frames to the host ("in"), from it ("out") or both (None); replaces an earlier cut of this cable."""
    mend(names, octet)
    wanted = DIRECTIONS if one_way is None else (one_way,)
    script = "".join(f'add element bridge {names.nft_table} cut_{way} {{ "{names.veth(octet)}" }}\n' for way in wanted)
    run("nft", "-f", "-", stdin=script)


def mend(names: Names, octet: int) -> None:
    """Undo `cut`."""
    for way in cuts(names).get(names.veth(octet), ()):
        run("nft", "delete", "element", "bridge", names.nft_table, f"cut_{way}", f'{{ "{names.veth(octet)}" }}')


def cuts(names: Names) -> dict[str, tuple[str, ...]]:
    """Cut cables of the lab: interface -> directions; empty where there is no lab."""
    listed = run("nft", "-j", "list", "table", "bridge", names.nft_table, check=False)
    if listed.returncode != 0:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for entry in json.loads(listed.stdout)["nftables"]:
        way = str(entry.get("set", {}).get("name", "")).removeprefix("cut_")
        if way in DIRECTIONS:
            for veth in entry["set"].get("elem", []):
                found[veth] = (*found.get(veth, ()), way)
    return found


def teardown(names: Names) -> None:
    """Remove the bridge, the tables and every namespace and cable of the lab, known or left by a crash."""
    for netns in [p.name for p in NETNS.glob(f"{names.prefix}*")]:
        remove_netns(netns)
    for device in [p.name for p in Path("/sys/class/net").glob(f"{names.veth_prefix}*")]:
        run("ip", "link", "del", device, check=False)
    _close_firewall(names)
    run("ip", "link", "del", names.bridge, check=False)
    for family in ("ip", "bridge"):
        run("nft", "delete", "table", family, names.nft_table, check=False)
