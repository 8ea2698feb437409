"""What a deploy asks of the host: the staged release comes into its place, is proved, or is marked and left again."""

import time

from llm_phase.audit import note, record, recorded
from llm_phase.errors import Refusal
from llm_phase.host import journal, look, read_phases, serving
from llm_phase.output import complain, say
from llm_phase.placing import activate, finish
from llm_phase.releases import GOOD, current, judge, manifest_of, prune
from llm_phase.switching import Asked, go_back


def on_record(options, release, result, begun, detail=""):
    """Put it into the audit log; a full disk is said and keeps nothing from going on."""
    try:
        note(f"release {release}", options.by, options.command, result, time.monotonic() - begun, detail)
    except OSError as problem:
        complain(f"this cannot be written down: {problem}")


def activated(options):
    """Put the staged release in place; nothing starts or stops. Status as of the program."""
    begun = time.monotonic()
    finish()
    try:
        release = activate()
    except Refusal as refusal:
        on_record(options, "staged", "refused", begun, str(refusal).partition("\n")[0][:300])
        raise
    except OSError as problem:
        raise Refusal(
            f"{problem}; free some space (df -h /var /etc), then: pyinfra inventory deploy.py -y"
        ) from problem
    on_record(options, release, "in place", begun)
    say(f"release {release} is in place")
    return 0


def settled(options):
    """The release in place is proved. Status as of the program."""
    begun, release = time.monotonic(), current()
    manifest = manifest_of(release)
    try:
        judge(release, GOOD)
        record(good=release, phase=manifest["phase"], **manifest["versions"])
    except OSError as problem:
        complain(f"that release {release} is good cannot be written down: {problem}")
        complain("free some space (df -h /var), then: pyinfra inventory deploy.py -y")
        return 4
    gone = prune(manifest["keep"])
    on_record(options, release, "good", begun, f"removed: {', '.join(gone)}" if gone else "")
    say(f"release {release} is good" + (f"; removed: {', '.join(gone)}" if gone else ""))
    return 0


def returned(options):
    """The release in place is not good: back to the last good one, or to Phase 1. 0 when that serves."""
    phases = read_phases()
    number = str(recorded() or serving(phases, look(phases)) or "2")
    asked = Asked(number, None, options.by, options.command, options.patience, False)
    complain(f"{options.why}\n{journal([options.unit] if options.unit else [])}")
    on_record(options, current(), "failed", time.monotonic(), options.why[:300])
    return 0 if go_back(phases, asked, None, options.why[:300]) else 1


def finished(options):
    """Go on where a power cut ended a change of places. Status as of the program."""
    begun = time.monotonic()
    release = finish()
    if release:
        on_record(options, release, "in place", begun, "after a power cut")
        say(f"release {release} is in place, whose files a power cut had left half changed")
    return 0
