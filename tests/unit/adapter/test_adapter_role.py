"""What an operator says about the adapter, and what becomes of it: in its own file, its unit, and in preflight's words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ollama_adapter.settings import Settings, VllmSettings
from ollama_adapter.settings_reading import load
from roles import adapter, monitoring, phase
from roles.facts.survey import parse_survey
from roles.layout import ADAPTER, ADAPTER_TOKEN, snapshot, vision_snapshot
from roles.monitoring.prometheus import drop_ins, stand_for
from roles.monitoring.prometheus.configuration import configuration
from roles.preflight.findings import Finding
from roles.preflight.host_checks import host_findings, token_findings
from roles.preflight.needs import needs, paths_to_look_for
from roles.settings import SettingsError
from roles.site import Site, site_from
from tests.plan.fake_hosts import FRESH

FURTHER = {"url": "http://gpu-02:8000", "aliases": ["codellama"]}


def site_with(**said: Any) -> Site:
    return site_from([{"adapter": said}], {})


def problems(**said: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        site_with(**said)
    return caught.value.problems


def read_by_the_adapter(site: Site, tmp_path: Path, instance: adapter.Instance = adapter.TEXT) -> Settings:
    """The rendered file, as the adapter itself reads and checks it."""
    file = tmp_path / "adapter.toml"
    file.write_text(adapter.rendered(site, instance)["configuration"], encoding="utf-8")
    return load(file, {})


def test_with_vision_on_vllm_another_adapter_has_11435_and_leaves_the_rest_to_ollama(tmp_path: Path) -> None:
    said = {
        "vision": "vllm",
        "vllm_vision": {"model": "org/sees", "model_revision": "e" * 40, "max_model_len": 8192},
        "ollama": {"address": "10.0.0.7"},
        "adapter": {"require_token": True, "processes": 4, "replicas": ["http://gpu-02:8000"], "models": [FURTHER]},
    }
    site = site_from([said], {})
    own, text = read_by_the_adapter(site, tmp_path, adapter.VISION), read_by_the_adapter(site, tmp_path)
    assert (own.server.host, own.server.port, own.server.token_file) == ("10.0.0.7", 11435, "")
    assert own.server.state_directory == "/var/lib/ollama-adapter-vision"
    assert (own.vllm.url, own.vllm.replicas, own.models) == ("http://127.0.0.1:8001", [], [])
    assert (own.vllm.aliases, own.vllm.context_length) == (["llava:7b", "llava"], 8192)
    assert own.vllm.model_directory == vision_snapshot(site).path
    assert (own.vision.url, own.vision.models) == ("http://127.0.0.1:11436", ["nomic-embed-text"])
    assert (text.vision.url, text.vision.models) == ("http://10.0.0.7:11435", ["llava:7b", "nomic-embed-text", "llava"])
    assert text.vllm.url == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("said", "section", "expected"),
    [
        ({"processes": 4}, "server", {"processes": 4}),
        ({"drain_timeout_s": 7}, "server", {"drain_timeout_s": 7.0}),
        ({"max_body_bytes": 2**21}, "server", {"max_body_bytes": 2**21}),
        ({"origins": ["https://ui.example", "app://x"]}, "server", {"origins": ["https://ui.example", "app://x"]}),
        ({"require_token": True}, "server", {"token_file": "/run/credentials/ollama-adapter.service/token"}),
        ({}, "server", {"token_file": "", "state_directory": "/var/lib/ollama-adapter", "processes": 1}),
        ({"max_requests": 12}, "vllm", {"max_requests": 12}),
        ({"keep_alive": "-1"}, "vllm", {"keep_alive": "-1s"}),
        ({"keep_alive": "90m"}, "vllm", {"keep_alive": "90m"}),
        ({"context": "off"}, "vllm", {"context": "off"}),
        ({"capabilities": ["completion", "tools"]}, "vllm", {"capabilities": ["completion", "tools"]}),
        ({"fim_template": "<｜b｜>{prefix}\n{suffix} <e> "}, "vllm", {"fim_template": "<｜b｜>{prefix}\n{suffix} <e> "}),
        ({"replicas": ["http://gpu-02:8000"]}, "vllm", {"replicas": ["http://gpu-02:8000"]}),
        ({"replicas": ["http://[fd00::1]:8000/"]}, "vllm", {"replicas": ["http://[fd00::1]:8000/"]}),
        ({"model_directory": "/srv/llama"}, "vllm", {"model_directory": "/srv/llama"}),
        ({"leniency": {"data_uri_images": False}}, "leniency", {"data_uri_images": False, "content_parts": True}),
    ],
)  # fmt: skip
def test_a_setting_reaches_the_adapter(
    said: dict[str, Any], section: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    read = getattr(read_by_the_adapter(site_with(**said), tmp_path), section)
    assert {key: getattr(read, key) for key in expected} == expected


def test_the_adapter_looks_for_the_model_where_the_download_puts_it(tmp_path: Path) -> None:
    site = site_from([{"vllm": {"hub_cache": "/srv/hub"}}], {})
    directory = read_by_the_adapter(site, tmp_path).vllm.model_directory
    assert directory == snapshot(site).path
    assert directory.startswith("/srv/hub/models--meta-llama--Llama-2-7b-chat-hf/snapshots/")


def test_further_models_are_models_of_the_adapter_with_defaults_of_their_own(tmp_path: Path) -> None:
    site = site_with(
        keep_alive="1h",
        context="off",
        models=[FURTHER, FURTHER | {"aliases": ["e"], "served_name": "embed", "keep_alive": "-1", "max_requests": 5}],
    )
    code, embed = read_by_the_adapter(site, tmp_path).models
    defaults = VllmSettings()
    assert (code.url, code.served_model, code.aliases) == ("http://gpu-02:8000", "llm", ["codellama"])
    assert (code.model_directory, code.keep_alive, code.context) == ("", "5m", "off")
    assert (code.max_requests, code.fim_template) == (defaults.max_requests, defaults.fim_template)
    assert (embed.served_model, embed.keep_alive, embed.max_requests) == ("embed", "-1s", 5)


@pytest.mark.parametrize(
    ("said", "key", "cause"),
    [
        ({"processes": 0}, "adapter.processes", "not 0"),
        ({"processes": "many"}, "adapter.processes", "not 'many'"),
        ({"replicas": ["https://x:1"]}, "adapter.replicas[0]", "not 'https://x:1'"),
        ({"replicas": ["http://x:1", "http://x:1/"]}, "adapter.replicas", "must name each server once"),
        ({"replicas": ["http://127.0.0.1:8000/"]}, "adapter.replicas", "is this host's own vLLM"),
        ({"fim_template": "{prefix}"}, "adapter.fim_template", "must have {suffix} once"),
        ({"capabilities": ["flying"]}, "adapter.capabilities[0]", "not 'flying'"),
        ({"max_requests": 0}, "adapter.max_requests", "not 0"),
        ({"keep_alive": "5x"}, "adapter.keep_alive", "not '5x'"),
        ({"origins": ["a, b"]}, "adapter.origins[0]", "not 'a, b'"),
        ({"model_directory": "/home/ann/m"}, "adapter.model_directory", "not below /home"),
        ({"leniency": {"string_argument": True}}, "adapter.leniency.string_argument", "leniency.string_arguments?"),
        ({"leniency": False}, "adapter.leniency", "not False"),
        ({"token_file": "~/token"}, "adapter.token_file", "adapter.require_token is false"),
        ({"models": [{"url": "http://x:1"}]}, "adapter.models[0].aliases", "field required"),
        ({"models": [FURTHER | {"alias": 1}]}, "adapter.models[0].alias", "did you mean adapter.models[0].aliases?"),
        ({"models": [FURTHER | {"aliases": ["llama2"]}]}, "adapter.models[0].aliases", "claimed by vllm.aliases too"),
        ({"models": [FURTHER | {"aliases": ["LLAVA:7b"]}]}, "adapter.models[0].aliases", "by ollama.vision.models too"),
        ({"models": [FURTHER, FURTHER]}, "adapter.models[1].aliases", "claimed by adapter.models[0].aliases too"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_key_and_cause(said: dict[str, Any], key: str, cause: str) -> None:
    (found,) = problems(**said)
    assert found.startswith(f"{key}: ")
    assert cause in found


def test_the_state_directory_belongs_to_systemd_and_not_to_a_release() -> None:
    unit = adapter.rendered(site_with())["unit"]
    assert "StateDirectory=ollama-adapter\nStateDirectoryMode=0700\n" in unit
    assert "SupplementaryGroups=vllm\n" in unit  # what reads the model's files, see roles/vllm


def test_the_token_is_a_credential_and_only_where_one_is_asked_for() -> None:
    plain, asking = site_with(), site_with(require_token=True)
    line = f"LoadCredential=token:{ADAPTER_TOKEN}\n"
    assert line in adapter.rendered(asking)["unit"]
    assert "LoadCredential" not in adapter.rendered(plain)["unit"]
    assert f"LoadCredential=adapter-token:{ADAPTER_TOKEN}\n" in monitoring.check_unit(asking)
    assert "LoadCredential" not in monitoring.check_unit(plain)
    assert phase.gates(asking)[ADAPTER][-2:] == ["--token-file", ADAPTER_TOKEN]
    assert "--token-file" not in phase.gates(plain)[ADAPTER]
    assert monitoring.checks(asking)[ADAPTER].endswith(
        ' --token-file "${CREDENTIALS_DIRECTORY:-/etc/llm/credentials}/adapter-token"'
    )


@pytest.mark.parametrize(
    "said",
    [{"processes": 2}, {"replicas": ["http://x:1"]}, {"models": [FURTHER]}, {"leniency": {"content_parts": False}}],
)
def test_a_changed_setting_is_a_restart_of_the_adapter_alone(said: dict[str, Any]) -> None:
    before, after = adapter.inputs(site_with()), adapter.inputs(site_with(**said))
    assert {unit for unit in before if before[unit] != after[unit]} == {ADAPTER}


def tokens(token: str | None, present: tuple[str, ...] = (), **said: Any) -> list[Finding]:
    return token_findings(site_with(**said), parse_survey(FRESH | {"present": list(present)}), token)


def test_a_token_that_nobody_has_is_refused_with_both_ways_to_give_one() -> None:
    (found,) = tokens(None, require_token=True)
    assert (found.severity, found.about) == ("error", "adapter.require_token")
    assert "OLLAMA_ADAPTER_TOKEN on this machine is empty" in found.fact
    assert "export OLLAMA_ADAPTER_TOKEN=…, or name a file with adapter.token_file" in found.remedy
    (found,) = tokens(None, require_token=True, token_file="~/secret")
    assert "~/secret on this machine is empty" in found.fact


def test_a_token_from_an_earlier_run_is_enough() -> None:
    assert tokens(None, (ADAPTER_TOKEN,), require_token=True) == []
    assert ADAPTER_TOKEN in paths_to_look_for(site_with(require_token=True))


def test_a_host_for_phase_1_alone_has_no_token_and_no_unit_that_wants_one() -> None:
    """Its file is the adapter's, which is not there; systemd fails a unit whose credential is missing."""
    wanted: dict[str, Any] = {"adapter": {"require_token": True}, "monitoring": {"stack": True}}
    both, alone = (site_from([wanted | told], {}) for told in ({}, {"phase": 1, "prepare": "phase1"}))

    def texts(site: Site) -> list[str]:
        return [*drop_ins(site).values(), monitoring.check_unit(site), *configuration(site, "gpu-01").values()]

    assert sum("LoadCredential" in text for text in texts(both)) == 3
    assert not [text for text in texts(alone) if "LoadCredential" in text or "/run/credentials" in text]
    assert (len(stand_for(both)), stand_for(alone)) == (2, {})
    assert ADAPTER_TOKEN not in paths_to_look_for(alone)
    assert token_findings(alone, parse_survey(FRESH), None) == []


def test_without_the_setting_no_token_is_looked_for() -> None:
    assert tokens(None) == []
    assert ADAPTER_TOKEN not in paths_to_look_for(site_with())


@pytest.mark.parametrize(
    "token", ["two words of it", 'quo"ted-and-long-enough', "back\\slash-long-enough", "schlüsselwort-123"]
)
def test_a_token_that_does_not_fit_a_header_is_refused_without_being_shown(token: str) -> None:
    (found,) = tokens(token, require_token=True)
    assert (found.severity, found.about) == ("error", "adapter.token_variable")
    assert token not in repr(found)


def test_a_short_token_is_warned_of() -> None:
    (found,) = tokens("s3cret", require_token=True)
    assert found.severity == "warning"
    assert "s3cret" not in repr(found)
    assert tokens("0123456789abcdef", require_token=True) == []


def test_the_note_on_exposure_says_what_the_token_does_not_guard() -> None:
    def exposure(**said: Any) -> str:
        site, survey = site_with(**said), parse_survey(FRESH)
        return next(one.fact for one in host_findings(site, survey, needs(site, [], {})) if one.about == "exposure")

    assert "Phase 1 on 11434 does not" in exposure(require_token=True)
    assert "token" not in exposure()


def test_the_settings_of_the_adapter_have_its_limits(tmp_path: Path) -> None:
    """The largest and smallest value that each setting takes are values that the adapter takes."""
    for name, field in type(site_with().adapter).model_fields.items():
        limits = [getattr(rule, end) for rule in field.metadata for end in ("ge", "le") if hasattr(rule, end)]
        for limit in limits:
            if name != "port":  # both phases have the same one
                assert re.search(
                    rf"^{name} = {limit}$", adapter.rendered(site_with(**{name: limit}))["configuration"], re.M
                )
                read_by_the_adapter(site_with(**{name: limit}), tmp_path)
