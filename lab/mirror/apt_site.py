"""NVIDIA's two apt repositories, laid out as on NVIDIA's sites and signed with a key of the lab."""

from __future__ import annotations

import platform
from functools import partial
from pathlib import Path

from lab.mirror import cache, container_packages, dcgm_packages, debs, driver_packages, spoilt

DISTRIBUTION = "debian12"
# uname -m -> (folder of the CUDA repository, Debian's name)
MACHINES = {"x86_64": ("x86_64", "amd64"), "aarch64": ("sbsa", "arm64")}
CUDA_KEY_FILE = "3bf863cc.pub"


def ensure(root: Path) -> Path:
    """The folder served under `/apt/`. Raises CacheError if Debian's tools for it are missing."""
    fingerprint_file = root / "apt-key" / "fingerprint"
    if not fingerprint_file.is_file():
        debs.require_tools()
    key = debs.signing_key(root)
    here = Path(__file__).parent
    names = ("apt_site", "container_packages", "dcgm_packages", "debs", "driver_packages", "spoilt")
    sources = [here / f"{name}.py" for name in names]
    played = sorted(driver_packages.STAND_INS.glob("nvidia_*"))
    made_from = cache.key_of(*sources, *played, key.fingerprint, platform.machine())
    return cache.build_once(root / f"apt-{made_from}", partial(_make, key))


def fingerprint(root: Path) -> str:
    """The fingerprint of the key that signs the lab's repositories, 40 hex digits."""
    return debs.signing_key(root).fingerprint


def _make(key: debs.SigningKey, target: Path) -> None:
    debs.require_tools()
    folder, architecture = MACHINES[platform.machine()]
    cuda = target / "cuda" / "repos" / DISTRIBUTION / folder
    cuda.mkdir(parents=True)
    for version in driver_packages.VERSIONS:
        cache.say(f"apt: driver {version}")
        for deb in driver_packages.driver_packages(version, architecture):
            debs.build(deb, cuda)
    debs.build(driver_packages.subnet_manager(architecture), cuda)
    for deb in dcgm_packages.dcgm_packages(architecture):
        debs.build(deb, cuda)
    debs.build(driver_packages.keyring(DISTRIBUTION, folder, key.public(armored=False)), cuda)
    (cuda / CUDA_KEY_FILE).write_bytes(key.public(armored=True))
    publish_driver = partial(debs.publish, key=key, origin="NVIDIA", label="NVIDIA CUDA")
    publish_driver(cuda)

    toolkit = target / "libnvidia-container"
    packages = toolkit / "stable" / "deb" / architecture
    packages.mkdir(parents=True)
    for version in container_packages.VERSIONS:
        cache.say(f"apt: container toolkit {version}")
        for deb in container_packages.container_packages(version, architecture):
            debs.build(deb, packages)
    debs.publish(packages, key, origin="https://github.com/NVIDIA/libnvidia-container", label="libnvidia-container")
    (toolkit / "gpgkey").write_bytes(key.public(armored=True))
    listed = "deb https://nvidia.github.io/libnvidia-container/stable/deb/$(ARCH) /\n"
    (toolkit / "stable" / "deb" / "nvidia-container-toolkit.list").write_text(listed)
    spoilt.make(target, publish_driver)
