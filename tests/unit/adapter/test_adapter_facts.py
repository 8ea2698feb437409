from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from ollama_adapter.models.backend import Backend
from ollama_adapter.models.directory import DirectoryFacts, family, fill_in, read_directory
from ollama_adapter.models.fact_finder import NoAnswer, has_thought, knows_all, served_model, takes_tools, template_in
from ollama_adapter.models.facts import (
    ModelFacts,
    ServedFacts,
    capabilities,
    combined,
    human_number,
    may_think,
    parameter_count,
)
from ollama_adapter.ollama.showing import model_info, modelfile, parameter_lines, shown_parameters, shown_template
from ollama_adapter.settings import VllmSettings
from ollama_adapter.upstream.fetching import Fetched

CONFIG: dict[str, Any] = {
    "model_type": "qwen3", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
    "num_hidden_layers": 3, "intermediate_size": 128, "max_position_embeddings": 40960, "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0, "vocab_size": 100, "tie_word_embeddings": True,
}  # fmt: skip
TEXT = ServedFacts(max_model_len=8192, root="org/model", generates=True, embeds=False, takes_tools=False, thinks=False)


def safetensors(path: Path, tensors: dict[str, tuple[str, list[int]]], data: bytes = b"\0" * 10) -> None:
    head = json.dumps(
        {"__metadata__": {"format": "pt"}}
        | {name: {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]} for name, (dtype, shape) in tensors.items()}
    ).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)


def directory(path: Path, config: dict[str, Any] | None = None, **files: Any) -> DirectoryFacts:
    """A model's directory, read."""
    (path / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (path / f"{name}.json").write_text(text)
    found = read_directory(path)
    assert found is not None
    return found


def test_a_directory_tells_architecture_size_and_parameters(tmp_path: Path) -> None:
    safetensors(tmp_path / "model.safetensors", {"a.weight": ("BF16", [1000, 64]), "b.bias": ("F32", [24])})
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    (tmp_path / "LICENSE").write_text("Apache")
    found = directory(tmp_path)
    assert found.family == "qwen3"
    assert found.parameter_count == 64_024
    assert found.quantization == "BF16"
    assert found.size_bytes == (tmp_path / "model.safetensors").stat().st_size
    assert found.context_length == 40960
    assert found.chat_template == "{{ messages }}"
    assert found.license == "Apache"
    assert found.info == {
        "attention.head_count": 4, "attention.head_count_kv": 2, "attention.layer_norm_rms_epsilon": 1e-06,
        "block_count": 3, "embedding_length": 64, "feed_forward_length": 128, "rope.dimension_count": 16,
        "rope.freq_base": 1000000, "vocab_size": 100,
    }  # fmt: skip
    assert not (found.has_vision or found.has_audio or found.is_pooling or found.fill_in)


def test_only_the_shards_of_the_index_count(tmp_path: Path) -> None:
    for name in ("one.safetensors", "two.safetensors", "consolidated.safetensors"):
        safetensors(tmp_path / name, {f"{name}.weight": ("F16", [10])})
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "../evil.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = directory(tmp_path)
    assert (found.parameter_count, found.quantization) == (20, "F16")
    assert found.size_bytes == sum((tmp_path / f"{name}.safetensors").stat().st_size for name in ("one", "two"))


def test_packed_weights_are_counted_as_what_they_stand_for(tmp_path: Path) -> None:
    tensors = {
        "q.qweight": ("I32", [8, 16]), "q.scales": ("F16", [1, 16]), "q.qzeros": ("I32", [1, 2]), "n.weight": ("F16", [9]),
    }  # fmt: skip
    safetensors(tmp_path / "model.safetensors", tensors)
    found = directory(tmp_path, {**CONFIG, "quantization_config": {"quant_method": "awq", "bits": 4}})
    assert (found.parameter_count, found.quantization) == (8 * 16 * 8 + 9, "INT4")


@pytest.mark.parametrize(
    ("quantization", "name"),
    [
        ({"quant_method": "fp8"}, "FP8"),
        ({"quant_method": "gptq", "bits": 8}, "INT8"),
        ({"quant_method": "mxfp4"}, "MXFP4"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "INT4"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float"}}},
            },
            "FP8",
        ),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4, "type": "int"}}}},
            "INT4",
        ),
    ],
)
def test_the_quantisation_of_the_configuration_is_named(tmp_path: Path, quantization: Any, name: str) -> None:
    assert directory(tmp_path, {**CONFIG, "quantization_config": quantization}).quantization == name


@pytest.mark.parametrize(
    ("model_type", "name"),
    [
        ("llama", "llama"), ("mistral", "llama"), ("qwen3_moe", "qwen3moe"), ("gemma3_text", "gemma3"),
        ("gpt_oss", "gptoss"), ("qwen2_5_vl", "qwen25vl"), ("nomic_bert", "nomic-bert"), ("", ""),
    ],
)  # fmt: skip
def test_an_architecture_has_ollamas_name(model_type: str, name: str) -> None:
    assert family(model_type) == name


def test_a_model_that_sees_keeps_its_sizes_in_a_part_of_the_configuration(tmp_path: Path) -> None:
    config = {"model_type": "gemma3", "text_config": {**CONFIG, "model_type": "gemma3_text"}, "vision_config": {"a": 1}}
    found = directory(tmp_path, config)
    assert (found.family, found.info["block_count"], found.has_vision) == ("gemma3", 3, True)


def test_pooling_is_found(tmp_path: Path) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(
        '{"pooling_mode_cls_token":false,"pooling_mode_mean_tokens":true}'
    )
    found = directory(tmp_path, modules=[])
    assert found.is_pooling
    assert found.info["pooling_type"] == 1


def test_tokens_to_fill_in_are_found(tmp_path: Path) -> None:
    names = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
    tokens = {str(number): {"content": name} for number, name in enumerate(names)}
    assert directory(tmp_path, tokenizer_config={"added_tokens_decoder": tokens}).fill_in == names
    assert directory(tmp_path, tokenizer_config={}, tokenizer={"added_tokens": list(tokens.values())}).fill_in == names
    assert fill_in(names[:2]) is None


@pytest.mark.parametrize(
    ("template", "known"),
    [
        ("{{ a }}", "{{ a }}"),
        ([{"name": "default", "template": "A"}, {"name": "tool_use", "template": "B"}], "A\nB"),
        (5, ""),
    ],
)
def test_a_template_can_be_in_the_tokenizers_configuration(tmp_path: Path, template: Any, known: str) -> None:
    assert directory(tmp_path, tokenizer_config={"chat_template": template}).chat_template == known


def test_a_directory_without_a_configuration_tells_nothing(tmp_path: Path) -> None:
    assert read_directory(tmp_path) is None
    assert read_directory(tmp_path / "missing") is None
    (tmp_path / "config.json").write_bytes(b"\xff{")
    assert read_directory(tmp_path) is None


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 8, struct.pack("<Q", 2**62), struct.pack("<Q", 5) + b"[1,2]", b"1234"]
)
def test_a_broken_file_with_weights_is_passed_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    found = directory(tmp_path, {"model_type": 5, "num_hidden_layers": "x", "hidden_size": True, "text_config": []})
    assert (found.parameter_count, found.info) == (0, {})


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (8_190_735_360, "8.2B"), (7_000_000_000, "7B"), (136_727_040, "136.73M"), (500_000_000, "500M"),
        (946_560, "947K"), (999, "999"), (235_093_634_560, "235.1B"),
    ],
)  # fmt: skip
def test_a_number_of_parameters_is_printed_as_ollama_does(count: int, text: str) -> None:
    assert human_number(count) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [("6.7B", 6_700_000_000), ("947K", 947_000), ("137m", 137_000_000), ("big", 0), ("5", 5), ("", 0)],
)
def test_a_parameter_size_is_a_number(text: str, count: int) -> None:
    assert parameter_count(text) == count


def test_what_the_settings_say_wins_over_what_was_found() -> None:
    found = DirectoryFacts(family="qwen3", parameter_count=5, quantization="BF16", size_bytes=7, context_length=9)
    settings = VllmSettings(
        family="llama", parameter_size="6.7B", quantization="F16", size_bytes=8, context_length=4096,
        capabilities=["vision"], repository="a/b", license="MIT", embedding_length=3,
    )  # fmt: skip
    facts = combined(settings, found, TEXT)
    assert (facts.family, facts.parameter_size, facts.parameter_count) == ("llama", "6.7B", 6_700_000_000)
    assert (facts.quantization, facts.size_bytes, facts.context_length) == ("F16", 8, 4096)
    assert (facts.capabilities, facts.repository, facts.license) == (("vision",), "a/b", "MIT")
    assert facts.embedding_length == 3
    assert facts.max_model_len == 4096
    facts = combined(VllmSettings(), found, TEXT)
    assert (facts.family, facts.parameter_size, facts.quantization, facts.size_bytes) == ("qwen3", "5", "BF16", 7)
    assert (facts.context_length, facts.max_model_len, facts.repository) == (8192, 8192, "org/model")
    assert combined(VllmSettings(context_length=99999), found, TEXT).max_model_len == 8192


def test_a_size_that_nobody_knows_is_estimated_and_never_zero() -> None:
    assert combined(VllmSettings(parameter_size="6.7B", quantization="F16")).size_bytes == 13_400_000_000
    assert combined(VllmSettings()).size_bytes == 1


TOOLS = DirectoryFacts(chat_template="{% if tools %}{% endif %}")
CODE = DirectoryFacts(chat_template="", fill_in=("a", "b", "c"))


@pytest.mark.parametrize(
    ("directory", "served", "expected"),
    [
        (None, None, ()),
        (TOOLS, ServedFacts(), ()),
        (None, {"embeds": True, "generates": False}, ("embedding",)),
        (None, {}, ("completion",)),
        (TOOLS, {}, ("completion",)),  # the template alone is not enough
        (TOOLS, {"takes_tools": True}, ("completion", "tools")),
        (None, {"takes_tools": True}, ("completion", "tools")),  # a template that nobody knows
        (CODE, {"takes_tools": True}, ("completion",)),  # vLLM would accept tools, and the template drop them
        (CODE, {"takes_tools": True, "chat_template": "tools"}, ("completion", "tools")),
        (None, {"thinks": True}, ("completion", "thinking")),
        (DirectoryFacts(has_vision=True, has_audio=True), {}, ("completion", "vision", "audio")),
    ],
)
def test_a_capability_is_claimed_only_where_model_and_server_have_it(
    directory: DirectoryFacts | None, served: Any, expected: tuple[str, ...]
) -> None:
    if isinstance(served, dict):
        served = ServedFacts(**{**vars(TEXT), **served})
    assert capabilities("org/model", directory, served) == expected


def test_filling_in_is_claimed_for_models_for_code_only() -> None:
    assert capabilities("Qwen/Qwen2.5-Coder-7B", CODE, TEXT) == ("completion", "insert")
    assert capabilities("Qwen/Qwen3-8B", CODE, TEXT) == ("completion",)


def test_while_nothing_is_known_a_request_is_not_refused_for_what_the_model_might_do() -> None:
    backend = Backend(VllmSettings())
    assert all(map(backend.can, ("completion", "tools", "thinking", "vision", "embedding")))
    backend.learn(None, TEXT)
    assert [backend.can(name) for name in ("completion", "tools", "embedding")] == [True, False, False]
    assert backend.model.max_model_len == 8192


def test_a_template_without_thoughts_is_not_tried() -> None:
    assert may_think("{% if enable_thinking %}")
    assert may_think(None)
    assert not may_think("{{ messages }}")


def test_what_vllm_says_is_read_and_anything_else_is_not_taken_for_it() -> None:
    body = json.dumps({"data": [{"id": "x"}, {"id": "llm", "max_model_len": 2048, "root": "/models/a"}]}).encode()
    assert served_model(Fetched(200, body), "llm") == ServedFacts(2048, "/models/a")
    for answer in (
        Fetched(200, body.replace(b"llm", b"l")),
        Fetched(404, body),
        Fetched(200, b"[]"),
        Fetched(200, b"x"),
    ):
        with pytest.raises(NoAnswer):
            served_model(answer, "llm")
    assert template_in(Fetched(200, b'{"chat_template":"x"}')) == "x"
    assert template_in(Fetched(404, b'{"detail":"Not Found"}')) is None


def test_tools_and_thoughts_are_told_from_vllms_answers() -> None:
    """The bodies are those of vLLM 0.32.0."""
    refused = b'{"error":{"message":"\\"auto\\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set"}}'
    too_many = b'{"error":{"message":"max_tokens=1073741824 cannot be greater than max_model_len=2048."}}'
    assert not takes_tools(Fetched(400, refused))
    assert takes_tools(Fetched(400, too_many))
    assert has_thought(Fetched(200, b'{"choices":[{"message":{"content":null,"reasoning":" Let"}}]}'))
    for body in (b'{"choices":[{"message":{"content":"<think>","reasoning":null}}]}', b'{"choices":[]}', b"{}", b"x"):
        assert not has_thought(Fetched(200, body))


def test_nobody_is_asked_where_the_settings_say_everything() -> None:
    known = {
        "capabilities": ["completion"], "context_length": 1, "embedding_length": 1, "size_bytes": 1, "family": "a",
        "parameter_size": "1B", "quantization": "F16",
    }  # fmt: skip
    assert knows_all(VllmSettings(**known))  # type: ignore[arg-type]
    for name in known:
        assert not knows_all(VllmSettings(**{key: value for key, value in known.items() if key != name}))  # type: ignore[arg-type]


def facts(**more: Any) -> ModelFacts:
    return combined(VllmSettings(family="llama", context_length=2048, **more))


def test_model_info_has_ggufs_names_in_order() -> None:
    found = DirectoryFacts(family="llama", parameter_count=946_560, quantization="F32", info={"block_count": 1})
    info = model_info(combined(VllmSettings(), found, TEXT), "model")
    assert info == {
        "general.architecture": "llama", "general.basename": "model", "general.file_type": 0,
        "general.parameter_count": 946_560, "llama.block_count": 1, "llama.context_length": 8192,
    }  # fmt: skip
    assert list(info) == sorted(info)


def test_a_modelfile_shows_what_is_served() -> None:
    options = {"num_ctx": 2048, "stop": ["<a>", "b c"], "temperature": 1.0, "top_p": 0.9, "seed": None}
    lines = parameter_lines(options)
    assert shown_parameters(lines).splitlines() == [
        "num_ctx                        2048", 'stop                           "<a>"',
        'stop                           "b c"', "temperature                    1", "top_p                          0.9",
    ]  # fmt: skip
    assert "PARAMETER stop <a>\nPARAMETER stop b c\n" in modelfile("a", "b", "c", "", lines, "")
    assert modelfile("a:latest", "org/m", "{{ x }}\n", "Be brief.", [("num_ctx", "5")], "MIT") == (
        "# Modelfile written by ollama-adapter: the model is served by vLLM\n# FROM a:latest\n\nFROM org/m\n"
        'TEMPLATE """{{ x }}\n"""\nSYSTEM Be brief.\nPARAMETER num_ctx 5\nLICENSE """MIT"""\n'
    )


def test_the_template_is_the_models_own_and_tells_who_fills_in() -> None:
    assert shown_template(facts()) == "{{ .Prompt }}"
    assert shown_template(combined(VllmSettings(), TOOLS, TEXT)) == TOOLS.chat_template
    code = combined(VllmSettings(repository="a/coder"), CODE, TEXT)
    assert shown_template(code) == "{{- if .Suffix }}a{{ .Prompt }}b{{ .Suffix }}c{{ else }}{{ .Prompt }}{{ end }}"
