"""`python -m lab.mirror`: prepare, serve, status, stop, urls."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lab.mirror import cache, process, store
from lab.mirror.faults import FaultBook
from lab.mirror.locks import LockError
from lab.mirror.server import AccessLog, MirrorServer
from lab.mirror.sites import Content, Ports, sites

EPILOG = """examples:
  python -m lab.mirror prepare                                   make everything in $LLM_LAB_CACHE
  python -m lab.mirror serve --bind 127.0.0.1 --state /tmp/m     serve it here, until Ctrl-C
  python -m lab.mirror urls --state /tmp/m --json                what to put into a host's settings

faults: write a list into STATE/faults.json, see the top of lab/mirror/faults.py"""


def prepare(options: argparse.Namespace) -> int:
    """Make the content and print where it is."""
    content = store.prepare(lock_files=options.lock or None)
    print(json.dumps(json.loads(content.to_json()), indent=2))
    return 0


def serve(options: argparse.Namespace) -> int:
    """Serve in the foreground until SIGTERM or SIGINT."""
    content = Content.from_json(options.content.read_text()) if options.content else store.prepare()
    state: Path = options.state
    state.mkdir(parents=True, exist_ok=True)
    faults, log = FaultBook(state), AccessLog()
    servers: dict[str, MirrorServer] = {}
    # Before the first thread, so that all of them leave these signals to this one.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    for (name, site), port in zip(sites(content).items(), asdict(options.ports).values(), strict=True):
        try:
            servers[name] = MirrorServer(options.bind, port, site, faults, log)
        except OSError as error:
            print(f"cannot listen on {options.bind} port {port} ({name}): {error.strerror}", file=sys.stderr)
            return 1
    ports = Ports(**{name: server.server_port for name, server in servers.items()})
    for server in servers.values():
        threading.Thread(target=server.serve_forever, daemon=True).start()
    fingerprint = process.key_fingerprint(content)
    mirrors = process.urls(options.bind, ports, apt_key_fingerprint=fingerprint, pid=os.getpid())
    process.write_record(state, mirrors, ports, content)
    print(f"serving on {options.bind}, ports {ports.files} {ports.hub} {ports.registry}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    (state / process.RECORD).unlink(missing_ok=True)
    return 0


def status(options: argparse.Namespace) -> int:
    """Tell whether a mirror runs; status 3, as systemctl, if not."""
    mirrors = process.status(options.state)
    print(f"running on {mirrors.address}, process {mirrors.pid}" if mirrors else f"no mirror runs for {options.state}")
    return 0 if mirrors else 3


def stop(options: argparse.Namespace) -> int:
    """Stop it; nothing to do is no error."""
    print("stopped" if process.stop(options.state) else f"no mirror ran for {options.state}")
    return 0


def urls(options: argparse.Namespace) -> int:
    """Print the addresses of a running mirror."""
    mirrors = process.status(options.state)
    if mirrors is None:
        print(f"no mirror runs for {options.state}; start one with: python -m lab.mirror serve --help", file=sys.stderr)
        return 3
    known = asdict(mirrors)
    print(json.dumps(known, indent=2) if options.json else "\n".join(f"{name:30} {url}" for name, url in known.items()))
    return 0


def ports_of(text: str) -> Ports:
    """`FILES,HUB,REGISTRY`; 0 takes a free one."""
    try:
        return Ports(*map(int, text.split(",")))
    except (TypeError, ValueError):
        raise argparse.ArgumentTypeError(f"expected three port numbers such as 8780,8781,8782, got {text!r}") from None


def parser() -> argparse.ArgumentParser:
    """The command line."""
    form = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser("python -m lab.mirror", description=__doc__, epilog=EPILOG, formatter_class=form)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("prepare", help="make everything the mirror serves, in the cache")
    one.add_argument("--lock", type=Path, action="append", metavar="FILE", help="fetch this lock's wheels; repeatable")
    one.set_defaults(run=prepare)
    one = commands.add_parser("serve", help="serve in the foreground")
    one.add_argument("--bind", required=True, metavar="ADDRESS", help="the only address to listen on")
    one.add_argument("--ports", type=ports_of, default=Ports(), metavar="F,H,R", help="default 8780,8781,8782")
    one.add_argument("--content", type=Path, metavar="FILE", help="folders to serve, as JSON; default: prepare them")
    one.set_defaults(run=serve)
    for name, run, words in (
        ("status", status, "does it run?"),
        ("stop", stop, "stop it"),
        ("urls", urls, "where it is reached"),
    ):
        commands.add_parser(name, help=words).set_defaults(run=run)
    for name, command in commands.choices.items():
        if name != "prepare":
            command.add_argument("--state", type=Path, required=True, metavar="DIR", help="record, log and faults")
    commands.choices["urls"].add_argument("--json", action="store_true")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 2 for a wrong command line, 1 for what could not be done."""
    options = parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        return status
    except (cache.CacheError, LockError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
