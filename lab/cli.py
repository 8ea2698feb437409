"""`python -m lab`: what can be typed. Each command is a function `x_command`; its help is in `parser`."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
from typing import Any

from lab import network, support
from lab.errors import LabError
from lab.host import Host
from lab.lab import Lab
from lab.shell import tool_environment

EXAMPLES = """\
a first look:
  python -m lab doctor                 can this machine host a lab? if not, what is missing
  python -m lab up gpu1 gpu2           boot two hosts (the first time: a minute to build their base system)
  python -m lab status                 who runs, where, and what listens
  python -m lab ssh gpu1               a root shell; `python -m lab ssh gpu1 systemctl --failed` runs a command
  python -m lab destroy --all          leave nothing behind

breaking things:
  python -m lab reboot gpu1            orderly; disk and address stay
  python -m lab cut gpu1               power cut; `up gpu1` turns it on again
  python -m lab partition gpu1 --one-way out
  python -m lab heal gpu1

Hosts are systemd-nspawn containers with a systemd, sshd, journal, address and disk of their own. Each checkout has its
own lab: its own names, bridge and subnet. State is in LLM_LAB_STATE (/var/lib/llm-lab), what can be made again in
LLM_LAB_CACHE (/var/cache/llm-lab). Every command can be interrupted and run again.
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m lab",
        description="Real hosts on this machine, to deploy to, break and throw away.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, help_text: str, hosts: str | None = None, **options: Any) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help_text, description=help_text, **options)
        if hosts is not None:
            command.add_argument("names", metavar="NAME", nargs=hosts)
        return command

    up = add(
        "up", "boot hosts, several at once; makes what is missing, repairs what is broken, leaves the rest alone", "+"
    )
    up.add_argument(
        "--bind", action="append", default=[], metavar="SRC[:DST[:ro]]", help="show a directory of this machine"
    )
    up.add_argument(
        "--memory", type=size_in_bytes, metavar="SIZE", help="memory limit of new hosts, e.g. 2G (default: none)"
    )
    up.add_argument("--no-wait", action="store_true", help="do not wait until they answer")
    add("wait", "wait until hosts answer over SSH", "+").add_argument(
        "--timeout", type=float, default=120, metavar="SECONDS"
    )
    add("down", "power hosts off in an orderly way", "+")
    add("cut", "power cut: every process of the hosts vanishes at once", "+")
    add("reboot", "reboot hosts in an orderly way and wait for them", "+")
    partition = add("partition", "cut the hosts' cables until `heal`", "+")
    partition.add_argument(
        "--one-way", choices=network.DIRECTIONS, help="only frames to the host (in) or from it (out)"
    )
    add("heal", "undo `partition`", "+")
    destroy = add("destroy", "remove hosts and all they left; --all also removes the network and the lab itself", "*")
    destroy.add_argument("--all", action="store_true")
    shell = add("ssh", "a root shell on a host, or one command")
    shell.add_argument("name", metavar="NAME")
    shell.add_argument("words", metavar="CMD", nargs=argparse.REMAINDER)
    logs = add("logs", "a host's journal (from its disk when it is off), after what its console and supervisor said")
    logs.add_argument("name", metavar="NAME")
    logs.add_argument("unit", metavar="UNIT", nargs="?")
    logs.add_argument("-n", "--lines", type=int, default=100)
    add("status", "table of hosts").add_argument("--json", action="store_true", help="for programs")
    add("doctor", "exit 0 if this machine can host a lab; else say why, and exit 1", aliases=["can-run"])
    return top


def size_in_bytes(text: str) -> int:
    """`512M`, `2G`, `1000` -> bytes (powers of 1024)."""
    match = re.fullmatch(r"(\d+)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write 512M or 2G")
    return int(match[1]) << (10 * " KMGT".index(match[2].upper() or " "))


def up_command(lab: Lab, arguments: argparse.Namespace) -> int:
    lab.up(arguments.names, binds=arguments.bind, memory_bytes=arguments.memory, wait=not arguments.no_wait)
    return 0


def wait_command(lab: Lab, arguments: argparse.Namespace) -> int:
    for host in each(lab, arguments):
        host.wait_ready(arguments.timeout)
        lab.report(f"{host.name}: ready at {host.address}")
    return 0


def down_command(lab: Lab, arguments: argparse.Namespace) -> int:
    for host in each(lab, arguments):
        host.down()
        lab.report(f"{host.name}: off")
    return 0


def cut_command(lab: Lab, arguments: argparse.Namespace) -> int:
    for host in each(lab, arguments):
        host.cut()
        lab.report(f"{host.name}: off, power cut")
    return 0


def reboot_command(lab: Lab, arguments: argparse.Namespace) -> int:
    for host in each(lab, arguments):
        lab.report(f"{host.name}: rebooting")
        host.reboot()
        lab.report(f"{host.name}: ready at {host.address}")
    return 0


def partition_command(lab: Lab, arguments: argparse.Namespace) -> int:
    for host in each(lab, arguments):
        host.partition(arguments.one_way)
        lab.report(f"{host.name}: cut off ({arguments.one_way or 'both ways'}); python -m lab heal {host.name}")
    return 0


def heal_command(lab: Lab, arguments: argparse.Namespace) -> int:
    for host in each(lab, arguments):
        host.heal()
        lab.report(f"{host.name}: its cable is whole")
    return 0


def destroy_command(lab: Lab, arguments: argparse.Namespace) -> int:
    if arguments.all:
        lab.destroy_all()
        lab.report("the lab is gone")
    elif arguments.names:
        lab.destroy(arguments.names)
    else:
        raise LabError("destroy", "no host was named", "python -m lab destroy NAME, or python -m lab destroy --all")
    return 0


def ssh_command(lab: Lab, arguments: argparse.Namespace) -> int:
    host = lab.host(arguments.name)
    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    terminal = ["-t"] if sys.stdin.isatty() and not words else []
    os.execvpe("ssh", ["ssh", *terminal, *host.ssh_options, f"root@{host.address}", *words], tool_environment())


def logs_command(lab: Lab, arguments: argparse.Namespace) -> int:
    host = lab.host(arguments.name)
    for log in (host.paths.supervisor_log, host.paths.console_log):
        if arguments.unit is None and log.exists():
            print(f"--- {log}", *log.read_text(errors="replace").splitlines()[-20:], sep="\n", flush=True)
    wanted = ["--no-pager", "-n", str(arguments.lines), *(["-u", arguments.unit] if arguments.unit else [])]
    if host.running and not host.cuts:
        argv = ["ssh", *host.ssh_options, f"root@{host.address}", "journalctl", *wanted]
    else:
        argv = ["journalctl", f"--directory={host.paths.upper / 'var/log/journal'}", *wanted]
    os.execvpe(argv[0], argv, tool_environment())


def status_command(lab: Lab, arguments: argparse.Namespace) -> int:
    hosts = [describe(host) for host in lab.hosts()]
    if arguments.json:
        found = {
            "lab": lab.names.lab_id,
            "checkout": str(lab.checkout),
            "subnet": None,
            "gateway": None,
            "hosts": hosts,
        }
        if lab.has_network:
            found |= {"subnet": lab.subnet, "gateway": lab.gateway}
        print(json.dumps(found, indent=2))
    elif not hosts:
        print("no hosts; python -m lab up gpu1")
    else:
        print(table(hosts))
    return 0


def doctor_command(lab: Lab, arguments: argparse.Namespace) -> int:
    support.check()
    print(f"this machine can host a lab (state in {lab.state}, cache in {lab.cache})")
    return 0


def describe(host: Host) -> dict[str, Any]:
    """A host as `status --json` shows it."""
    uptime = host.uptime_s
    return {
        "name": host.name,
        "state": host.state,
        "address": host.address,
        "uptime_s": None if uptime is None else round(uptime, 1),
        "listening": host.listening,
        "leader_pid": host.leader_pid,
    }


def table(hosts: list[dict[str, Any]]) -> str:
    """`status` for people."""
    rows = [("HOST", "STATE", "ADDRESS", "UP", "LISTENS ON (TCP)")]
    for host in hosts:
        uptime = "-" if host["uptime_s"] is None else duration(host["uptime_s"])
        rows.append(
            (host["name"], host["state"], host["address"], uptime, " ".join(worth_showing(host["listening"])) or "-")
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]) for row in rows
    )


def worth_showing(listening: list[str]) -> list[str]:
    """Without the sockets that processes of one service use among themselves: loopback, and a port the kernel chose."""
    first_ephemeral = 32768  # ip(7), ip_local_port_range; nothing in this project is configured above it
    return [
        socket
        for socket in listening
        if not (socket.startswith(("127.", "::1:")) and int(socket.rpartition(":")[2]) >= first_ephemeral)
    ]


def duration(seconds: float) -> str:
    """`42s`, `3m 5s`, `2h 0m`, `3d 4h`."""
    whole = int(seconds)
    for size, unit, smaller, smaller_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // smaller}{smaller_unit}"
    return f"{whole}s"


def each(lab: Lab, arguments: argparse.Namespace) -> list[Host]:
    """The hosts that were named; raises UnknownHost before anything is done to any of them."""
    return [lab.host(name) for name in arguments.names]


def main(argv: list[str]) -> int:
    """Run one command; exit status 0, 1 for a failure that is explained on stderr, 130 for Ctrl-C."""
    arguments = parser().parse_args(argv)
    command = {"can-run": "doctor"}.get(arguments.command, arguments.command)
    try:
        return int(globals()[f"{command}_command"](Lab.for_checkout(), arguments))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except PermissionError as error:
        print(
            f"lab: {error.filename}: permission denied\n  next: sudo python3 -m lab {shlex.join(argv)}", file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; the same command, run again, goes on from here", file=sys.stderr)
        return 130
