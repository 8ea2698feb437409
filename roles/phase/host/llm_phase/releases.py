"""Releases: what a deploy put on this host, each with its files, so that an older one can come back.

releases/<id>/manifest.json   what it is made of; the id is a digest of that
releases/<id>/root/…          its files, as they lie in / while it is in place
releases/<id>/verdict.json    trying, good or bad, and since when
"""

import contextlib
import hashlib
import math
import os
import re
import shutil
import stat

from llm_phase.audit import read_state
from llm_phase.errors import Refusal
from llm_phase.files import MODE, read_json, sync_folder, write_json
from llm_phase.locks import now

RELEASES = "/var/lib/llm/releases"
SOFTWARE, KINDS, COMPLETE = "/opt/llm", ("ollama", "vllm", "adapter"), ".complete"
LINK = "link "  # how a manifest writes a link among the digests
TRYING, GOOD, BAD = "trying", "good", "bad"
ID = re.compile(r"r-[0-9a-f]{12}")


def folder_of(release):
    return f"{RELEASES}/{release}"


def manifest_of(release):
    """What a release is made of. Raises Refusal for one that is not on this host."""
    found = read_json(f"{folder_of(release)}/manifest.json", None) if ID.fullmatch(release or "") else None
    if not isinstance(found, dict):
        raise Refusal(f"no release {release!r} on this host; llm-phase releases lists them")
    return found


def verdict_of(release):
    """{"result": trying, good or bad, "time": …, "reason": …}; {} where nothing is known."""
    found = read_json(f"{folder_of(release)}/verdict.json", {}) if release else {}
    return found if isinstance(found, dict) else {}


def judge(release, result, reason=""):
    """Write down what became of a release. Raises OSError.

    Which came first is counted, not told by the clock, which may be wrong: `turn` of this, `good_turn` of its last proof.
    """
    turn = 1 + max((turn_of(name, "turn") for name in known()), default=0)
    good_turn = turn if result == GOOD else turn_of(release, "good_turn")
    verdict = {"result": result, "time": now(), "turn": turn, "good_turn": good_turn, "reason": reason}
    write_json(f"{folder_of(release)}/verdict.json", verdict)


def turn_of(release, which):
    """A number by which releases are ordered; 0 where there is none."""
    return verdict_of(release).get(which) or 0


def known():
    """Every release on this host, the one that was proved last first; those that never were come after, newest first."""
    try:
        names = os.listdir(RELEASES)
    except OSError:
        return []
    there = [name for name in names if ID.fullmatch(name) and read_json(f"{RELEASES}/{name}/manifest.json", None)]
    return sorted(there, key=lambda name: (turn_of(name, "good_turn"), turn_of(name, "turn")), reverse=True)


def current():
    """The release in place; None before the first one."""
    return read_state().get("release")


def last_good():
    """The release that was proved last; None before the first one."""
    return read_state().get("good")


def previous():
    """The good release before the one in place. Raises Refusal when there is none.

    A release that did not come up is never chosen, and neither is one newer than the one in place: twice back is two releases back.
    Where a change is unfinished, it is the release that this change goes to, or that it came from.
    """
    here, good = current(), last_good()
    if good and here != good:
        unfinished = verdict_of(here).get("result") == GOOD  # a way back that was cut off goes on
        wanted = here if unfinished else good
        if not lacking(wanted):
            return wanted
    mine = turn_of(here, "good_turn") or math.inf
    for name in known():
        if (
            name != here
            and verdict_of(name).get("result") == GOOD
            and turn_of(name, "good_turn") < mine
            and not lacking(name)
        ):
            return name
    raise Refusal(
        "no good release before the one in place, complete on this disk; llm-phase releases lists what there is"
    )


def digest_of(path):
    """The sha256 of a file, or its link's target as in a manifest; "" where there is nothing."""
    if os.path.islink(path):
        return LINK + os.readlink(path)
    total = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                total.update(block)
    except OSError:
        return ""
    return total.hexdigest()


def is_as_rendered(path, digest):
    """Whether what lies at a path has this content, and everybody may read it but root alone write it."""
    if digest_of(path) != digest:
        return False
    seen = os.lstat(path)
    return stat.S_ISLNK(seen.st_mode) or (stat.S_IMODE(seen.st_mode) == MODE and seen.st_uid == os.geteuid())


def changed_by_hand(release):
    """Paths that are not as the release has them."""
    return [path for path, digest in manifest_of(release)["files"].items() if not is_as_rendered(path, digest)]


def lacking(release):
    """What a release needs and that is not on this disk any more."""
    manifest = manifest_of(release)
    copies = [f"{folder_of(release)}/root{path}" for path in manifest["files"]]
    return [path for path in (*copies, *manifest["needs"]) if not os.path.lexists(path)]


def prune(keep):
    """Remove what is older than the last `keep` good releases, and software that no kept one uses. Returns what went.

    The release in place and the last good one stay in any case.
    """
    kept = {current(), last_good()}
    good = [name for name in known() if verdict_of(name).get("result") == GOOD]
    kept.update(good[:keep])
    oldest = min((turn_of(name, "turn") for name in kept if name), default=0)
    gone = []
    for name in known():
        if name not in kept and (name in good or turn_of(name, "turn") < oldest):
            shutil.rmtree(folder_of(name), ignore_errors=True)
            gone.append(name)
    used = {path for name in known() for path in manifest_of(name)["needs"]}
    for kind in KINDS:
        try:
            names = sorted(os.listdir(f"{SOFTWARE}/{kind}"))
        except OSError:
            continue
        for name in names:
            folder = f"{SOFTWARE}/{kind}/{name}"
            if name.startswith(".") or os.path.islink(folder) or f"{folder}/{COMPLETE}" in used:
                continue
            with contextlib.suppress(OSError):  # first: what is half removed must not count as complete
                os.unlink(f"{folder}/{COMPLETE}")
                sync_folder(folder)
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder)
    return gone
