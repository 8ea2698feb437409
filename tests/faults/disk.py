"""One real disk below all hosts of a lab, so that it can be full: an ext4 in a file, where the lab keeps its hosts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import RawIOBase

from lab import Lab

SIZE_BYTES = 40 << 30  # of a file with holes: it takes what is written
LAST_BYTES = 16 << 20  # the file system's own blocks for so long a file are among them
REFILLED_EVERY_S = 0.1
FILLING = "filling"  # could be a host's name: `destroy_all` removes it too


class Disk:
    """The disk of every host of this lab. Made before the first host, gone with `remove`."""

    def __init__(self, lab: Lab) -> None:
        self.folder = lab.directory / "hosts"
        # Beside the lab's directory, as the session's lock: `destroy_all` removes that directory.
        self.image = lab.state / f"{lab.names.lab_id}.disk"
        self.mount = lab.state / f"{lab.names.lab_id}.disk.d"

    def ensure(self) -> None:
        """Make it where it is not. Raises CalledProcessError where this machine lets nobody mount a file."""
        if self.folder.resolve() == self.mount and self.mount.is_mount():
            return
        if self.folder.exists():
            self.folder.rmdir()  # raises OSError when hosts are there already, on the machine's own disk
        self.remove()  # of a session that was killed
        with self.image.open("wb") as file:
            file.truncate(SIZE_BYTES)
        # -m 0: root gets no blocks that others do not have.
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-N", "2000000", str(self.image)], check=True)
        self.mount.mkdir(mode=0o700)
        subprocess.run(["mount", "-o", "loop,discard", str(self.image), str(self.mount)], check=True)
        (self.mount / "lost+found").rmdir()  # the lab takes every name here for a host
        self.mount.chmod(0o700)
        self.folder.parent.mkdir(parents=True, exist_ok=True)  # of a lab that never had a host
        self.folder.symlink_to(self.mount)

    def remove(self) -> None:
        """Unmount and forget it. The hosts on it must be destroyed before."""
        if self.mount.is_mount():
            subprocess.run(["umount", str(self.mount)], check=True)
        with contextlib.suppress(FileNotFoundError):
            self.mount.rmdir()
        self.image.unlink(missing_ok=True)

    @property
    def free_bytes(self) -> int:
        seen = os.statvfs(self.folder)
        return seen.f_bavail * seen.f_frsize

    @contextmanager
    def full(self, left_bytes: int = 0) -> Iterator[None]:
        """Inside the block this much is left for all hosts together, also when they free something meanwhile."""
        self.fill(left_bytes)
        enough = threading.Event()
        refilling = threading.Thread(target=self._refill, args=(left_bytes, enough))
        refilling.start()
        try:
            yield
        finally:
            enough.set()
            refilling.join()
            self.empty()

    def _refill(self, left_bytes: int, enough: threading.Event) -> None:
        with (self.folder / FILLING).open("ab", buffering=0) as file:
            while not enough.wait(REFILLED_EVERY_S):
                self._write_until(file, left_bytes)

    def fill(self, left_bytes: int = 0) -> None:
        """Until `empty`; what the hosts free meanwhile they can use. Blocks are reserved, all but the last ones not written."""
        self.empty()
        with (self.folder / FILLING).open("ab", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, self.free_bytes - left_bytes - LAST_BYTES)
            self._write_until(file, left_bytes)

    def _write_until(self, file: RawIOBase, left_bytes: int) -> None:
        with contextlib.suppress(OSError):  # where nothing is to be left, it raises in the end
            while left_bytes == 0 or self.free_bytes > left_bytes:
                file.write(b"\0" * 4096)

    def empty(self) -> None:
        """Undo `fill`."""
        (self.folder / FILLING).unlink(missing_ok=True)
