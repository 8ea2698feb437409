"""The rendered units, for a GPU host and for one without, held against systemd's own tools."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from roles import adapter, monitoring, ollama, phase, vllm
from roles.layout import GRAFANA, PHASE_ALIAS, PHASE_TARGETS, UNITS, phase_units, snapshot
from roles.monitoring import grafana, prometheus
from roles.rendering import render, systemd_word
from roles.site import Site, site_from

SITES: dict[str, dict[str, Any]] = {
    "gpu": {"vllm": {"gpus": ["GPU-8f1c"]}, "ollama": {"vision": {"gpus": ["GPU-77aa"], "gpu_overhead_bytes": 10**9}}},
    "shared": {"vllm": {"gpus": ["0"], "gpu_memory_utilization": 0.6}, "ollama": {"vision": {"gpus": ["0"]}}},
    "cpu": {"gpu": "none"},
    "vision on vllm": {"vision": "vllm", "vllm": {"gpu_memory_utilization": 0.5}},
    "base model": {"vllm": {"model": "meta-llama/Llama-2-7b-hf"}},
    "with a token": {"adapter": {"require_token": True, "processes": 4}},
    "odd words": {"vllm": {"extra_args": ["--override-generation-config", '{"top_k": 20, "x": "50%"}', "$HOME"]}},
}


def units(site: Site) -> dict[str, str]:
    """Every unit of ours by file name."""
    targets = {
        target: render(
            phase.__file__, "phase.target", phase=number, target=target, units=phase_units(site)[number],
            words=phase.phase_in_words(site, number), other=PHASE_TARGETS[3 - number], alias=PHASE_ALIAS,
        )
        for number, target in PHASE_TARGETS.items()
    }  # fmt: skip
    return {
        "vllm.service": vllm.rendered(site)["unit"],
        "vllm-model.service": vllm.rendered(site)["download"],
        "ollama-vision.service": ollama.rendered(site, "vision")["unit"],
        "ollama-vision-models.service": ollama.rendered(site, "vision")["pull"],
        "ollama-text.service": ollama.rendered(site, "text")["unit"],
        "ollama-text-models.service": ollama.rendered(site, "text")["pull"],
        "ollama-adapter.service": adapter.rendered(site)["unit"],
        "ollama-adapter.socket": adapter.rendered(site)["socket"],
        "llm-check.service": monitoring.check_unit(site),
        "llm-check.timer": render(monitoring.__file__, "llm-check.timer", interval=60),
        "llm-release.service": phase.finisher(site),
        **prometheus.metrics_units(site),
        GRAFANA: grafana.configuration(site)[f"{UNITS}/{GRAFANA}"],
        **targets,
        **(of_vision_on_vllm(site) if site.vision_on_vllm else {}),
    }


def of_vision_on_vllm(site: Site) -> dict[str, str]:
    return {
        "vllm-vision.service": vllm.rendered(site, vllm.VISION)["unit"],
        "vllm-vision-model.service": vllm.rendered(site, vllm.VISION)["download"],
        "ollama-embed.service": ollama.rendered(site, "embed")["unit"],
        "ollama-adapter-vision.service": adapter.rendered(site, adapter.VISION)["unit"],
        "ollama-adapter-vision.socket": adapter.rendered(site, adapter.VISION)["socket"],
    }


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest) -> Site:
    return site_from([SITES[request.param]], {})


@pytest.fixture
def analyze() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not here (apt-get install systemd)")
    return program


def test_systemd_understands_every_line(site: Site, analyze: str, tmp_path: Path) -> None:
    for name, text in units(site).items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [analyze, "verify", "--man=no", *map(str, tmp_path.iterdir())], capture_output=True, text=True
    )
    # The programs are not on this machine; everything else that it says is a mistake of ours.
    said = [
        line
        for line in done.stderr.splitlines()
        if str(tmp_path) in line or any(line.startswith(name) for name in units(site))
        if "is not executable" not in line
    ]
    assert said == []


def test_a_boot_has_no_circle_in_its_order(site: Site, analyze: str, tmp_path: Path) -> None:
    """systemd breaks one by leaving out any of its units: 11434's socket, as it happens."""
    for name, text in units(site).items():
        (tmp_path / name).write_text(re.sub(r"(?m)^Exec\w+=.*", "ExecStart=/bin/true", text))
    everything = " ".join(units(site))
    (tmp_path / "everything.target").write_text(
        f"[Unit]\nWants={everything} sockets.target basic.target multi-user.target\n"
    )
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / "everything.target")],
        capture_output=True, text=True, env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )  # fmt: skip
    assert "llm-release.service" in units(site)
    assert [line for line in done.stderr.splitlines() if "cycle" in line] == []


def test_a_download_that_fails_leaves_a_running_vllm_alone_and_none_starts_without_its_model(site: Site) -> None:
    lines = units(site)["vllm.service"].splitlines()
    assert "Wants=vllm-model.service" in lines
    assert not [line for line in lines if "vllm-model" in line and line.startswith(("Requires", "BindsTo", "PartOf"))]
    assert f"AssertPathExists={snapshot(site).marker}" in lines


@pytest.mark.parametrize(
    "unit",
    [
        "vllm",
        "vllm-model",
        "ollama-vision",
        "ollama-text-models",
        "ollama-adapter",
        "llm-check",
        "llm-metrics",
        "llm-grafana",
    ],
)
def test_exposure_is_at_most_2_5(unit: str, site: Site, analyze: str, tmp_path: Path) -> None:
    file = tmp_path / f"{unit}.service"
    file.write_text(units(site)[file.name])
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=25", "--no-pager", str(file)],
        capture_output=True,
        text=True,
    )
    assert "Overall exposure level" in done.stdout, done.stderr
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_a_card_is_allowed_only_where_there_is_one() -> None:
    gpu, cpu = units(site_from([SITES["gpu"]], {})), units(site_from([SITES["cpu"]], {}))
    for name in ("vllm.service", "ollama-vision.service", "ollama-text.service"):
        assert "DeviceAllow=char-nvidia* rw" in gpu[name]
        assert "PrivateDevices" not in gpu[name]
        assert "PrivateDevices=yes" in cpu[name]
        # No dash: without its cards a unit must not start, or it would take all.
        assert "EnvironmentFile=/etc/llm/gpus/%n.env" in gpu[name]
        assert "resolve-gpus --check %n" in gpu[name]
        assert "systemd-modules-load.service nvidia-persistenced.service" in gpu[name]
        assert not [word for word in ("EnvironmentFile", "resolve-gpus", "make-room") if word in cpu[name]]
    assert "PrivateDevices=yes" in gpu["ollama-adapter.service"]


def test_a_shared_card_is_cleared_before_vllm_starts_and_vision_comes_after_it() -> None:
    shared, apart = units(site_from([SITES["shared"]], {})), units(site_from([SITES["gpu"]], {}))
    line = "make-room --vision http://127.0.0.1:11435 --parallel 1 --fraction 0.6"
    assert line in shared["vllm.service"]
    assert "After=vllm.service" in shared["ollama-vision.service"]
    assert "make-room" not in apart["vllm.service"]
    assert "After=vllm.service" not in apart["ollama-vision.service"]


def test_no_unit_holds_a_secret_or_a_token_variable(site: Site) -> None:
    for name, text in units(site).items():
        assert "HF_TOKEN" not in text, name
        assert "LoadCredential=hub-token:" in text or name != "vllm-model.service"


def test_the_phases_exclude_each_other_and_share_the_vision_server() -> None:
    found = units(site_from([{}], {}))
    assert "Conflicts=llm-phase2.target" in found["llm-phase1.target"]
    assert "Conflicts=llm-phase1.target" in found["llm-phase2.target"]
    assert "WantedBy=llm-phase1.target llm-phase2.target" in found["ollama-vision.service"]
    assert "PartOf" not in found["ollama-vision.service"]
    for name in ("vllm.service", "ollama-adapter.service", "ollama-adapter.socket"):
        assert "PartOf=llm-phase2.target" in found[name]
    assert "Conflicts=ollama-adapter.socket ollama-adapter.service" in found["ollama-text.service"]


def test_with_vision_on_vllm_vision_is_phase_1s_alone_and_stops_before_what_has_its_port() -> None:
    found = units(site_from([SITES["vision on vllm"]], {}))
    vision, embed = found["ollama-vision.service"], found["ollama-embed.service"]
    assert "WantedBy=llm-phase1.target\n" in vision
    assert "PartOf=llm-phase1.target" in vision
    others = "ollama-adapter-vision.socket ollama-adapter-vision.service ollama-embed.service"
    assert f"Conflicts={others}\n" in vision
    assert (
        f"After={others} vllm.service vllm-vision.service\n" in vision
    )  # their memory is free only when they have ended
    assert "Conflicts=ollama-vision.service" in found["ollama-adapter-vision.socket"]
    assert "Conflicts=ollama-vision.service" in embed
    assert "OLLAMA_HOST=127.0.0.1:11436 OLLAMA_MODELS=/var/lib/ollama-vision/models" in embed
    assert '--model "nomic-embed-text"' in embed and "llava" not in embed
    for name in of_vision_on_vllm(site_from([SITES["vision on vllm"]], {})):
        if name != "vllm-vision-model.service":
            assert "PartOf=llm-phase2.target" in found[name]
            assert "WantedBy=llm-phase2.target\n" in found[name]
            assert name in found["llm-phase2.target"]
            assert name not in found["llm-phase1.target"]
    assert "ollama-vision.service" not in found["llm-phase2.target"]


def test_the_vllm_for_pictures_loads_after_the_text_model_on_their_card_and_is_ready_when_it_has_seen_one() -> None:
    together = units(site_from([SITES["vision on vllm"]], {}))["vllm-vision.service"]
    apart = {"vision": "vllm", "vllm": {"gpus": ["0"]}, "vllm_vision": {"gpus": ["1"]}}
    assert "\nAfter=vllm.service\n" in together
    assert "make-room --vision http://127.0.0.1:11436 --parallel 1 --fraction 0.4" in together
    assert "--image --timeout" in together
    assert "\nAfter=vllm.service\n" not in units(site_from([apart], {}))["vllm-vision.service"]


def test_the_two_vllms_and_the_two_adapters_share_nothing_that_they_write() -> None:
    found = units(site_from([SITES["vision on vllm"]], {}))
    for first, second in (("vllm", "vllm-vision"), ("ollama-adapter", "ollama-adapter-vision")):
        own = [
            set(re.findall(r"(?m)^(?:StateDirectory|CacheDirectory)=(.+)$", found[f"{n}.service"]))
            for n in (first, second)
        ]
        assert own[0] and own[1] and not own[0] & own[1]
    configured = vllm.rendered(site_from([SITES["vision on vllm"]], {}), vllm.VISION)["configuration"]
    flags = yaml.safe_load(configured)
    assert (flags["port"], flags["limit-mm-per-prompt"]) == (8001, '{"image": 4, "video": 0}')


def test_vllm_listens_on_loopback_and_is_told_what_the_settings_say() -> None:
    site = site_from([{"vllm": {"max_model_len": 8192, "prefix_caching": False, "gpu_memory_utilization": 0.7}}], {})
    flags = yaml.safe_load(vllm.rendered(site)["configuration"])
    assert (flags["host"], flags["port"], flags["served-model-name"]) == ("127.0.0.1", 8000, ["llm"])
    assert (flags["max-model-len"], flags["gpu-memory-utilization"]) == (8192, 0.7)
    assert flags["no-enable-prefix-caching"] is True
    assert flags["model"].endswith(site.model_revision or "-")


def test_a_quantised_model_is_rendered_only_where_the_settings_say_so() -> None:
    small = site_from([{"vllm": {"quantization": "fp8_per_tensor", "kv_cache_dtype": "fp8"}}], {})
    flags = yaml.safe_load(vllm.rendered(small)["configuration"])
    assert (flags["quantization"], flags["kv-cache-dtype"]) == ("fp8_per_tensor", "fp8")
    plain = yaml.safe_load(vllm.rendered(site_from([{}], {}))["configuration"])
    assert not {"quantization", "kv-cache-dtype"} & set(plain)
    assert vllm.inputs(small) != vllm.inputs(site_from([{}], {}))


def test_a_base_model_gets_the_shipped_chat_template_and_a_chat_model_keeps_its_own() -> None:
    base, chat = site_from([SITES["base model"]], {}), site_from([{}], {})
    assert yaml.safe_load(vllm.rendered(base)["configuration"])["chat-template"] == vllm.PLAIN_TEMPLATE
    assert "chat-template" not in yaml.safe_load(vllm.rendered(chat)["configuration"])


def test_words_of_an_exec_line_survive_systemds_quoting_rules() -> None:
    assert systemd_word('a "b" 50% $HOME \\') == '"a \\"b\\" 50%% $$HOME \\\\"'


def test_every_input_of_a_service_changes_its_record() -> None:
    plain = site_from([{}], {})
    longer = site_from([{"vllm": {"max_model_len": 2048}}], {})
    assert vllm.inputs(plain)["vllm.service"] != vllm.inputs(longer)["vllm.service"]
    assert adapter.inputs(plain)["ollama-adapter.service"] != adapter.inputs(longer)["ollama-adapter.service"]
    assert ollama.inputs(plain) == ollama.inputs(longer)
