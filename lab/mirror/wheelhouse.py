"""The wheels of some lock files, downloaded once with the machine's own pip settings.

`pip` here is the machine's: its configuration files and PIP_* variables decide where wheels come from, and this
module names no index. One publisher is asked by name: a version such as `torch==2.13.0+cpu`, which pip's own settings
do not find, is looked for in PyTorch's CPU index, or in the one that LLM_LAB_TORCH_INDEX names.

All wheels ever downloaded lie in one pool; a wheelhouse holds hard links into it, so a changed lock fetches what is new.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lab.mirror import cache
from lab.mirror.locks import Pin, read
from lab.mirror.python_index import HASHES

PYTHON = "3.11"  # of Debian 12, which the lab's hosts run
GLIBC_MINOR = 36  # likewise
BATCH = 12  # small enough to see progress and to lose little when interrupted
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
TIMEOUT_S = 1800
COMPLETE = ".complete"


def ensure(lock_files: Sequence[Path], root: Path) -> Path:
    """A folder with exactly the wheels that the lock files pin, and their hashes in `sha256.json`.

    Raises CacheError if a wheel cannot be had, is published as source only, or has another hash than the lock says.
    """
    pins = unite(pin for path in lock_files for pin in read(path))
    target = root / f"wheels-{cache.key_of(*lock_files, PYTHON)}"
    return cache.build_once(target, lambda folder: _fill(folder, root / "wheel-pool", pins))


def unite(pins: Iterable[Pin]) -> list[Pin]:
    """Each pin once. Locks of separate environments may pin several versions of one project."""
    return list({(pin.name, pin.version): pin for pin in pins}.values())


def _fill(folder: Path, pool: Path, pins: Sequence[Pin]) -> None:
    pool.mkdir(parents=True, exist_ok=True)
    wanting = [pin for pin in pins if _in_pool(pool, pin) is None]
    done = len(pins) - len(wanting)
    # A wheel that only one publisher has goes first: it is the likeliest to be missing.
    for pin in [pin for pin in wanting if pin.is_local_build]:
        cache.say(f"wheels: {done}/{len(pins)}, next {pin.name} {pin.version}")
        _download_local_build(pool, pin)
        done += 1
    plain = [pin for pin in wanting if not pin.is_local_build]
    for batch in batches(plain):
        cache.say(f"wheels: {done}/{len(pins)}, next {', '.join(pin.name for pin in batch)}")
        if len(batch) == 1 or _download(pool, batch).returncode != 0:
            for pin in batch:
                _download_alone(pool, pin)
        done += len(batch)
    hashes = {}
    for pin in pins:
        wheel = _in_pool(pool, pin)
        if wheel is None and pin.is_conditional:
            continue  # pip ignored it: its marker is not true here, e.g. python_version < "3.11"
        if wheel is None:
            raise cache.CacheError(f"{pin.name}=={pin.version}: pip reported success but {pool} has no such wheel")
        hashes[wheel.name] = _sha256(wheel)
        _link(wheel, folder / wheel.name)
    (folder / HASHES).write_text(json.dumps(hashes, indent=1, sort_keys=True) + "\n")
    cache.say(f"wheels: {len(pins)}/{len(pins)}")


def batches(pins: Sequence[Pin]) -> Iterator[list[Pin]]:
    """Groups for one call of pip each: pip wants either hashes for all requirements of a file or for none."""
    for has_hashes in (True, False):
        group = [pin for pin in pins if bool(pin.hashes) is has_hashes]
        for start in range(0, len(group), BATCH):
            yield group[start : start + BATCH]


def _in_pool(pool: Path, pin: Pin) -> Path | None:
    """The wheel of this pin; one whose hash the lock does not know is removed, so that it is fetched again."""
    for wheel in pool.glob("*.whl"):
        if not pin.fits(wheel.name):
            continue
        if not pin.hashes or _sha256(wheel) in pin.hashes:
            return wheel
        wheel.unlink()
    return None


def _sha256(path: Path) -> str:
    return cache.sha256_of(path)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def platforms() -> list[str]:
    """The platform tags that a Debian 12 host of this machine's architecture accepts, best first."""
    machine = platform.machine()
    modern = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC_MINOR, 4, -1)]
    return [*modern, *(f"{old}_{machine}" for old in ("manylinux2014", "manylinux2010", "manylinux1", "linux"))]


def _download(pool: Path, pins: Sequence[Pin], *options: str) -> subprocess.CompletedProcess[str]:
    """One call of `pip download`; finished wheels are moved into the pool."""
    # On the pool's own file system, so that a finished wheel arrives by renaming.
    with tempfile.TemporaryDirectory(dir=pool, prefix=".download-") as scratch:
        wanted = Path(scratch) / "requirements.txt"
        wanted.write_text("".join(f"{pin.line}\n" for pin in pins))
        abi = f"cp{PYTHON.replace('.', '')}"
        command = [
            *_pip(pool), "download", "--no-deps", "--only-binary=:all:", "--no-python-version-warning",
            "--python-version", PYTHON, "--implementation", "cp", "--abi", abi, "--abi", "abi3", "--abi", "none",
            *(option for tag in platforms() for option in ("--platform", tag)),
            "--dest", scratch, *options, "-r", str(wanted),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        for wheel in Path(scratch).glob("*.whl"):
            wheel.replace(pool / wheel.name)
        return done


def _download_local_build(pool: Path, pin: Pin) -> None:
    own = _download(pool, [pin])
    if own.returncode == 0:
        return
    index = os.environ.get("LLM_LAB_TORCH_INDEX") or PYTORCH_CPU_INDEX
    other = _download(pool, [pin], "--index-url", index)
    if other.returncode == 0:
        return
    raise cache.CacheError(
        f"{pin.name}=={pin.version} is in neither place:\n"
        f"  this machine's pip settings (pip config list): {_reason(own)}\n"
        f"  {index} (LLM_LAB_TORCH_INDEX): {_reason(other)}\n"
        f"put the wheel into a folder and name it in PIP_FIND_LINKS, or name an index in LLM_LAB_TORCH_INDEX"
    )


def _download_alone(pool: Path, pin: Pin) -> None:
    """Fetch one pin by itself, so that a message names it and tells why."""
    if _in_pool(pool, pin) is not None:
        return
    done = _download(pool, [pin], "-vv")
    if done.returncode == 0:
        return
    if "No sources permitted" in done.stdout and f"-{pin.version}." in done.stdout:
        raise cache.CacheError(
            f"{pin.name}=={pin.version} is published as source only for this platform; the mirror serves wheels, so "
            f"build one (pip wheel --no-deps {pin.name}=={pin.version}) into a folder that PIP_FIND_LINKS names"
        )
    raise cache.CacheError(f"{pin.name}=={pin.version}: pip cannot download a wheel: {_reason(done)}")


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return errors[-1] if errors else f"pip ended with {done.returncode}"


def _pip(pool: Path) -> list[str]:
    """A pip to call: that of the running Python, else one in an environment of the cache."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    environment = pool.parent / "pip"
    if not is_complete(environment):
        make_environment(environment)
    return [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]


def make_environment(target: Path, requirements: Path | None = None) -> None:
    """A virtual environment at `target` with these requirements, installed with the machine's own pip settings.

    Built in place, as its scripts carry its path; `is_complete` tells a finished one. Raises CacheError.
    """
    shutil.rmtree(target, ignore_errors=True)
    cache.say(f"making {target}")
    made = subprocess.run([sys.executable, "-m", "venv", str(target)], capture_output=True, text=True)
    if made.returncode != 0:
        raise cache.CacheError(f"python3 -m venv failed; on Debian install python3-venv\n{made.stdout}{made.stderr}")
    if requirements is not None:
        python = str(target / "bin" / "python")
        command = [python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "-r", str(requirements)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode != 0:
            raise cache.CacheError(f"pip cannot install {requirements}: {_reason(done)}")
    (target / COMPLETE).touch()


def is_complete(environment: Path) -> bool:
    """Was this virtual environment made to the end?"""
    return (environment / COMPLETE).is_file()
