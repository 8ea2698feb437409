"""Model names: what is the same model to an Ollama client."""

from __future__ import annotations

import pytest

from roles.layout import ollama_manifest
from roles.model_names import canonical, registry_place


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llama2", "llama2:latest"),
        ("LLama2:Latest", "llama2:latest"),
        ("library/llama2", "llama2:latest"),
        ("registry.ollama.ai/library/llama2:7b", "llama2:7b"),
        ("Qwen/Qwen3-8B", "qwen/qwen3-8b:latest"),
        ("hf.co/org/model:Q4_K_M", "hf.co/org/model:q4_k_m"),
    ],
)
def test_names_of_one_model_have_one_canonical_form(name: str, expected: str) -> None:
    assert canonical(name) == expected


@pytest.mark.parametrize("name", ["", ":7b", "a b", "-x", "a//b"])
def test_a_name_that_ollama_refuses_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no model name"):
        canonical(name)


def test_the_manifest_of_a_model_lies_where_ollama_writes_it() -> None:
    assert ollama_manifest("vision", "nomic-embed-text").endswith(
        "/models/manifests/registry.ollama.ai/library/nomic-embed-text/latest"
    )


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("llama3.2", ("registry.ollama.ai", "library/llama3.2", "latest")),
        ("library/llama3.2:1b", ("registry.ollama.ai", "library/llama3.2", "1b")),
        ("llama3.1:8b-instruct-q4_K_M", ("registry.ollama.ai", "library/llama3.1", "8b-instruct-q4_K_M")),
        ("someone/Own:7B", ("registry.ollama.ai", "someone/Own", "7B")),
        ("registry.ollama.ai/library/x:1", ("registry.ollama.ai", "library/x", "1")),
        ("hf.co/Some/Model-GGUF:Q4_K_M", ("hf.co", "Some/Model-GGUF", "Q4_K_M")),
    ],
)
def test_a_registry_knows_a_model_as_it_is_spelled(name: str, place: tuple[str, str, str]) -> None:
    assert registry_place(name) == place
