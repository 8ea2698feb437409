"""python -m bundle: one directory with everything that the hosts of an inventory fetch, for a site without a network.

  on a machine with a network and the hosts' system:
    python -m bundle make /srv/bundle --inventory inventory --dry     what it would hold
    python -m bundle make /srv/bundle --inventory inventory           make it, or go on with it, or bring it up to date
  carry the directory over, and there:
    python -m bundle check /srv/bundle                                every file, byte by byte
    python -m bundle serve /srv/bundle --port 8780                    to the hosts, until Ctrl-C
    python -m bundle settings --url http://10.0.0.5:8780              the settings that point the hosts at it

Exit status: 0 done; 1 something cannot be had or is wrong, and the text says what to do; 2 wrong usage; 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bundle import apt, making, manifest
from bundle.errors import BundleError
from bundle.needs import Needs, needs
from bundle.server import Server
from roles.inventory import InventoryError, read_hosts
from roles.mirrors import MirrorSettings
from roles.settings import SettingsError, validate
from roles.site import Site, site_from


def main(arguments: Sequence[str]) -> int:
    """Exit status of a command."""
    options = parser().parse_args(arguments)
    commands = {"make": make, "check": check, "serve": serve, "settings": settings}
    try:
        return commands[options.command](options)
    except (BundleError, InventoryError) as problem:
        say(f"\n{problem}")
        return 1
    except OSError as problem:
        where = f"{problem.filename}: " if problem.filename else ""
        say(f"\n{where}{problem.strerror or problem}\n  -> correct that (rights, disk, path); what came is kept")
        return 1
    except KeyboardInterrupt:
        say("\nstopped; the same command goes on from here" if options.command == "make" else "\nstopped")
        return 130


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m bundle", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="make|check|serve|settings")
    making_it = commands.add_parser("make", help="fetch everything that the hosts of an inventory need")
    making_it.add_argument("folder", type=Path, metavar="DIRECTORY")
    making_it.add_argument("--inventory", default="inventory", help="as for pyinfra (default: %(default)s)")
    making_it.add_argument("--limit", action="append", default=[], help="only hosts that match: name, glob or group")
    making_it.add_argument("--data", action="append", default=[], metavar="KEY=VALUE", help="as for pyinfra --data")
    making_it.add_argument(
        "--mirror", action="append", default=[], metavar="NAME=URL",
        help="fetch from there instead of the original site; names are those of the settings under `mirrors`",
    )  # fmt: skip
    making_it.add_argument(
        "--installed", type=Path, metavar="FILE",
        help="names of packages that the hosts have (dpkg-query -W -f '${Package}\\n'), so that each can be updated along",
    )  # fmt: skip
    making_it.add_argument("--controller", action="store_true", help="with the wheels that `make venv` installs")
    making_it.add_argument(
        "--kernel", action="append", default=[], metavar="RELEASE",
        help="a kernel that hosts run (uname -r), where its flavour is another than generic or cloud",
    )  # fmt: skip
    making_it.add_argument("--prune", action="store_true", help="remove files that no host needs any more")
    making_it.add_argument(
        "--forget", action="store_true", help="leave out hosts that the bundle had and this run does not name"
    )
    making_it.add_argument("--dry", action="store_true", help="say what would be fetched; write nothing to DIRECTORY")
    checking = commands.add_parser("check", help="read every byte and compare it with the manifest")
    checking.add_argument("folder", type=Path, metavar="DIRECTORY")
    checking.add_argument("--json", action="store_true", help="for machines")
    serving = commands.add_parser("serve", help="serve it over HTTP, read-only")
    serving.add_argument("folder", type=Path, metavar="DIRECTORY")
    serving.add_argument("--address", default="0.0.0.0", help="default: %(default)s")
    serving.add_argument("--port", type=port, default=8780, help="default: %(default)s; 0 takes a free one")
    telling = commands.add_parser("settings", help="print the settings that point hosts at a served bundle")
    telling.add_argument("--url", required=True, help="where `serve` is reached from the hosts, without a path")
    telling.add_argument("--json", action="store_true", help="for machines")
    return top


def port(text: str) -> int:
    """A TCP port. Raises ValueError."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError(text)
    return number


def make(options: argparse.Namespace) -> int:
    wanted = wanted_by(options)
    installed = options.installed.read_text(encoding="utf-8").split() if options.installed else []
    say(f"{wanted.system.name}: {', '.join(wanted.hosts)}")
    if options.dry:
        found, missing = making.dry(wanted, options.folder, installed, say)
        for artefact in missing:
            size = f"{artefact.size:>14,}" if artefact.size is not None else f"{'?':>14}"
            print(f"{size}  {artefact.path}" + (f"  {artefact.url}" if artefact.url else ""))
        known = sum(one.bytes_to_come for one in missing)
        say(
            f"{len(missing)} of {len(found)} files to fetch, {known / 1e9:.2f} GB and those of unknown size; nothing was written"
        )
        return 0
    outcome = making.make(wanted, options.folder, installed, say, prune=options.prune, forget=options.forget)
    made = outcome.made
    print(
        f"{options.folder}: {len(made.files)} files, {made.size / 1e9:.2f} GB, {outcome.fetched / 1e9:.2f} GB fetched now"
    )
    if outcome.others:
        verb = "removed" if options.prune else "not needed any more (--prune removes them)"
        print(
            f"{len(outcome.others)} files {verb}: {', '.join(outcome.others[:3])}{' …' if outcome.others[3:] else ''}"
        )
    print(f"next: python -m bundle check {options.folder}, after it was carried over")
    return 0


def wanted_by(options: argparse.Namespace) -> Needs:
    """What the hosts that the options name need. Raises BundleError or InventoryError."""
    mirrors, system = mirrors_from(options.mirror), apt.system_of_this_machine()
    sites: dict[str, Site] = {}
    problems: list[str] = []
    for host in read_hosts(options.inventory, options.limit, options.data):
        try:
            sites[host["name"]] = site_from(host["layers"], os.environ)
        except SettingsError as error:
            problems += [f"{host['name']}: {problem}" for problem in error.problems]
    if problems:
        raise BundleError("settings", "\n  ".join(["refused", *problems]), "correct the inventory")
    if not sites:
        raise BundleError(options.inventory, "has no host", "see inventory/hosts.py")
    return needs(sites, system, mirrors, options.controller, options.kernel)


def mirrors_from(words: Sequence[str]) -> MirrorSettings:
    """The original sites, but for those that NAME=URL words replace. Raises BundleError."""
    values = dict(word.partition("=")[::2] for word in words)
    mirrors, problems = validate(MirrorSettings, values)
    if problems:
        raise BundleError("--mirror", "; ".join(problems), "python -m bundle make --help")
    return mirrors


def check(options: argparse.Namespace) -> int:
    made = whole(options.folder)
    wrong = {path: problem for path, problem in manifest.problems(options.folder, made) if problem}
    left = manifest.others(options.folder, made)
    if options.json:
        print(
            json.dumps(
                {"ok": not wrong, "files": len(made.files), "bytes": made.size, "problems": wrong, "others": left}
            )
        )
        return 1 if wrong else 0
    for path, problem in wrong.items():
        print(f"{path}: {problem}")
    print(
        f"{options.folder}: made {made.made}, {len(made.files)} files, {made.size / 1e9:.2f} GB, "
        f"{len(wrong)} wrong, {len(left)} that no host needs"
    )
    for system, hosts in sorted(made.hosts.items()):
        print(f"  {system}: {', '.join(hosts)}")
    if wrong:
        say("carry those files over again, or run make again where there is a network")
    return 1 if wrong else 0


def whole(folder: Path) -> manifest.Manifest:
    """The manifest of a finished bundle. Raises BundleError for anything else."""
    made = manifest.read(folder)
    if made is None:
        half = (folder / manifest.MARK).is_file()
        raise BundleError(
            str(folder), "is not finished" if half else "is no bundle",
            "run make again: it goes on where it stopped" if half else "python -m bundle make makes one",
        )  # fmt: skip
    return made


def serve(options: argparse.Namespace) -> int:
    whole(options.folder)
    try:
        server = Server(options.address, options.port, options.folder.resolve())
    except OSError as problem:
        raise BundleError(
            f"{options.address}:{options.port}", str(problem), "choose another --port, or end what holds it"
        ) from None
    say(f"serving {options.folder} at http://{options.address}:{server.server_port} until Ctrl-C")
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("\nended")
    return 0


def mirror_settings(url: str) -> dict[str, str]:
    """`mirrors` of the inventory, for a bundle that is served at `url`."""
    base = url.rstrip("/")
    folders = {
        "distribution": "distribution", "python_index": "python/simple", "torch_cpu_index": "python/simple",
        "python_builds": "python/builds", "hub": "hub", "ollama_releases": "ollama-releases", "ollama_registry": "",
        "grafana_releases": "grafana-releases", "cuda_repositories": "cuda", "container_toolkit": "container-toolkit",
        "docker": "docker",
    }  # fmt: skip
    return {name: f"{base}/{folder}".rstrip("/") for name, folder in folders.items()}


def settings(options: argparse.Namespace) -> int:
    if urlsplit(options.url).path.strip("/"):
        raise BundleError(
            "--url", f"{options.url} has a path; Ollama's registry is at the root", "such as http://10.0.0.5:8780"
        )
    told = mirror_settings(options.url)
    _, problems = validate(MirrorSettings, told)
    if problems:
        raise BundleError("--url", "; ".join(problems), "such as http://10.0.0.5:8780")
    print(json.dumps({"mirrors": told}) if options.json else as_python(told))
    return 0


def as_python(told: Mapping[str, Any]) -> str:
    """Lines for inventory/group_data/all.py."""
    lines = [f'    "{name}": "{url}",' for name, url in told.items()]
    return "\n".join(["# In inventory/group_data/all.py:", "mirrors = {", *lines, "}"])


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
