"""Gather evidence about the machine, its cards and its packages; change nothing, judge nothing.

Runs on the host: `python3 -c <this>`. Prints one JSON object of raw texts; roles/facts/evidence.py reads them.
Needs python3 (3.9 or newer); a tool that is missing leaves its text empty.
"""

import glob
import json
import os
import re
import subprocess

CARD = "index,uuid,name,compute_cap,memory.total,memory.used,driver_version,mig.mode.current,persistence_mode"
HEALTH = "uuid,remapped_rows.pending,remapped_rows.failure,ecc.errors.uncorrected.volatile.total"
APPS = "gpu_uuid,pid,process_name,used_memory"
PACKAGES = (
    "nvidia-*", "libnvidia-*", "cuda-drivers*", "docker*", "containerd*", "runc", "podman-docker",
    "unattended-upgrades", "linux-headers-*", "linux-modules-nvidia-*",
)  # fmt: skip
SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")
# apt writes its caches even when it is only asked.
NO_CACHE_FILES = ("-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=")


def run(*command):
    """Status, standard output and standard error; 127 where there is no such program."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, env=environment)
    except subprocess.TimeoutExpired:
        return {"status": 124, "out": "", "err": command[0] + ": no answer within 30 s"}
    except (OSError, subprocess.SubprocessError):
        return {"status": 127, "out": "", "err": ""}
    return {"status": done.returncode, "out": done.stdout, "err": done.stderr}


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read(200_000).decode(errors="replace").strip("\0\n")
    except OSError:
        return ""


def hexadecimal(path):
    try:
        with open(path, "rb") as file:
            return file.read(64).hex()
    except OSError:
        return ""


def pci():
    lines = []
    for device in sorted(glob.glob("/sys/bus/pci/devices/*")):
        driver = os.path.basename(os.path.realpath(device + "/driver")) if os.path.exists(device + "/driver") else ""
        facts = [read(device + "/" + name) for name in ("vendor", "device", "class")]
        # Product data of one vendor only: some devices take seconds to tell theirs.
        marks = ["SW_MNG"] if facts[0] == "0x15b3" and "SW_MNG" in read(device + "/vpd") else []
        lines.append(" ".join(filter(None, [os.path.basename(device), *facts, driver, *marks])))
    return "\n".join(lines)


def smi(query, fields):
    return run("nvidia-smi", "--query-" + query + "=" + fields, "--format=csv,noheader,nounits")


def kernel_messages(pattern):
    """Lines of this boot; `--grep` needs a journal built with it, so the match is made here."""
    said = run("journalctl", "-k", "-b", "--no-pager", "-o", "cat")["out"] or run("dmesg")["out"]
    return "\n".join([line for line in said.splitlines() if pattern in line][-20:])


def lock_holders():
    """`<pid> <command>` of everybody who holds one of apt's and dpkg's locks."""
    inodes = {}
    for path in LOCKS:
        try:
            inodes[os.stat(path).st_ino] = path
        except OSError:
            continue
    lines = []
    for line in read("/proc/locks").splitlines():
        words = line.split()
        inode = words[5].rpartition(":")[2] if len(words) > 5 and "->" not in words else ""
        if inode.isdigit() and int(inode) in inodes:
            lines.append(words[4] + " " + read("/proc/" + words[4] + "/comm"))
    return "\n".join(sorted(set(lines)))


def kernels():
    """Releases of installed kernels, in the order of boot loaders: by the numbers in them, the one that boots next last."""
    found = [path[len("/boot/vmlinuz-") :] for path in glob.glob("/boot/vmlinuz-*")]
    return sorted(found, key=lambda release: [int(number) for number in re.findall(r"\d+", release)])


def offered_headers(releases):
    """What apt knows of the headers of these kernels; a name that it does not know is left out."""
    return run("apt-cache", *NO_CACHE_FILES, "policy", *["linux-headers-" + release for release in sorted(releases)])[
        "out"
    ]


def main():
    release = read("/proc/sys/kernel/osrelease")
    installed = kernels()
    texts = {
        "kernel": release,
        "kernels": "\n".join(installed),
        "headers": offered_headers({release, *installed[-1:]}),
        "proc_version": read("/proc/version"),
        "device_tree": read("/proc/device-tree/model"),
        "tegra": read("/etc/nv_tegra_release"),
        "gridd": read("/etc/nvidia/gridd.conf"),
        "efi": "yes" if os.path.isdir("/sys/firmware/efi") else "",
        "secure_boot": hexadecimal(SECURE_BOOT),
        "mok": run("mokutil", "--list-enrolled")["out"][:4000],
        "pci": pci(),
        "modules": "\n".join(
            line for line in read("/proc/modules").splitlines() if line.startswith(("nvidia", "nouveau"))
        ),
        "module_version": read("/sys/module/nvidia/version"),
        "driver_version": read("/proc/driver/nvidia/version"),
        "runfile": "/usr/bin/nvidia-uninstall" if os.path.exists("/usr/bin/nvidia-uninstall") else "",
        "xid": kernel_messages("NVRM: Xid"),
        "virtualization": "\n".join(
            line for line in run("nvidia-smi", "-q")["out"].splitlines() if "Virtualization Mode" in line
        ),
        "packages": run("dpkg-query", "-W", "-f", "${Package}\t${Version}\t${db:Status-Abbrev}\n", *PACKAGES)["out"],
        "audit": run("dpkg", "--audit")["out"],
        "at_work": read("/var/lib/llm/at-work"),
        "holds": run("apt-mark", *NO_CACHE_FILES, "showhold")["out"],
        "lock_holders": lock_holders(),
        "unattended": run("apt-config", "dump", "Unattended-Upgrade")["out"],
        "reboot_required": read("/run/reboot-required.pkgs")
        or ("yes" if os.path.exists("/run/reboot-required") else ""),
        "daemon_json": read("/etc/docker/daemon.json"),
        "snap_docker": "/snap/bin/docker" if os.path.exists("/snap/bin/docker") else "",
        "live_restore": run("docker", "info", "--format", "{{.LiveRestoreEnabled}}")["out"],
        "containers": run("docker", "ps", "--no-trunc", "--format", "{{.ID}} {{.Image}} {{.Names}}")["out"],
    }
    apps = smi("compute-apps", APPS)
    pids = [line.split(",")[1].strip() for line in apps["out"].splitlines() if line.count(",") >= 3]
    texts["cgroups"] = "\n".join(pid + " " + read("/proc/" + pid + "/cgroup").replace("\n", " ") for pid in pids)
    commands = {"cards": smi("gpu", CARD), "health": smi("gpu", HEALTH), "apps": apps}
    print(json.dumps({"texts": texts, "commands": commands}))


main()
