"""A release comes into its place: all of its files, or, after a power cut, the rest of them at the next start."""

import contextlib
import glob
import os
import shutil

from llm_phase.audit import STATE, read_state
from llm_phase.errors import Refusal
from llm_phase.files import copy_beside, json_beside, read_json, read_text, sync_folder, take_over, write_json
from llm_phase.host import OURS, run
from llm_phase.releases import (
    BAD,
    GOOD,
    ID,
    RELEASES,
    TRYING,
    changed_by_hand,
    current,
    digest_of,
    folder_of,
    judge,
    lacking,
    manifest_of,
    verdict_of,
)

NEXT = "/var/lib/llm/next"
PLACING = "/var/lib/llm/placing.json"  # there while files change places; the next start goes on from it
UNITS = "/etc/systemd/system/"
NOT_EVERY_RELEASE_HAS = ("vision_model",)  # of the versions: they go with their release


def is_staged():
    return os.path.exists(NEXT)


def staged_manifest():
    """What the deploy said the next release is made of. Raises Refusal."""
    manifest = read_json(f"{NEXT}/manifest.json", None)
    if not isinstance(manifest, dict) or not ID.fullmatch(str(manifest.get("id"))):
        raise Refusal("no release is staged here: pyinfra inventory deploy.py -y")
    return manifest


def assemble(manifest):
    """Make the release's folder out of what is staged and what is in place already. Raises Refusal, with nothing changed."""
    folder = folder_of(manifest["id"])
    if read_json(f"{folder}/manifest.json", None) is not None and not lacking(manifest["id"]):
        return
    shutil.rmtree(f"{folder}.new", ignore_errors=True)
    for path, digest in manifest["files"].items():
        sources = [place for place in (f"{NEXT}/root{path}", path) if digest_of(place) == digest]
        if not sources:
            shutil.rmtree(f"{folder}.new", ignore_errors=True)
            raise Refusal(f"{path} is not what the deploy rendered; again: pyinfra inventory deploy.py -y")
        copy_beside(sources[0], f"{folder}.new/root{path}")
        take_over(f"{folder}.new/root{path}")
    write_json(f"{folder}.new/manifest.json", manifest)
    shutil.rmtree(folder, ignore_errors=True)  # a broken one of the same id
    os.rename(f"{folder}.new", folder)
    sync_folder(RELEASES)


def check(release):
    """Ask the software itself whether it can read the release's files. Raises Refusal, with nothing changed."""
    manifest = manifest_of(release)
    if gone := lacking(release):
        raise Refusal(f"release {release} is not complete on this disk: {', '.join(gone[:3])} is not there")
    for words in manifest["checks"]:
        command = [word.replace("{root}", f"{folder_of(release)}/root") for word in words]
        done = run(*command, timeout=300)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-1500:]
            raise Refusal(f"release {release} fails its check {' '.join(command)}:\n{said}")


def units_of(manifest):
    return [path[len(UNITS) :] for path in manifest["files"] if path.startswith(UNITS)]


def place(release):
    """Have the release's files in place and systemd know them. Nothing is started or stopped.

    Raises OSError, as with a full disk, before the first file has changed: after that there is nothing left but renames.
    """
    manifest = manifest_of(release)
    changed = changed_by_hand(release)
    kept = {key: value for key, value in read_state().items() if key not in NOT_EVERY_RELEASE_HAS}
    state = {**kept, "release": release, **manifest["versions"]}
    try:
        for path in changed:
            copy_beside(f"{folder_of(release)}/root{path}", path)
        json_beside(STATE, state)
        if read_json(PLACING, {}).get("release") != release:
            write_json(PLACING, {"release": release})
    except OSError:
        for path in (*changed, STATE):
            with contextlib.suppress(OSError):
                os.unlink(f"{path}.new")
        raise
    for path in (*changed, STATE):
        take_over(path)
    os.unlink(PLACING)
    sync_folder(os.path.dirname(PLACING))
    tie(manifest)
    run("systemctl", "daemon-reload")


def tie(manifest):
    """Have no target pull a unit in beyond what this release says: the one before may have had vision on another server.

    Only links too many go. Those that a unit is to have are made by the deploy, and its target names it all the same.
    """
    ours = [path for path in manifest["files"] if path.startswith(UNITS) and path.endswith((".service", ".socket"))]
    mine = {os.path.basename(path): read_text(path) for path in ours}
    for folder in sorted(glob.glob(os.path.join(UNITS, "*.target.wants"))):
        target = os.path.basename(folder)[: -len(".wants")]
        for name in sorted(os.listdir(folder)):
            is_ours = name in mine or name in OURS
            if is_ours and target not in wanted_by(mine.get(name, "")):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(folder, name))


def wanted_by(text):
    """The targets that pull a unit in, of its text."""
    return [
        word for line in text.splitlines() if line.startswith("WantedBy=") for word in line[len("WantedBy=") :].split()
    ]


def finish():
    """Go on where a power cut ended a change of places; the release, or None when there was nothing to finish."""
    release = read_json(PLACING, {}).get("release")
    if release is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(PLACING)
        return None
    place(release)
    return release


def activate():
    """Put the staged release in place; its id. Raises Refusal with the old one in place, OSError."""
    manifest = staged_manifest()
    assemble(manifest)
    release, before = manifest["id"], current()
    check(release)
    if verdict_of(release).get("result") != GOOD or before != release:
        judge(release, TRYING)
    place(release)
    if problems := unit_problems(manifest):
        if before and before != release and not lacking(before):
            place(before)
        judge(release, BAD, problems.partition("\n")[0])
        left = "the files before are back" if before else "they are in place, as there is no release before"
        raise Refusal(
            f"systemd does not take the units of release {release}; {left}, nothing was restarted:\n{problems}"
        )
    shutil.rmtree(NEXT)
    return release


def unit_problems(manifest):
    """What systemd itself has against the units; "" when nothing."""
    names = [name for name in units_of(manifest) if name.endswith((".service", ".socket", ".target"))]
    done = run("systemd-analyze", "verify", "--man=no", *[UNITS + name for name in names], timeout=120)
    if done.returncode in (0, 127):
        return ""
    return done.stderr.strip()[-1500:]


def describe(release):
    """One line for people."""
    manifest, verdict = manifest_of(release), verdict_of(release)
    versions = ", ".join(f"{key} {value}" for key, value in manifest["versions"].items() if key != "model")
    mark = ", in place" if release == current() else ""
    result = verdict.get("result", "?")
    reason = f": {verdict['reason']}" if result == BAD and verdict.get("reason") else ""
    text = f"{release}  {verdict.get('time', ''):25}  {result}{reason}"
    return f"{text}{mark}  Phase {manifest['phase']}, {versions}, by {manifest['by']}"
