"""Settings: what is accepted, and what an operator is told about everything else."""

from __future__ import annotations

from typing import Any

import pytest

from roles.settings import SettingsError, merge, nest
from roles.site import ENVIRONMENT_NAMES, Site, site_from


def problems(data: dict[str, Any], environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        site_from([data], environment or {})
    return caught.value.problems


def test_nothing_set_gives_the_documented_defaults() -> None:
    site = site_from([{}], {})
    assert (site.phase, site.gpu) == (2, "nvidia")
    assert site.vllm.model == "meta-llama/Llama-2-7b-chat-hf"
    assert (site.vllm.port, site.vllm.served_name, site.vllm.gpu_memory_utilization) == (8000, "llm", 0.9)
    assert (site.vllm.max_model_len, site.vllm.tensor_parallel_size, site.vllm.prefix_caching) == (4096, 1, True)
    assert site.vllm.aliases == ("llama2:7b", "llama2", "llama3.2")
    assert (site.adapter.port, site.ollama.text.port, site.ollama.vision.port) == (11434, 11434, 11435)
    assert site.ollama.vision.models == ("llava:7b", "nomic-embed-text")
    assert site.ollama.text.models == ("llama3.2", "llama2:7b", "nomic-embed-text")


def test_a_misspelt_key_is_named_with_its_nearest_match() -> None:
    assert problems({"vllm": {"gpu_memory_utilisation": 0.8}}) == [
        "vllm.gpu_memory_utilisation: unknown setting; did you mean vllm.gpu_memory_utilization?"
    ]


def test_a_misspelt_section_is_named_with_its_nearest_match() -> None:
    assert problems({"olama": {}}) == ["olama: unknown setting; did you mean ollama?"]


def test_a_key_that_resembles_none_is_answered_with_the_known_ones() -> None:
    (text,) = problems({"ollama": {"zzz": 1}})
    assert text.startswith("ollama.zzz: unknown setting; known: ollama.address, ")


def test_every_problem_of_a_host_is_reported_at_once() -> None:
    found = problems(
        {
            "vllm": {"gpu_memory_utilization": 1.7, "port": 11435},
            "phase": 3,
            "phaze": 1,
            "ollama": {"vision": {"models": ["llama2"]}},
        }
    )
    assert {line.split(":")[0] for line in found} == {
        "vllm.gpu_memory_utilization",
        "phase",
        "phaze",
        "ollama.vision.port",
        "vllm.aliases",
    }


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, "much"])
def test_a_memory_fraction_outside_its_range_is_refused(fraction: object) -> None:
    (text,) = problems({"vllm": {"gpu_memory_utilization": fraction}})
    assert text.startswith("vllm.gpu_memory_utilization: ")
    assert text.endswith(f"not {fraction!r}")


def test_the_whole_card_is_a_valid_memory_fraction() -> None:
    assert site_from([{"vllm": {"gpu_memory_utilization": 1}}], {}).vllm.gpu_memory_utilization == 1


@pytest.mark.parametrize(
    ("data", "second", "first"),
    [
        ({"vllm": {"port": 11435}}, "ollama.vision.port", "vllm.port"),
        ({"ollama": {"pull_port": 8000}}, "ollama.pull_port", "vllm.port"),
        ({"ollama": {"vision": {"port": 11434}}}, "ollama.vision.port", "adapter.port"),
        ({"monitoring": {"stack": True, "node": {"port": 8000}}}, "monitoring.node.port", "vllm.port"),
        (
            {"monitoring": {"stack": True, "blackbox": {"port": 9090}}},
            "monitoring.blackbox.port",
            "monitoring.prometheus.port",
        ),
        ({"monitoring": {"stack": True, "dcgm": {"port": 9100}}}, "monitoring.dcgm.port", "monitoring.node.port"),
    ],
)
def test_a_port_used_twice_is_refused_and_both_keys_are_named(data: dict[str, Any], second: str, first: str) -> None:
    assert any(line.startswith(f"{second}: ") and f"is taken by {first}" in line for line in problems(data))


def test_a_port_of_the_monitoring_is_taken_where_there_is_one_and_never_from_a_consumer() -> None:
    (text,) = problems({"monitoring": {"stack": True, "prometheus": {"port": 8100}}})
    assert text.startswith("monitoring.prometheus.port: 8100 is where consumers.services has notes-service")
    for data in (
        {"monitoring": {"prometheus": {"port": 8100}}},
        {"gpu": "none", "monitoring": {"stack": True, "dcgm": {"port": 9100}}},
    ):
        site_from([data], {})


@pytest.mark.parametrize(
    ("health_url", "refused"),
    [
        (None, True),
        ("http://localhost:9090/health", True),
        ("tcp://127.0.0.1:9090", True),
        ("http://desk.example.org:9090/health", False),
        ("tcp://10.0.0.7:9090", False),
    ],
)
def test_a_consumer_on_another_host_takes_no_port_of_the_monitoring(health_url: str | None, refused: bool) -> None:
    service = {"name": "desk", "port": 9090, "uses": "text"} | ({"health_url": health_url} if health_url else {})
    data = {"monitoring": {"stack": True}, "consumers": {"project": "/srv/advice", "services": [service]}}
    if refused:
        (text,) = problems(data)
        assert text.startswith("monitoring.prometheus.port: 9090 is where consumers.services has desk")
    else:
        assert site_from([data], {}).monitoring.prometheus.port == 9090


@pytest.mark.parametrize("url", ["alerts:9093", "http://", "ftp://alerts", "http://alerts:x"])
def test_an_alertmanager_is_a_url(url: str) -> None:
    (text,) = problems({"monitoring": {"prometheus": {"alertmanagers": [url]}}})
    assert text.startswith("monitoring.prometheus.alertmanagers[0]: ")


def test_both_phases_must_serve_text_on_the_same_port() -> None:
    assert "clients keep their port only if" in problems({"adapter": {"port": 11500}})[0]


@pytest.mark.parametrize("spelling", ["llama2", "LLAMA2:latest", "library/llama2", "registry.ollama.ai/library/llama2"])
def test_a_name_claimed_by_two_backends_is_refused_however_it_is_spelt(spelling: str) -> None:
    (text,) = problems({"ollama": {"vision": {"models": ["llava:7b", spelling]}}})
    assert text.startswith("vllm.aliases: 'llama2' is claimed by ollama.vision.models too")


def test_vision_on_vllm_answers_for_names_of_ollama_vision_and_leaves_it_the_rest() -> None:
    site = site_from([{"vision": "vllm"}], {})
    assert site.vision_models == ("llava:7b", "nomic-embed-text", "llava")
    assert site.embed_models == ("nomic-embed-text",)
    assert site_from([{}], {}).vision_models == ("llava:7b", "nomic-embed-text")


@pytest.mark.parametrize(
    ("vision", "about"),
    [
        ({"port": 8000}, "vllm_vision.port: 8000 is taken by vllm.port"),
        ({"port": 11436}, "ollama.vision.loopback_port"),
        ({"aliases": ["llama2", "llava"]}, "vllm.aliases: 'llama2' is claimed by vllm_vision.aliases too"),
        ({"aliases": ["llava:7b", "nomic-embed-text:latest"]}, "nothing would make embeddings in Phase 2"),
        ({"gpus": ["0"], "tensor_parallel_size": 2}, "vllm_vision.tensor_parallel_size: 2 cards wanted"),
    ],
)
def test_what_vision_on_vllm_cannot_have_is_refused_and_only_where_it_is_wanted(vision: Any, about: str) -> None:
    assert any(about in line for line in problems({"vision": "vllm", "vllm_vision": vision}))
    assert site_from([{"vllm_vision": vision}], {}).vision == "ollama"


def test_the_same_alias_twice_is_refused() -> None:
    assert "are the same name to a client" in problems({"vllm": {"aliases": ["llama2", "llama2:latest"]}})[0]


def test_sections_of_group_and_host_merge_key_by_key() -> None:
    site = site_from([{"vllm": {"port": 8001, "max_model_len": 8192}}, {"vllm": {"port": 8002}}], {})
    assert (site.vllm.port, site.vllm.max_model_len) == (8002, 8192)


def test_a_dotted_key_from_the_command_line_reaches_its_section() -> None:
    assert site_from([{"vllm": {"port": 8001}}, {"vllm.max_model_len": "8192"}], {}).vllm.max_model_len == 8192


def test_merging_changes_neither_side() -> None:
    base, over = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merge(base, over) == {"a": {"b": 1, "c": 2}}
    assert (base, over) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_nest_keeps_keys_of_one_section_together() -> None:
    assert nest({"a.b": 1, "a.c": 2, "d": 3}) == {"a": {"b": 1, "c": 2}, "d": 3}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("MODEL_NAME", "meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-7b-hf"),
        ("GPU_MEMORY_UTILIZATION", "0.7", 0.7),
        ("MAX_MODEL_LEN", "2048", 2048),
        ("TENSOR_PARALLEL_SIZE", "2", 2),
        ("HUGGINGFACE_HUB_CACHE", "/srv/hub", "/srv/hub"),
        ("OLLAMA_URL", "http://gpu-01:11434", "http://gpu-01:11434"),
        ("VISION_OLLAMA_URL", "http://gpu-01:11435", "http://gpu-01:11435"),
    ],
)
@pytest.mark.parametrize("where", ["inventory", "environment"])
def test_the_names_of_the_original_guide_set_what_they_always_meant(
    name: str, value: str, expected: object, where: str
) -> None:
    site = site_from([{name: value}], {}) if where == "inventory" else site_from([{}], {name: value})
    section, key = ENVIRONMENT_NAMES[name].split(".")
    assert getattr(getattr(site, section), key) == expected


def test_inventory_and_environment_that_disagree_are_refused() -> None:
    (text,) = problems({"vllm": {"max_model_len": 4096}}, {"MAX_MODEL_LEN": "2048"})
    assert text == "vllm.max_model_len: 4096 in the inventory, '2048' in the environment as MAX_MODEL_LEN; unset one"


def test_the_mistake_of_the_original_guide_is_caught() -> None:
    (text,) = problems({"OLLAMA_URL": "http://vllm-adapter:8000"})
    assert text.startswith("consumers.ollama_url: port 8000 is not adapter.port (11434)")


def test_a_model_directory_that_the_service_could_not_see_is_refused() -> None:
    assert "not below /home" in problems({"vllm": {"hub_cache": "/home/ann/.cache"}})[0]


def test_a_card_named_on_a_host_without_cards_is_refused() -> None:
    assert problems({"gpu": "none", "vllm": {"gpus": ["GPU-1"]}})[0].startswith("vllm.gpus: names a card")


def test_more_cards_wanted_than_named_is_refused() -> None:
    assert "2 cards wanted" in problems({"vllm": {"gpus": ["GPU-1"], "tensor_parallel_size": 2}})[0]


def test_what_pyinfra_itself_reads_is_not_judged() -> None:
    assert site_from([{"ssh_user": "root", "_sudo": True, "ssh_hostname": "10.0.0.1"}], {}) == Site()


def test_every_field_has_a_description_for_the_settings_page() -> None:
    def bare(model: Any, prefix: str = "") -> list[str]:
        names = []
        for name, field in model.model_fields.items():
            section = getattr(field.annotation, "model_fields", None)
            if section is not None:
                names += bare(field.annotation, f"{prefix}{name}.")
            elif not field.description:
                names.append(f"{prefix}{name}")
        return names

    assert bare(Site) == []
