from __future__ import annotations

import pytest

from ollama_adapter.models.facts import combined
from ollama_adapter.settings import VllmSettings
from ollama_adapter.vllm.fill_in_the_middle import fill_in, template_of, template_problem


@pytest.mark.parametrize(
    ("family", "tokens", "prompt"),
    [
        (
            "starcoder2, granite-code",
            ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
            "<fim_prefix>A<fim_suffix>B<fim_middle>",
        ),
        (
            "qwen2.5-coder, codegemma, granite 4",
            ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
            "<|fim_prefix|>A<|fim_suffix|>B<|fim_middle|>",
        ),
        (
            "deepseek-coder",
            ("<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"),
            "<\uff5cfim\u2581begin\uff5c>A<\uff5cfim\u2581hole\uff5c>B<\uff5cfim\u2581end\uff5c>",
        ),
        ("codellama", ("\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>"), "<PRE> A <SUF>B <MID>"),
        ("codestral", ("[SUFFIX]", "[PREFIX]", ""), "[SUFFIX]B[PREFIX]A"),
        ("the lab's model", ("<|fim_pre|>", "<|fim_suf|>", "<|fim_mid|>"), "<|fim_pre|>A<|fim_suf|>B<|fim_mid|>"),
    ],
)
def test_each_family_fills_in_as_it_was_trained(family: str, tokens: tuple[str, str, str], prompt: str) -> None:
    assert fill_in(template_of(tokens), "A", "B") == prompt, family


def test_without_the_tokens_nothing_is_known() -> None:
    assert template_of(None) == ""


def test_texts_may_have_braces_and_marks_of_their_own() -> None:
    assert fill_in("<P>{prefix}<S>{suffix}<M>", "{suffix}", "{prefix}{x}") == "<P>{suffix}<S>{prefix}{x}<M>"


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("", None),
        ("{prefix}|{suffix}", None),
        ("{suffix}|{prefix}", None),
        ("{prefix}", "'{prefix}' must have {suffix} once"),
        ("{suffix}{suffix}{prefix}", "'{suffix}{suffix}{prefix}' must have {suffix} once"),
    ],
)
def test_a_template_of_the_settings_has_both_texts(template: str, problem: str | None) -> None:
    assert template_problem(template) == problem


def test_a_template_in_the_settings_makes_a_model_that_inserts() -> None:
    settings = VllmSettings(fim_template="{prefix}{suffix}", capabilities=["completion", "tools"])
    assert combined(settings).capabilities == ("completion", "insert", "tools")
    assert combined(VllmSettings(capabilities=["completion"])).capabilities == ("completion",)
    assert combined(VllmSettings(fim_template="{prefix}{suffix}", capabilities=["embedding"])).capabilities == (
        "embedding",
    )
