"""What a virtual model adds to a request, and what `/api/create` makes of one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ollama_adapter.models.catalogue import Catalogue, OwnModel
from ollama_adapter.models.presets import Preset, combined, digest_of, to_plain, with_preset
from ollama_adapter.ollama.creating import Refused, plan
from ollama_adapter.ollama.requests import TextRequest
from ollama_adapter.settings import Settings, VllmSettings
from ollama_adapter.vllm.to_vllm import to_messages

SAYS = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
CHILD = Preset(system="Be brief.", parameters={"temperature": 0.5, "stop": ["a"]}, messages=SAYS)


def base(**facts: Any) -> OwnModel:
    served = Catalogue(Settings(vllm=VllmSettings(aliases=["tiny"], **facts))).own("tiny")
    assert served is not None
    return served


def child(preset: Preset) -> OwnModel:
    return replace(base(), preset=preset)


def chat(*messages: dict[str, Any], **fields: Any) -> TextRequest:
    return TextRequest("chat", messages=list(messages), **fields)


def contents(request: TextRequest) -> list[str]:
    return [f"{message['role']}: {message['content']}" for message in to_messages(request, images=False)]


def test_a_chat_gets_the_system_text_and_the_messages_in_front() -> None:
    request = with_preset(chat({"role": "user", "content": "x"}), CHILD)
    assert contents(request) == ["system: Be brief.", "user: hi", "assistant: hello", "user: x"]


def test_a_chat_with_a_system_message_of_its_own_keeps_it_behind_the_messages() -> None:
    request = with_preset(chat({"role": "system", "content": "S"}, {"role": "user", "content": "x"}), CHILD)
    assert contents(request) == ["user: hi", "assistant: hello", "system: S", "user: x"]


def test_a_prompt_gets_the_system_text_and_the_messages_in_front() -> None:
    request = with_preset(TextRequest("generate", prompt="x"), CHILD)
    assert contents(request) == ["system: Be brief.", "user: hi", "assistant: hello", "user: x"]
    assert contents(with_preset(TextRequest("generate", prompt="x", system="S"), CHILD))[0] == "system: S"


def test_context_stands_for_the_messages_of_an_earlier_answer() -> None:
    assert contents(with_preset(TextRequest("generate", prompt="x", context=[1, 2]), CHILD)) == [
        "system: Be brief.",
        "user: x",
    ]


def test_a_raw_prompt_gets_parameters_alone() -> None:
    request = with_preset(TextRequest("generate", prompt="x", raw=True), replace(CHILD, template="T"))
    assert (request.system, request.template, request.messages) == ("", "", [])
    assert request.raw_options == {"temperature": 0.5, "stop": ["a"]}


@pytest.mark.parametrize(
    ("inside", "beside", "expected"),
    [
        ({}, {}, 0.5),
        ({"temperature": 0.9}, {}, 0.9),
        ({"temperature": None}, {}, 0.5),
        ({}, {"temperature": 0.7}, 0.7),
    ],
)
def test_options_of_a_request_win_over_the_parameters(
    inside: dict[str, Any], beside: dict[str, Any], expected: float
) -> None:
    request = with_preset(chat({"role": "user", "content": "x"}, raw_options=inside, options=beside), CHILD)
    request.check_options()
    assert request.options == {"temperature": expected, "stop": ["a"]}


def test_the_request_of_the_client_is_not_changed() -> None:
    request = chat({"role": "user", "content": "x"})
    with_preset(request, CHILD)
    assert request == chat({"role": "user", "content": "x"})


def test_the_template_is_handed_over_unless_the_request_has_one() -> None:
    preset = Preset(template="P")
    assert with_preset(chat({"role": "user", "content": "x"}), preset).template == "P"
    assert with_preset(TextRequest("generate", prompt="x", template="Q"), preset).template == "Q"


def test_a_model_made_of_a_virtual_one_inherits_what_it_does_not_replace() -> None:
    given = Preset(system="Other", parameters={"top_k": 1, "temperature": 1}, licenses=["B"])
    made = combined(replace(CHILD, licenses=["A"]), given)
    assert (made.system, made.messages, list(made.licenses)) == ("Other", SAYS, ["A", "B"])
    assert made.parameters == {"temperature": 1, "stop": ["a"], "top_k": 1}


def test_the_layers_have_the_digests_that_ollama_recorded() -> None:
    fields = {
        "system": "S",
        "license": ["A", "B"],
        "parameters": {"stop": ["a", "b"], "temperature": 0.5, "num_ctx": 99.0},
    }
    planned = plan(fields, base())
    assert planned.kept == []
    assert [(kind, digest[:12]) for kind, digest in planned.new] == [
        ("system", "8de0b3c47f11"),
        ("license", "559aead08264"),
        ("license", "df7e70e50215"),
        ("params", "2729bfc1bdf7"),
    ]


def test_layers_of_the_base_are_kept_and_parameters_written_anew() -> None:
    planned = plan({"system": "new", "license": "B"}, child(replace(CHILD, licenses=["A"])))
    assert [kind for kind, _ in planned.kept] == ["license", "messages"]
    assert [kind for kind, _ in planned.new] == ["system", "license", "params"]


def test_the_template_and_licence_that_show_told_are_no_change() -> None:
    of_base = base(license="MIT")
    assert to_plain(plan({"template": "{{ .Prompt }}\n", "license": "MIT"}, of_base).preset) == {}


def test_messages_that_are_nested_too_deeply_are_refused() -> None:
    deep: list[Any] = []
    for _ in range(9000):
        deep = [deep]
    call = {"function": {"name": "f", "arguments": {"a": deep}}}
    with pytest.raises(Refused, match="messages are nested too deeply"):
        plan({"messages": [{"role": "user", "content": "", "tool_calls": [call]}]}, base())


@pytest.mark.parametrize(
    ("fields", "facts", "status", "message"),
    [
        ({"quantize": "q9"}, {}, 500, "unsupported quantization type Q9 - supported types are F32, F16, Q4_K_S, "
         "Q4_K_M, Q8_0"),
        ({"quantize": "q8_0"}, {"quantization": "FP8"}, 500, "quantization is only supported for F16, BF16 and F32 "
         "models"),
        ({"quantization": "q8_0"}, {"quantization": "BF16"}, 501, "the weights are served by vLLM and stay as they are: "
         "let vLLM serve a model that is quantized already"),
        ({"adapters": {"a": "sha256:1"}}, {}, 500, "open /usr/share/ollama/.ollama/models/blobs/sha256-1: no such file "
         "or directory"),
        ({"license": 5}, {}, 400, "license must be a text or a list of texts"),
        ({"license": ["A", 5]}, {}, 400, "license must be a text or a list of texts"),
        ({"parameters": {"a": {"b": 1}}}, {}, 400, 'parameter "a" is neither a text, a number, true or false nor a list '
         "of these"),
        ({"parameters": {"a": 10**400}}, {}, 400, f"json: cannot unmarshal number {10**400} into Go value of type "
         "float64"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_refused(
    fields: dict[str, Any], facts: dict[str, Any], status: int, message: str
) -> None:
    with pytest.raises(Refused) as caught:
        plan(fields, base(**facts))
    assert (caught.value.status, str(caught.value)) == (status, message)


def test_weights_that_have_the_wanted_type_are_no_quantization() -> None:
    assert plan({"quantize": "f16"}, base(quantization="F16")).preset.system == ""


def test_another_name_base_or_content_has_another_digest() -> None:
    digests = {
        digest_of("a", "0", CHILD),
        digest_of("b", "0", CHILD),
        digest_of("a", "1", CHILD),
        digest_of("a", "0", replace(CHILD, system="x")),
    }
    assert len(digests) == 4
    assert all(len(digest) == 64 for digest in digests)
    assert digest_of("a", "0", CHILD) in digests


def test_empty_parts_are_not_written() -> None:
    assert json.dumps(to_plain(Preset())) == "{}"
