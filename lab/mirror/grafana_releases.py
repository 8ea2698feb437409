"""Grafana's release archive: the stand-in packed as the real one, with conf/ and public/ beside its program."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import tarfile
import zipfile
from functools import partial
from pathlib import Path

from lab.mirror import cache

STAND_IN = Path(__file__).resolve().parents[1] / "stand_ins" / "grafana_stand_in"
# Isolated: neither the user's site-packages nor PYTHON* variables of a unit reach the stand-in.
INTERPRETER = b"#!/usr/bin/python3 -I\n"
ZIP_DATE = (2026, 1, 1, 0, 0, 0)
MAIN = "import sys\n\nfrom grafana_stand_in.cli import main\n\nsys.exit(main(sys.argv[1:]))\n"
# Of the real conf/defaults.ini, the keys that the stand-in heeds.
DEFAULTS = """\
[paths]
data = data
provisioning = conf/provisioning
[server]
http_addr =
http_port = 3000
[security]
admin_user = admin
admin_password = admin
[auth.anonymous]
enabled = false
[dashboards]
default_home_dashboard_path =
"""


def ensure(root: Path) -> Path:
    """The folder served under `/grafana/release/`: the pinned release. Raises CacheError outside of the project's environment."""
    # Not at the top: `python3 -m lab` has to start, and to end what runs, where there is no environment.
    try:
        from roles.layout import GrafanaArchive
        from roles.pins import pins
    except ImportError as problem:
        raise cache.CacheError(f"Grafana's archive is named after roles/pins.toml: {problem}; make venv") from None
    pin = pins().grafana
    made_from = cache.key_of(STAND_IN, Path(__file__), pyyaml(), pin.version, pin.build)
    place = GrafanaArchive(pin.version, pin.build, "").path
    return cache.build_once(root / f"grafana-releases-{made_from}", partial(_make, pin.version, place))


def sha256(folder: Path) -> str:
    """Of the archive in the folder that `ensure` made; like upstream's, it lies beside the archive."""
    (file,) = folder.glob("*/*.tar.gz.sha256")
    return file.read_text()


def pyyaml() -> Path:
    """PyYAML's folder: hosts have none, so its pure part is packed with the stand-in. Raises CacheError."""
    found = importlib.util.find_spec("yaml")
    if found is None or found.origin is None:
        raise cache.CacheError("Grafana's stand-in reads its provisioning with PyYAML, which is not here; make venv")
    return Path(found.origin).parent


def _make(version: str, place: str, target: Path) -> None:
    file, packed = target / place, archive(version)
    file.parent.mkdir(parents=True)
    file.write_bytes(packed)
    file.with_name(f"{file.name}.sha256").write_text(hashlib.sha256(packed).hexdigest())


def archive(version: str) -> bytes:
    """The gzipped tar archive: everything in one folder, named after the version. Equal sources give equal bytes."""
    files = {
        "VERSION": version.encode(),
        "bin/grafana": application(version),
        "conf/defaults.ini": DEFAULTS.encode(),
        "public/README.md": b"The real one has its pages here; the stand-in draws them itself.\n",
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"grafana-{version}/{name}")
            member.size, member.mtime, member.mode = (
                len(data),
                1_767_225_600,
                0o755 if name.startswith("bin/") else 0o644,
            )
            member.uname = member.gname = "root"
            tar.addfile(member, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


def application(version: str) -> bytes:
    """`bin/grafana`: an executable zip application with the stand-in, PyYAML and this version."""
    buffer = io.BytesIO(INTERPRETER)
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a") as application:
        sources = {f"grafana_stand_in/{one.name}": one.read_bytes() for one in sorted(STAND_IN.glob("*.py"))}
        sources |= {f"yaml/{one.name}": one.read_bytes() for one in sorted(pyyaml().glob("*.py"))}
        sources["grafana_stand_in/version.py"] = f'VERSION = "{version}"\n'.encode()
        for name, data in {"__main__.py": MAIN.encode(), **sources}.items():
            application.writestr(zipfile.ZipInfo(name, ZIP_DATE), data)
    return buffer.getvalue()
