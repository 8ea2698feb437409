from __future__ import annotations

import pytest

from ollama_adapter.ollama.names import InvalidName, parse


@pytest.mark.parametrize(
    "text",
    [
        "llama2",
        "llama2:latest",
        "LLaMA2",
        "library/llama2",
        "registry.ollama.ai/library/llama2:latest",
        "https://registry.ollama.ai/library/llama2",
        " llama2 ",
        "llama2:LATEST",
    ],
)
def test_all_ways_to_write_a_name_mean_the_same_model(text: str) -> None:
    assert parse(text).key == parse("llama2").key


@pytest.mark.parametrize("text", ["llama2:7b", "me/llama2", "example.com/library/llama2", "llama-2"])
def test_another_tag_namespace_or_host_is_another_model(text: str) -> None:
    assert parse(text).key != parse("llama2").key


@pytest.mark.parametrize(
    ("text", "display"),
    [
        ("llama2", "llama2:latest"),
        ("registry.ollama.ai/library/llama2:7b", "llama2:7b"),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B:latest"),
        ("hf.co/org/model:Q4_K_M", "hf.co/org/model:Q4_K_M"),
        ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
    ],
)
def test_a_name_is_listed_in_its_shortest_form_with_the_tag(text: str, display: str) -> None:
    assert parse(text).display == display


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "a b!",
        "-model",
        "a/b/c/d",
        "model:",
        ":tag",
        "a//b",
        "mo\ndel",
        "n.s/model",
        "x" * 81,
        "m:" + "t" * 81,
        "/m",
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        parse(text)


def test_a_missing_capability_is_reported_with_the_full_name() -> None:
    assert parse("tiny").full == "registry.ollama.ai/library/tiny:latest"
