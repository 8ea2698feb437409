"""Settings of every host. Everything has a default; docs/settings.md lists all keys. A misspelt one is refused, with a hint.

Secrets are not settings. The hub token comes from the environment of the person who deploys:  export HF_TOKEN=hf_…
"""

ssh_user = "root"  # or a user who may sudo, with:  _sudo = True

vllm = {
    "model": "meta-llama/Llama-2-7b-chat-hf",
    "max_model_len": 4096,
    "gpu_memory_utilization": 0.9,
}
