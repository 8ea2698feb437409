"""`python -m lab.model OUTDIR`: write the lab model."""

from __future__ import annotations

import argparse
from pathlib import Path

import lab.model
from lab.model.directory import write
from lab.model.templates import DEFAULT_SYSTEM, TEMPLATES


def main() -> None:
    """Parse the command line and write one model directory."""
    summary, _, details = (lab.model.__doc__ or "").partition("\n\n")
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m lab.model", description=summary, epilog=details, formatter_class=form)
    parser.add_argument("out", metavar="OUTDIR", type=Path)
    parser.add_argument("--variant", choices=[*TEMPLATES, "embed"], default="plain")
    parser.add_argument("--system", metavar="TEXT", help="system prompt for conversations without one")
    parser.add_argument("--base", action="store_true", help="leave the chat template out, as base models do")
    options = parser.parse_args()
    system = DEFAULT_SYSTEM.get(options.variant, "") if options.system is None else options.system
    write(options.out, options.variant, system, base=options.base)


if __name__ == "__main__":
    main()
