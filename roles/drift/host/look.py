"""Look at what a deploy does not own, or does not see, and print it as one JSON object; change nothing. Needs python3 (3.10) only.

Runs on the host with one JSON object as its argument: {"units": […], "inputs": …, "records": …, "models": {name: {"snapshot": …,
"marker": …}}} (paths), or, for the text of files that everybody there may read, {"paths": […], "most_bytes": number}.
"""

import datetime
import glob
import hashlib
import json
import os
import pwd
import subprocess
import sys

PROPERTIES = ("Id", "LoadState", "ActiveState", "UnitFileState", "Result", "DropInPaths")
DROP_INS = ("/etc/systemd/system", "/etc/systemd/system.control", "/run/systemd/system", "/run/systemd/system.control")


def read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def units(names):
    """By name, what systemd says of each, and which drop-ins it has or would have after a reload."""
    command = ["systemctl", "show", "--property=" + ",".join(PROPERTIES), "--", *names]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    found = {}
    for block in said.split("\n\n"):
        pairs = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        name = pairs.get("Id")
        if name in names:
            own = [path for path in pairs.get("DropInPaths", "").split() if f"/{name}.d/" in path]
            on_disk = [path for folder in DROP_INS for path in glob.glob(f"{folder}/{name}.d/*.conf")]
            found[name] = {**pairs, "drop_ins": sorted({*own, *on_disk})}
    return found


def last_change(path):
    """Who owns it and when it was written last; None where it is not there."""
    try:
        seen = os.stat(path)
    except OSError:
        return None
    try:
        owner = pwd.getpwuid(seen.st_uid).pw_name
    except KeyError:
        owner = str(seen.st_uid)
    time = datetime.datetime.fromtimestamp(int(seen.st_mtime), datetime.timezone.utc)
    return {"owner": owner, "time": time.isoformat(timespec="seconds"), "mode": format(seen.st_mode & 0o7777, "o")}


def sha256(path):
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


def by_hand(folder):
    """Files that are not what the last deploy has put down, by its own list of checksums."""
    found = {}
    for listing in sorted(glob.glob(f"{folder}/*.sha256")):
        with open(listing, encoding="utf-8") as file:
            for line in file:
                expected, _, path = line.rstrip("\n").partition("  ")
                if path and sha256(path) != expected:
                    found[path] = last_change(path)
    return found


def runs_with(folder, records):
    """By unit, the inputs on the disk and those that its present start has read; None where it has none on record."""
    found = {}
    for path in sorted(glob.glob(f"{folder}/*.json")):
        unit = os.path.basename(path)[: -len(".json")]
        found[unit] = {"disk": read_json(path), "start": read_json(f"{records}/{unit}.json")}
    return found


def model(snapshot, marker):
    """Whether the revision is there: its marker, its files, and those of them that lead nowhere."""
    files = [os.path.join(folder, name) for folder, _, names in os.walk(snapshot) for name in names]
    dangling = [os.path.relpath(path, snapshot) for path in files if not os.path.exists(path)]
    return {"marker": os.path.exists(marker), "files": len(files), "dangling": sorted(dangling)}


def text_of(path, change, most_bytes):
    if not change or not int(change["mode"], 8) & 0o004 or os.path.getsize(path) > most_bytes:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError):
        return None


def files(paths, most_bytes):
    changes = {path: last_change(path) for path in paths}
    return {path: {"change": seen, "text": text_of(path, seen, most_bytes)} for path, seen in changes.items()}


def look(asked):
    return {
        "units": units(asked["units"]),
        "by_hand": by_hand(asked["inputs"]),
        "runs_with": runs_with(asked["inputs"], asked["records"]),
        "models": {name: model(**paths) for name, paths in asked["models"].items()},
    }


def main():
    asked = json.loads(sys.argv[1])
    print(json.dumps(files(**asked) if "paths" in asked else look(asked)))


main()
