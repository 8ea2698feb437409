"""The apt repositories, read by apt itself in a root of its own; nothing is installed."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.mirror import apt_site, debs, driver_packages, spoilt
from lab.mirror.cache import CacheError
from lab.mirror.sites import Content

from .conftest import Served, running

TOOLS = [tool for tool in (*debs.TOOLS, "apt-get", "apt-cache") if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(bool(TOOLS), reason=f"Debian's {', '.join(TOOLS)} is not installed here")
HEADLESS = ("nvidia-driver-cuda", "nvidia-kernel-open-dkms")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return apt_site.ensure(tmp_path_factory.mktemp("apt"))


class Apt:
    """apt-get and apt-cache with their own sources, preferences and status."""

    def __init__(self, root: Path, served: Served) -> None:
        self.root = root
        for folder in ("sources.list.d", "preferences.d", "apt.conf.d", "trusted.gpg.d"):
            (root / "etc/apt" / folder).mkdir(parents=True)
        for folder in ("var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg"):
            (root / folder).mkdir(parents=True)
        # The stand-ins are Python programs, so a host must have it.
        installed = "Package: python3\nStatus: install ok installed\nVersion: 3.11.2-1\nArchitecture: amd64\n"
        (root / "var/lib/dpkg/status").write_text(f"{installed}Maintainer: x <x@localhost>\nDescription: x\n\n")
        base = f"{served.url('files')}/apt"
        key = served.ask("files", f"/apt/cuda/repos/debian12/{cuda_folder()}/3bf863cc.pub").body
        self.trust(key)
        toolkit = f"{base}/libnvidia-container/stable/deb/$(ARCH)"
        for name, url in {"cuda": f"{base}/cuda/repos/debian12/{cuda_folder()}/", "toolkit": toolkit}.items():
            line = f"deb [signed-by={root}/etc/apt/key.asc] {url} /\n"
            (root / "etc/apt/sources.list.d" / f"{name}.list").write_text(line)

    def trust(self, key: bytes) -> None:
        (self.root / "etc/apt/key.asc").write_bytes(key)

    def pin(self, deb: debs.Deb) -> None:
        for path, content in deb.files.items():
            (self.root / path.lstrip("/")).write_text(str(content))

    def __call__(self, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        status = self.root / "var/lib/dpkg/status"
        options = [f"Dir={self.root}", f"Dir::State::status={status}", "APT::Sandbox::User=root"]
        command = [tool, *(part for option in options for part in ("-o", option)), *arguments]
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)

    def candidate(self, package: str) -> str:
        found = re.search(r"Candidate: (\S+)", self("apt-cache", "policy", package).stdout)
        assert found
        return found[1]

    def would_install(self, *packages: str) -> dict[str, str]:
        planned = self("apt-get", "--simulate", "install", *packages)
        assert planned.returncode == 0, planned.stderr
        return dict(re.findall(r"^Inst (\S+) \((\S+)", planned.stdout, re.MULTILINE))


def cuda_folder() -> str:
    return apt_site.MACHINES[platform.machine()][0]


@pytest.fixture(scope="module")
def updated(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apt]:
    folder = tmp_path_factory.mktemp("updated")
    with running(Content(apt=site), folder / "state") as served:
        ready = Apt(folder / "root", served)
        done = ready("apt-get", "update", "--error-on=any")
        assert done.returncode == 0, done.stderr
        yield ready


@pytest.fixture
def apt(updated: Apt) -> Iterator[Apt]:
    """apt with fresh lists and no pin."""
    key = (updated.root / "etc/apt/key.asc").read_bytes()
    yield updated
    updated.trust(key)
    if not list((updated.root / "var/lib/apt/lists").glob("*Packages*")):
        updated("apt-get", "update")
    for path in (updated.root / "etc/apt/preferences.d").iterdir():
        path.unlink()


def test_a_headless_driver_comes_complete_at_one_version_and_without_a_desktop(apt: Apt) -> None:
    plan = apt.would_install(*HEADLESS)
    assert set(plan.values()) == {"595.91.07-1"}
    assert {"nvidia-smi", "nvidia-persistenced", "libcuda1", "libnvidia-compute"} <= plan.keys()
    assert not {name for name in plan if "xserver" in name or name == "nvidia-driver"}


@pytest.mark.parametrize(
    ("what", "pattern", "candidate"),
    [("580", "580.*", "580.182.01-1"), ("580.178.04", "580.178.04-*", "580.178.04-1"), ("595", "595.*", "595.91.07-1")],
)
def test_a_pinning_package_holds_the_branch_or_the_version(apt: Apt, what: str, pattern: str, candidate: str) -> None:
    apt.pin(driver_packages.pinning(what, pattern, "1"))
    assert apt.candidate("nvidia-open") == candidate
    assert set(apt.would_install(*HEADLESS).values()) == {candidate}


def test_an_exact_version_can_be_asked_for(apt: Apt) -> None:
    apt.pin(driver_packages.pinning("580.178.04", "580.178.04-*", "1"))
    plan = apt.would_install("nvidia-smi=580.178.04-1", "nvidia-container-toolkit=1.19.1-1")
    assert plan["nvidia-smi"] == "580.178.04-1"
    assert plan["libnvidia-container1"] == plan["nvidia-container-toolkit-base"] == "1.19.1-1"


def test_open_and_closed_modules_exclude_each_other(apt: Apt) -> None:
    assert apt("apt-get", "--simulate", "install", "nvidia-kernel-dkms", "nvidia-kernel-open-dkms").returncode != 0


def test_branch_names_end_with_580_and_need_the_pin(apt: Apt) -> None:
    assert apt("apt-get", "--simulate", "install", "cuda-drivers-580").returncode != 0
    apt.pin(driver_packages.pinning("580", "580.*", "1"))
    assert apt.would_install("cuda-drivers-580")["cuda-drivers"] == "580.182.01-1"
    assert apt("apt-get", "--simulate", "install", "cuda-drivers-595").returncode != 0


def test_every_stand_in_says_so(site: Path) -> None:
    records = [record for path in site.rglob("Packages") for record in path.read_text().strip().split("\n\n")]
    assert len(records) > 70
    assert all("stand-in of the lab" in record for record in records)


def test_a_key_of_somebody_else_is_refused(apt: Apt, tmp_path: Path) -> None:
    apt.trust(debs.signing_key(tmp_path / "other").public(armored=True))
    # With the old lists at hand apt would go on with them and only warn.
    shutil.rmtree(apt.root / "var/lib/apt/lists")
    (apt.root / "var/lib/apt/lists/partial").mkdir(parents=True)
    refused = apt("apt-get", "update", "--error-on=any")
    assert refused.returncode != 0
    assert "NO_PUBKEY" in refused.stderr + refused.stdout


def from_spoilt(site: Path, folder: Path, fault: str, served: Served) -> Apt:
    """apt whose only source is the driver repository with this fault, and which trusts the key published there."""
    apt = Apt(folder, served)
    place = f"apt/spoilt/{fault}/cuda/repos/debian12/{cuda_folder()}/"
    apt.trust(served.ask("files", f"/{place}3bf863cc.pub").body)
    (folder / "etc/apt/sources.list.d/toolkit.list").unlink()
    line = f"deb [signed-by={folder}/etc/apt/key.asc] {served.url('files')}/{place} /\n"
    (folder / "etc/apt/sources.list.d/cuda.list").write_text(line)
    return apt


@pytest.mark.parametrize(("fault", "words"), [("other-key", "NO_PUBKEY"), ("expired-key", "EXPKEYSIG")])
def test_a_repository_signed_by_another_or_an_expired_key_is_refused(
    site: Path, tmp_path: Path, fault: str, words: str
) -> None:
    with running(Content(apt=site), tmp_path / "state") as served:
        refused = from_spoilt(site, tmp_path / "root", fault, served)("apt-get", "update", "--error-on=any")
    assert refused.returncode != 0
    assert words in refused.stderr + refused.stdout


def test_a_package_whose_bytes_are_not_those_of_the_index_is_refused(site: Path, tmp_path: Path) -> None:
    with running(Content(apt=site), tmp_path / "state") as served:
        apt = from_spoilt(site, tmp_path / "root", "tampered", served)
        assert apt("apt-get", "update", "--error-on=any").returncode == 0
        refused = apt("apt-get", "--download-only", "--yes", "install", "nvidia-smi")
    assert refused.returncode != 0
    assert "Hash Sum mismatch" in refused.stderr


def test_a_version_can_be_missing_from_a_repository_that_is_otherwise_whole(site: Path, tmp_path: Path) -> None:
    with running(Content(apt=site), tmp_path / "state") as served:
        apt = from_spoilt(site, tmp_path / "root", "missing-version", served)
        assert apt("apt-get", "update", "--error-on=any").returncode == 0
        shown = apt("apt-cache", "madison", "nvidia-smi").stdout
    assert "580.178.04-1" in shown
    assert spoilt.MISSING not in shown


def test_the_fabric_manager_follows_the_driver_to_the_exact_version(apt: Apt) -> None:
    apt.pin(driver_packages.pinning("580.178.04", "580.178.04-*", "1"))
    plan = apt.would_install("nvidia-fabricmanager", "libnvidia-nscq", "nvidia-imex")
    assert set(plan.values()) == {"580.178.04-1"}


def test_the_key_files_have_the_fingerprint_that_is_told(site: Path) -> None:
    told = apt_site.fingerprint(site.parent)
    for path in (site / "libnvidia-container/gpgkey", site / f"cuda/repos/debian12/{cuda_folder()}/3bf863cc.pub"):
        shown = subprocess.run(
            ["gpg", "--show-keys", "--with-colons", str(path)], capture_output=True, text=True
        ).stdout
        assert f":{told}:" in shown


def test_the_key_outlives_the_repository(site: Path) -> None:
    assert debs.signing_key(site.parent).fingerprint == apt_site.fingerprint(site.parent)


def test_a_package_is_the_same_bytes_on_every_build(tmp_path: Path) -> None:
    deb = next(deb for deb in driver_packages.driver_packages("580.178.04", "amd64") if deb.name == "nvidia-smi")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = debs.build(deb, tmp_path / "a"), debs.build(deb, tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()


def test_the_keyring_package_has_the_files_of_the_real_one(site: Path) -> None:
    path = site / "cuda/repos/debian12" / cuda_folder() / "cuda-keyring_1.1-1_all.deb"
    listed = subprocess.run(["dpkg-deb", "--contents", str(path)], capture_output=True, text=True, check=True).stdout
    for name in (
        "./usr/share/keyrings/cuda-archive-keyring.gpg",
        f"./etc/apt/sources.list.d/cuda-debian12-{cuda_folder()}.list",
        "./etc/apt/preferences.d/cuda-repository-pin-600",
    ):
        assert name in listed


def test_missing_tools_are_named_by_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CacheError, match="apt-get install apt-utils dpkg gnupg"):
        debs.require_tools()
