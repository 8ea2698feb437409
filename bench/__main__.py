"""`python3 -m bench`: installs what is missing, then goes on with the Python that has it."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from bench import cli, environment, readable_json
from lab.locked_venv import CannotInstall
from lab.progress import to_stderr

_FILES = 16_384  # open files: every stream is two sockets in a proxy


def main() -> int:
    """Run; return the exit code."""
    options = cli.parser().parse_args()
    report = to_stderr()
    if options.render is not None:
        return _write(json.loads(options.render.read_text(encoding="utf-8")), options.output or options.render.parent)
    if options.install or not (options.here or Path(sys.prefix) == environment.environment()):
        try:
            python = environment.ensure_environment(report)
        except CannotInstall as error:
            print(error, file=sys.stderr)
            return 1
        if options.install:
            return 0
        sys.stderr.flush()
        os.chdir(Path(__file__).resolve().parent.parent)
        os.execv(python, [str(python), "-m", "bench", "--here", *sys.argv[1:]])
    _allow_files()
    if options.profile:
        from bench.profile_adapter import profile

        return profile(report)
    return _measure(options)


def _measure(options: Namespace) -> int:
    from bench.facts import machine_label
    from bench.measures import FULL, QUICK
    from bench.run import Choice, Run
    from bench.table import markdown
    from bench.targets import Absent

    effort = QUICK if options.quick else FULL
    if options.rounds:
        effort = dataclasses.replace(effort, rounds=options.rounds)
    targets = [name for name in cli.TARGET_NAMES if name == "direct" or name in options.only]
    try:
        results = Run(Choice(targets, options.measures, effort), to_stderr()).do().as_json()
    except Absent as error:
        print(f"the mock upstream does not start: {error}", file=sys.stderr)
        return 1
    if options.quick and options.output is None:
        print(markdown(results))
        return 0
    output = options.output or cli.RESULTS
    output.mkdir(parents=True, exist_ok=True)
    machine = results["machine"]
    raw = output / f"{results['date'][:10]}-{machine_label(machine['cpu'], machine['cores'])}.json"
    raw.write_text(dumped(results), encoding="utf-8")
    print(f"raw results: {raw}")
    return _write(results, output)


def dumped(results: dict[str, Any]) -> str:
    """Results as JSON with a line for each sample, so that a difference can be read."""
    return readable_json.dumped(results, "samples")


def _write(results: dict[str, Any], output: Path) -> int:
    from bench.plot import svg
    from bench.readme import with_summary
    from bench.table import markdown, summary

    if output.resolve() == cli.RESULTS.resolve():
        text = with_summary(cli.README.read_text(encoding="utf-8"), summary(results))
        cli.README.write_text(text, encoding="utf-8")
    (output / "latest.md").write_text(markdown(results), encoding="utf-8")
    (output / "latest.svg").write_text(svg(results), encoding="utf-8")
    print(f"table: {output / 'latest.md'}\nplot: {output / 'latest.svg'}")
    return 0


def _allow_files() -> None:
    """Raise the limit of open files for this process and what it starts, as far as is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
