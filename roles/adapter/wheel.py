"""The adapter's wheel, made on the controller from files/adapter, so that a host needs no build tools."""

from __future__ import annotations

import base64
import hashlib
import io
import sys
import zipfile
from collections.abc import Sequence

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def wheel(sources: Sequence[tuple[str, bytes]]) -> tuple[str, bytes]:
    """File name and bytes of the wheel; the same bytes for the same sources on every machine.

    The adapter is pure Python in `src/`, so a wheel is those files and their description; PEP 427 says how. `pip install
    files/adapter` gives the same installation through the package's own build backend.
    """
    by_name = dict(sources)
    project = tomllib.loads(by_name["pyproject.toml"].decode())["project"]
    name, version = project["name"].replace("-", "_"), project["version"]
    folder = f"{name}-{version}.dist-info"
    files = {path.removeprefix("src/"): data for path, data in sources if path.startswith("src/")}
    files[f"{folder}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {version}\n"
        f"Requires-Python: {project['requires-python']}\n"
        + "".join(f"Requires-Dist: {requirement}\n" for requirement in project.get("dependencies", []))
    ).encode()
    files[f"{folder}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: roles/adapter\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    scripts = project.get("scripts", {})
    if scripts:
        lines = "".join(f"{script} = {target}\n" for script, target in scripts.items())
        files[f"{folder}/entry_points.txt"] = f"[console_scripts]\n{lines}".encode()
    record = "".join(f"{path},sha256={_hash(data)},{len(data)}\n" for path, data in files.items())
    files[f"{folder}/RECORD"] = f"{record}{folder}/RECORD,,\n".encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path, date_time=(2026, 1, 1, 0, 0, 0)), data)
    return f"{name}-{version}-py3-none-any.whl", buffer.getvalue()


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
