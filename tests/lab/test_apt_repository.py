"""Adding an apt repository on a real host: only with the key we expect, and without leaving a source that breaks apt."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab import Host, mirrored
from tests.lab.deployments import CHECKOUT, Operator

pytestmark = pytest.mark.lab
PROGRAM = "/root/add-repository"
GPG = "gpg --homedir /root/keys --batch --passphrase '' --pinentry-mode loopback"


@pytest.fixture(scope="module")
def site(operator: Operator, make_host: Callable[..., Host]) -> tuple[Host, str, str]:
    """A host with the program, the URI of the lab's driver repository, and the fingerprint of the key that signs it."""
    host, mirrors = make_host("sources"), mirrored.ensure(operator.lab)
    host.ssh(
        "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends gpg gpg-agent curl",
        timeout=600,
    )
    host.copy_to(CHECKOUT / "roles/base/host/add-repository", PROGRAM)
    host.ssh(f"chmod 755 {PROGRAM}")
    uri = f"{mirrors.cuda_repositories}/debian12/x86_64"
    host.ssh(f"mkdir -p -m 700 /root/keys; curl -fsS {uri}/3bf863cc.pub > /root/right.pub")
    return host, uri, mirrors.apt_key_fingerprint


def add(host: Host, uri: str, key: str, fingerprint: str, sha256: str = "") -> tuple[int, str]:
    """Exit status and words of the program; `key` is a path on the host."""
    source = f"Types: deb\nURIs: {uri}\nSuites: /\nSigned-By: /etc/apt/keyrings/nvidia-cuda.gpg\n"
    done = host.ssh(f"{PROGRAM} nvidia-cuda file://{key} {fingerprint} {sha256}", check=False, stdin=source)
    return done.returncode, done.stdout + done.stderr


def files(host: Host) -> str:
    return host.ssh("find /etc/apt -type f -exec sha256sum {} + | sort").stdout


def made_key(host: Host, name: str, *options: str) -> str:
    """Make a key on the host, its public part in /root/<name>.pub; returns its fingerprint."""
    host.ssh(
        f"{GPG} {' '.join(options)} --quick-generate-key {name} rsa2048 sign {'1d' if options else 'never'} 2>/dev/null"
    )
    host.ssh(f"{GPG} --armor --export {name} > /root/{name}.pub")
    shown = host.ssh(f"{GPG} --with-colons --fingerprint {name}").stdout
    return next(line.split(":")[9] for line in shown.splitlines() if line.startswith("fpr:"))


def test_a_key_that_is_not_the_expected_one_changes_nothing(site: tuple[Host, str, str]) -> None:
    host, uri, right = site
    expired = made_key(host, "expired", "--faked-system-time", "20200101T000000")
    other = made_key(host, "other")
    host.ssh("cat /root/right.pub /root/other.pub > /root/both.pub")
    before = files(host)
    cases = (
        (("/root/right.pub", "A" * 40), f"has fingerprint {right}, not {'A' * 40}"),
        (("/root/right.pub", right, "0" * 64), f"not {'0' * 64}"),
        (("/root/both.pub", right), "holds 2 keys, not one"),
        (("/root/expired.pub", expired), "has expired"),
        (("/root/other.pub", other), "its source was taken away again"),
    )
    for arguments, expected in cases:
        status, said = add(host, uri, *arguments)
        assert status == 1, said
        assert expected in said
        assert "nothing was changed" in said
        assert files(host) == before


def test_the_right_key_adds_it_and_other_sources_of_the_same_repository_move_aside(site: tuple[Host, str, str]) -> None:
    host, uri, right = site
    host.ssh(
        "cp /root/right.pub /etc/apt/keyrings/old.asc 2>/dev/null || install -D /root/right.pub /etc/apt/keyrings/old.asc"
    )
    host.ssh("cat > /etc/apt/sources.list.d/site.list", stdin=f"deb [signed-by=/etc/apt/keyrings/old.asc] {uri}/ /\n")
    host.ssh(
        "cat > /etc/apt/sources.list.d/cuda-debian12-x86_64.list",
        stdin="deb [signed-by=/x.gpg] https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64/ /\n",
    )
    total = host.ssh("sha256sum /root/right.pub").stdout.split()[0]
    status, said = add(host, uri, "/root/right.pub", right, total)
    assert status == 0, said
    assert said.count("moved to /var/lib/llm/backup/apt") == 2
    moved = host.ssh("ls /var/lib/llm/backup/apt").stdout.split()
    assert moved == ["cuda-debian12-x86_64.list", "site.list"]
    assert host.ssh("apt-get update -q -o APT::Update::Error-Mode=any").returncode == 0
    assert "580.178.04" in host.ssh("apt-cache policy nvidia-driver-cuda").stdout


def test_a_repository_that_was_there_survives_an_attempt_with_a_key_that_does_not_sign_it(
    site: tuple[Host, str, str],
) -> None:
    host, uri, _ = site
    other = made_key(host, "third")
    before = files(host)
    status, said = add(host, uri, "/root/third.pub", other)
    assert status == 1, said
    assert files(host) == before
    assert host.ssh("apt-get update -q -o APT::Update::Error-Mode=any").returncode == 0
