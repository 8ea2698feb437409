"""One at a time changes a host. By itself, `python3 -c <this> OWNER TOKEN respect|break`, it holds the host for a run of pyinfra.

The locks are the kernel's (flock): they go with the process that holds them, however it ends; their files say who that is, for
people. A run's lock is held by this program, which ends with the connection that started it, and carries the run's token: llm-phase
called by that run belongs to it. A switch has a lock of its own besides, which outlives a run that died in the middle of it.

Run by itself it prints empty lines while it holds; status 5, and who does, when it cannot; status 6 when somebody broke the lock.
"""

import contextlib
import datetime
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time

RUN_LOCK, SWITCH_LOCK = "/run/llm/lock", "/run/llm/switch.lock"
AUDIT = "/var/lib/llm/audit.jsonl"
AT_WORK = "/var/lib/llm/at-work"  # there while a run has the host, and after one that left packages half installed
BREAK_TIMEOUT_S = 10.0
SIGN_OF_LIFE_S = 30
ENDING_S = 5.0  # a run that is over lets go of the host a moment later: the next one must not be refused for it


class Locked(Exception):
    """Somebody else is at it; the text says who and since when."""


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def append(path, entry):
    """One line of JSON at the end of a file, on the disk before this returns; a line that was cut off before stays by itself."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "ab+") as file:
        file.seek(0, os.SEEK_END)
        torn = False
        if file.tell():
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + json.dumps(entry).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_owner(path):
    """Who holds the lock, as its file says; "" where it says nothing."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1000).strip()
    except OSError:
        return ""


def holder_of(path):
    """The process that holds the lock, from the kernel; None when nobody does. Looks without taking it."""
    try:
        inode = str(os.stat(path).st_ino)
        with open("/proc/locks", encoding="ascii") as file:
            for line in file:
                words = line.split()
                if (
                    len(words) >= 6
                    and words[1] == "FLOCK"
                    and words[3] == "WRITE"
                    and words[5].rpartition(":")[2] == inode
                ):
                    return int(words[4])
    except (OSError, ValueError):
        pass
    return None


def end_holder(path):
    """Have the process that holds the lock end, and wait for that. False when it does not."""
    pid = holder_of(path)
    if pid and pid > 0:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + BREAK_TIMEOUT_S
    while holder_of(path) is not None:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@contextlib.contextmanager
def held(path, owner, run=None, patience_s=0.0):
    """The lock, until the block or the process ends. Raises Locked.

    :param run: token that the file carries. :param patience_s: how long to wait for it.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        end = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise Locked(read_owner(path) or "somebody") from None
                time.sleep(0.1)
        os.ftruncate(file, 0)
        text = f"{owner}, since {now()}, pid {os.getpid()}" + (f", run {run}" if run else "")
        os.pwrite(file, f"{text}\n".encode(), 0)
        yield
        os.ftruncate(file, 0)
    finally:
        os.close(file)


def break_locks(by, run=None):
    """End whoever has this host, a run and a switch that it began, and put that on record. Raises Locked when one does not end.

    :param run: token of the breaking run, whose own lock stays.
    """
    owners = []
    for path in (RUN_LOCK, SWITCH_LOCK):
        owner = read_owner(path)
        if holder_of(path) is None or (run and owner.endswith(f"run {run}")):
            continue
        if not end_holder(path):
            raise Locked(f"{owner or 'somebody'}, who does not end")
        owners.append(owner or "somebody")
    if owners:
        entry = {
            "time": now(),
            "by": by,
            "command": "break the lock",
            "result": "lock broken",
            "detail": "; ".join(owners),
        }
        with contextlib.suppress(OSError):  # a full disk must not keep anybody from a rollback
            append(AUDIT, entry)


@contextlib.contextmanager
def host_locked(by, what, run=None, breaking=False):
    """This host for a switch: of the run that has it already, or by itself. Raises Locked."""
    if breaking:
        break_locks(by, run)
    text = f"{by} ({what})"
    with contextlib.ExitStack() as stack:
        try:
            ours = run and read_owner(RUN_LOCK).endswith(f"run {run}")
            stack.enter_context(held(RUN_LOCK, text, patience_s=0.0 if ours else ENDING_S))
        except Locked:
            if not (run and read_owner(RUN_LOCK).endswith(f"run {run}")):
                raise
        stack.enter_context(held(SWITCH_LOCK, text))
        yield


def wait_for_the_end():
    """Until whoever started us is gone: the other end of our standard output is closed then.

    A controller that vanished without a word closes nothing. An empty line now and then has sshd find that out: at once where the
    controller runs and knows nothing of the connection, after the kernel's 15 minutes where nobody answers.
    """
    output = sys.stdout.fileno()
    watched = select.poll()
    watched.register(output, select.POLLERR | select.POLLHUP)
    while not watched.poll(SIGN_OF_LIFE_S * 1000):
        try:
            os.write(output, b"\n")
        except OSError:
            return


def same_login():
    """What the processes of one login have in common: its control group, from pam_systemd; None where there is none."""
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        text = file.read()
    return text if "/session-" in text else None


def commands_left():
    """{pid: command} of what this login began and that still runs: an install goes on when its operator has gone.

    A daemon that a command left behind, such as gpg-agent, is none of them: its output is not ours to read.
    """
    login, found, mine = same_login(), {}, set()
    pid = os.getpid()
    while pid > 1:
        mine.add(pid)
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            pid = int(file.read().rpartition(")")[2].split()[1])
    for pid in (int(name) for name in os.listdir("/proc") if login and name.isdigit()):
        with contextlib.suppress(OSError):  # it ended meanwhile
            with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
                if pid in mine or file.read() != login:
                    continue
            if os.readlink(f"/proc/{pid}/fd/1").startswith(("pipe:", "socket:")):
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    found[pid] = file.read(200).replace(b"\0", b" ").decode(errors="replace").strip()
    return {pid: words for pid, words in found.items() if words and not words.startswith("sshd")}


def wait_for_commands(owner):
    """Keep the lock while a command of a run that is gone is at work; the lock's file says so."""
    while left := commands_left():
        pid, words = max(left.items())
        text = f"{owner}, which is gone; what it began still runs: pid {pid}, {words[:80]}"
        with contextlib.suppress(OSError), open(RUN_LOCK, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        time.sleep(0.5)


def begin_work(owner):
    """Leave a note of who is at work: after a power cut it says whose half-installed packages these are."""
    with contextlib.suppress(OSError):  # a full disk must not keep anybody from a rollback
        os.makedirs(os.path.dirname(AT_WORK), exist_ok=True)
        with open(AT_WORK, "w", encoding="utf-8") as file:
            file.write(f"{owner}, since {now()}\n")
            file.flush()
            os.fsync(file.fileno())


def end_work():
    """Take the note away, unless packages are half installed."""
    try:
        audit = subprocess.run(["dpkg", "--audit"], capture_output=True, timeout=60)
        if audit.returncode or audit.stdout.strip():
            return
    except (OSError, subprocess.TimeoutExpired):
        return
    with contextlib.suppress(OSError):
        os.unlink(AT_WORK)


def was_broken(*_):
    print("somebody broke the lock (--data lock=break); llm-phase log on the host says who", flush=True)
    os._exit(6)


def hold(owner, token, how):
    """Hold the host for a run. Status as of the program."""
    try:
        if how == "break":
            break_locks(owner)
        if holder_of(SWITCH_LOCK) is not None:  # a run died in the middle of a switch, which goes on
            raise Locked(read_owner(SWITCH_LOCK) or "somebody")
        with held(RUN_LOCK, owner, token, ENDING_S):
            signal.signal(signal.SIGTERM, was_broken)
            begin_work(owner)
            wait_for_the_end()
            time.sleep(0.5)  # sshd tells the commands of a lost connection one after the other
            wait_for_commands(read_owner(RUN_LOCK))
            end_work()
    except Locked as locked:
        print(locked, flush=True)
        return 5
    return 0


if __name__ == "__main__":
    sys.exit(hold(*sys.argv[1:]))
