"""What serves 11434 on this host, and the switch between its phases and releases. Needs no controller and no network.

    llm-phase                 what is true now: phase, release, services, next boot, what is complete on disk
    llm-phase 1               to Phase 1, two plain Ollama servers: the rollback
    llm-phase 2               to Phase 2, vLLM behind the adapter
    llm-phase to previous     to the good release before this one; or by its id, as `releases` lists them
    llm-phase 1 --dry         the steps, without one
    llm-phase releases        what deploys put on this host, and what became of it
    llm-phase log             who changed what, and how it ended

A switch refuses, with nothing changed, where the phase is not complete on this disk. Then: choose it for the next boot, free 11434,
end what the other phase leaves on the cards, start, ask every server for a token, look whether vision was left in peace, record.
In the wanted phase already, it says so. Cut off anywhere, the same command goes on.

Exit status of a switch: 0 the phase serves and is on record; 1 a step failed: the text says which, and the way forward and back;
2 refused, nothing was changed; 4 the phase serves, but that could not be written down (a full disk); 5 somebody else is at it.
Without a switch: 0 what is true is what is on record, 3 it is not.

Used by deploy.py: activate (the staged release comes into its place), settle (it is proved: the last good one from now on, older
ones beyond those to keep are removed), return (it is not: mark it, and back to the last good one), finish (after a power cut).
"""

import argparse
import getpass
import os

from llm_phase.deploying import activated, finished, returned, settled
from llm_phase.errors import Refusal
from llm_phase.host import read_phases
from llm_phase.locks import Locked, host_locked
from llm_phase.output import complain
from llm_phase.releases import BAD, manifest_of, previous, verdict_of
from llm_phase.switching import Asked, phases_of, plan, switch
from llm_phase.telling import log, releases, status

STOP_PATIENCE_S = 15.0
OF_A_DEPLOY = {"activate": activated, "settle": settled, "return": returned, "finish": finished}
CHOICES = ["status", "1", "2", "to", "releases", "log", *OF_A_DEPLOY]


def parser():
    top = argparse.ArgumentParser(
        prog="llm-phase", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("what", nargs="?", choices=CHOICES, default="status", metavar="|".join(CHOICES[:6]))
    top.add_argument("release", nargs="?", help="of `to`: `previous`, or the id of a release")
    top.add_argument("--dry", action="store_true", help="print the steps of a switch")
    top.add_argument("--json", action="store_true", help="status and log for machines")
    name = os.environ.get("SUDO_USER") or getpass.getuser()
    top.add_argument("--by", default=name, help="whose name goes on record (default: %(default)s)")
    top.add_argument("--command", default="llm-phase", help="what goes on record as the command")
    top.add_argument(
        "--patience",
        type=float,
        default=STOP_PATIENCE_S,
        metavar="S",
        help="kill what has not ended by then (%(default)s)",
    )
    top.add_argument(
        "--return",
        dest="back",
        action="store_true",
        help="if it does not come up, go back to the one that served",
    )
    top.add_argument(
        "--break", dest="breaking", action="store_true", help="end whoever is changing this host; goes on record"
    )
    top.add_argument("--run", metavar="TOKEN", help="of the pyinfra run that has the lock of this host")
    top.add_argument("--why", default="", help="of `return`: what did not come up; goes on record")
    top.add_argument("--unit", help="of `return`: the unit that did not, whose last lines are shown")
    top.add_argument("-n", type=int, default=20, metavar="N", help="lines of the log (default: %(default)s)")
    return top


def command(arguments):
    options = parser().parse_args(arguments)
    if os.geteuid() != 0:  # others cannot see which models are there
        raise Refusal(f"root is needed: sudo llm-phase {options.what}")
    if options.what == "log":
        return log(options.n, options.json)
    if options.what == "releases":
        return releases(options.json)
    if options.what in OF_A_DEPLOY:
        with host_locked(options.by, f"{options.command} {options.what}", options.run, options.breaking):
            return OF_A_DEPLOY[options.what](options)
    phases = read_phases()
    if options.what == "status":
        return status(phases, options.json)
    asked = wanted(options)
    if asked.number not in phases_of(asked, phases):
        raise Refusal(
            f"this host is for Phase {' and '.join(phases)} alone (prepare); pyinfra inventory deploy.py makes it both"
        )
    if options.dry:
        print("\n".join(plan(phases, asked)))
        return 0
    with host_locked(options.by, f"{options.command} {options.what}", options.run, options.breaking):
        try:
            finished(options)
        except (OSError, Refusal) as problem:  # that must keep nobody from serving
            complain(f"what a power cut left half changed stays so: {problem}")
        return switch(phases, asked)


def wanted(options):
    """What is asked for. Raises Refusal for a release that is not there."""
    number, release = options.what, None
    if options.what == "to":
        release = previous() if options.release in (None, "previous") else options.release
        number, verdict = str(manifest_of(release)["phase"]), verdict_of(release)
        if verdict.get("result") == BAD:
            complain(f"release {release} did not come up once: {verdict.get('reason', 'no reason on record')}")
    return Asked(number, release, options.by, options.command, options.patience, options.back)


def main(arguments):
    """Exit status of the command."""
    try:
        return command(arguments)
    except Refusal as refusal:
        complain(f"refused, nothing was changed: {refusal}")
        return 2
    except Locked as locked:
        complain(f"locked, nothing was changed: {locked} is changing this host")
        complain("wait for it, or end it and go on: the same command with --break")
        return 5
