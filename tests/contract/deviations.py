"""Where the adapter does not answer as recorded, and why. A line that no longer holds fails the replay."""

from __future__ import annotations

# What a name begins with -> why its exchanges are not compared yet: they need what the adapter's next stage brings.
LATER: dict[str, str] = {}

# Name -> why it will stay different.
FOR_GOOD = {
    "ps_after_unload": "the recorded server kept one model at a time; vLLM's models are in memory side by side",
    "tags_empty": "there is always vLLM's model",
    "tags_mixed": "other models",
    "tags_after": "other models",
    "tags_pulled": "other models",
    "path_pct": "other models",
    "v1_models": "other models",
    "v1_models_empty": "there is always vLLM's model",
    "http_accept_gzip": "other models",
    "ps_keepalive_10m": "size, digest and format of the weights that vLLM serves",
    "ps_keepalive_neg": "size, digest and format of the weights that vLLM serves",
    "ps_keepalive_30": "size, digest and format of the weights that vLLM serves",
    "show": "modelfile, template and tensors of a GGUF file",
    "show_embed": "modelfile, template and tensors of a GGUF file",
    "show_fim": "modelfile, template and tensors of a GGUF file",
    "show_think": "modelfile, template and tensors of a GGUF file",
    "show_name_key": "modelfile, template and tensors of a GGUF file",
    "show_system_override": "modelfile, template and tensors of a GGUF file",
    "gen_format_bad_schema": "the message is that of vLLM's grammar compiler",
    "chat_tools_bad_function": "vLLM refuses a tool without a function",
    "pull_bogus_nostream": "no registry is asked",
    "pull_insecure_http": "no registry is asked",
    "pull_local_registry": "no registry is asked",
    "pull_reg_again": "no registry is asked",
    "create_from_unknown": "no registry is asked",
    "create_plain_stream": "weights come from vLLM; those of clients are not kept",
    "create_tool_nostream": "weights come from vLLM; those of clients are not kept",
    "create_fim": "weights come from vLLM; those of clients are not kept",
    "create_jinja": "weights come from vLLM; those of clients are not kept",
    "blob_head_present": "weights come from vLLM; those of clients are not kept",
    "blob_post_again": "weights come from vLLM; those of clients are not kept",
    "create_system_params": "the first layer is the digest of a GGUF file",
    "show_child": "modelfile, template and tensors of a GGUF file",
    "show_jinja": "modelfile, template and tensors of a GGUF file",
    "show_raw_notmpl": "modelfile, template and tensors of a GGUF file",
    "jinja_tools": "its GGUF file renders tools otherwise than the twin, and its answer is not read as a call",
    "jinja_format": "the recorded server did not hold this model to the format",
    "path_model_recs": "it recommends what its registry and its cloud have",
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
