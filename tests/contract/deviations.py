"""Where the adapter does not answer as recorded, and why. A line that no longer holds fails the replay."""

from __future__ import annotations

# What a name begins with -> why its exchanges are not compared yet: they need what the adapter's next stage brings.
LATER = {
    "v1_": "OpenAI and Anthropic routes for vLLM's model",
    "em_v1": "OpenAI and Anthropic routes for vLLM's model",
    "create_": "virtual models",
    "cleanup_": "virtual models",
    "copy_ok": "virtual models",
    "copy_self": "virtual models",
    "delete_ok": "virtual models",
    "push_unknown": "push",
    "blob_": "blobs",
    "em_": "an embedding model on vLLM",
    "ems_": "an embedding model on vLLM",
    "show_embed": "an embedding model on vLLM",
    "jinja_": "virtual models",
    "show_jinja": "virtual models",
    "gen_suffix_ok": "fill-in-the-middle",
    "show_fim": "fill-in-the-middle",
    "show_child": "virtual models",
    "chat_child": "virtual models",
    "chat_raw_notmpl": "virtual models",
    "show_raw_notmpl": "virtual models",
    "gen_pulled": "virtual models",
    "pull_reg_ok": "a model that the registry of the recording had",
    "pull_reg_again": "a model that the registry of the recording had",
    "pull_reg_name_key": "a model that the registry of the recording had",
    "delete_pulled": "a model that the registry of the recording had",
    "gen_long_prompt": "truncation of prompts",
    "gen_truncate_false": "truncation of prompts",
    "chat_truncate_long": "truncation of prompts",
    "gen_debug_render": "rendering without generation",
    "path_model_recs": "cloud features",
    "gen_think_on": "context of an answer with thinking is made of the generated token ids",
    "gen_think_unset": "context of an answer with thinking is made of the generated token ids",
}

# Name -> why it will stay different.
FOR_GOOD = {
    "ps_after_unload": "the recorded server kept one model at a time; vLLM's models are in memory side by side",
    "tags_empty": "there is always vLLM's model",
    "tags_head": "other models, so another length",
    "tags_mixed": "other models",
    "tags_after": "other models",
    "tags_pulled": "other models",
    "path_pct": "other models",
    "http_accept_gzip": "other models",
    "ps_keepalive_10m": "size, digest and format of the weights that vLLM serves",
    "ps_keepalive_neg": "size, digest and format of the weights that vLLM serves",
    "ps_keepalive_30": "size, digest and format of the weights that vLLM serves",
    "show": "modelfile, template and tensors of a GGUF file",
    "show_think": "modelfile, template and tensors of a GGUF file",
    "show_name_key": "modelfile, template and tensors of a GGUF file",
    "show_system_override": "modelfile, template and tensors of a GGUF file",
    "gen_format_bad_schema": "the message is that of vLLM's grammar compiler",
    "chat_tools_bad_function": "vLLM refuses a tool without a function",
    "pull_bogus_nostream": "no registry is asked",
    "pull_insecure_http": "no registry is asked",
    "pull_local_registry": "no registry is asked",
}

# Only with a real vLLM.
FOR_GOOD_WITH_VLLM = {
    "gen_bad_utf8": "vLLM 0.32.0 repeats an incomplete character of the prompt in front of the answer",
}


def reason(name: str, *, real_vllm: bool) -> str:
    """Why an exchange is expected to differ; "" where it must be equal."""
    if name in FOR_GOOD:
        return FOR_GOOD[name]
    if real_vllm and name in FOR_GOOD_WITH_VLLM:
        return FOR_GOOD_WITH_VLLM[name]
    matches = [prefix for prefix in LATER if name.startswith(prefix)]
    return LATER[max(matches, key=len)] if matches else ""
