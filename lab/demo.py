"""The demonstration: two real hosts on this machine, one in each phase, deployed with the same deploy.py as production.

python -m lab.demo up      boot, deploy, verify, ask a question; again: converges
python -m lab.demo down    remove everything but the cache
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from lab import Lab, LabError, mirrored
from lab.mirror.cache import CacheError
from lab.mirror.process import MirrorError
from lab.progress import Report, to_stderr
from lab.pyinfra_run import ROOT, changes, pyinfra

PHASE2, PHASE1 = "demo-phase2", "demo-phase1"
QUESTION = "What does the fox do?"


class DemoError(Exception):
    """A step failed; the text says which, why, and what to do."""


def up(lab: Lab, report: Report) -> None:
    """Bring up, deploy, verify and ask. Raises DemoError (or LabError, MirrorError, CacheError) at the first failure."""
    report("1/5  hosts: real systemd in two namespaces of this machine")
    lab.up([PHASE2, PHASE1])
    report("2/5  mirrors: what the hosts would fetch from the internet")
    mirrored.ensure(lab)
    report("3/5  deploy: the product's own deploy.py over ssh")
    log = lab.directory / "demo-deploy.log"
    hosts = ["--limit", PHASE2, "--limit", PHASE1]
    if pyinfra(["-y", "lab/inventory", "deploy.py", *hosts], log, report) != 0:
        raise DemoError(
            f"the deploy failed; the whole log is {log}\n"
            f"look around:  python3 -m lab ssh {PHASE2} journalctl -p warning -n 50\ntry again:    make demo"
        )
    report(f"     {changes(log)}")
    report("4/5  verify: the sentences in tests/verify, on both hosts")
    verify(lab, hosts)
    report("5/5  a question, through the Ollama API, by the unmodified ollama client")
    ask(lab.host(PHASE2).address)
    print(closing_table(lab))


def verify(lab: Lab, hosts: list[str]) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--no-header",
        "tests/verify",
        "--inventory",
        "lab/inventory",
        *hosts,
    ]
    if subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        raise DemoError(
            "the hosts are deployed but not as promised: see the failed sentences above\ntry again:    make demo"
        )


def ask(address: str) -> None:
    """Stream one answer to stdout; the client comes from this environment."""
    import ollama

    print(f"\n>>> {QUESTION}")
    words = ollama.Client(host=f"http://{address}:11434", timeout=60).chat(
        "llama2:7b", messages=[{"role": "user", "content": QUESTION}], stream=True
    )
    answer = ""
    for part in words:
        text = part.message.content or ""
        answer += text
        print(text, end="", flush=True)
    print("\n")
    if not answer.strip():
        raise DemoError(
            f"the answer was empty\nlook:  python3 -m lab ssh {PHASE2} journalctl -u vllm -u ollama-adapter -n 50"
        )


def closing_table(lab: Lab) -> str:
    two, one = lab.host(PHASE2).address, lab.host(PHASE1).address
    sudo = "sudo " if os.environ.get("SUDO_USER") else ""  # the lab's key is root's
    python = Path(sys.executable).relative_to(ROOT) if Path(sys.executable).is_relative_to(ROOT) else sys.executable
    return f"""\
endpoint                      what answers
http://{two}:11434    {PHASE2}: adapter, Ollama API in front of a real vLLM (models llama2:7b, llama2, llama3.2)
http://{two}:11435    {PHASE2}: Ollama vision (llava:7b, nomic-embed-text; a stand-in for the ollama binary)
http://{one}:11434    {PHASE1}: Ollama text, as before the migration
http://{one}:11435    {PHASE1}: Ollama vision

look around    {sudo}python3 -m lab ssh {PHASE2}
logs           {sudo}python3 -m lab ssh {PHASE2} journalctl -fu vllm -u ollama-adapter
ask            curl http://{two}:11434/api/generate -d '{{"model": "llama2:7b", "prompt": "Hello"}}'
plan           {sudo}{python.parent if isinstance(python, Path) else "."}/pyinfra lab/inventory deploy.py --dry
roll back      {sudo}{python.parent if isinstance(python, Path) else "."}/pyinfra lab/inventory rollback.py -y --limit {PHASE2}
forward again  make demo
remove         make demo-down"""


def down(lab: Lab, report: Report) -> None:
    """Remove hosts, network, mirrors and state. The cache stays, so that the next demo is quick."""
    if not lab.directory.is_dir():
        report("nothing to remove")
        return
    lab.destroy_all()
    report(f"removed; the cache stays in {lab.cache} (delete it to free the space)")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["up", "down"])
    report, lab = to_stderr(), Lab.for_checkout()
    try:
        {"up": up, "down": down}[parser.parse_args(arguments).what](lab, report)
    except (DemoError, LabError, MirrorError, CacheError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\ninterrupted; nothing is lost: `make demo` goes on from here, `make demo-down` removes it",
            file=sys.stderr,
        )
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
