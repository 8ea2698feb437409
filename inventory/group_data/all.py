"""Settings of every host. Everything has a default; docs/settings.md lists all keys. A misspelt one is refused, with a hint.

Secrets are not settings. The hub token comes from the environment of the person who deploys:  export HF_TOKEN=hf_…
Or from a file or a password manager there, see Secrets in docs/operations.md.
"""

ssh_user = "root"  # or a user who may sudo, with:  _sudo = True

# What most sites change; these are the defaults.
# vllm = {
#     "model": "meta-llama/Llama-2-7b-chat-hf",   # gated: ask for access on the hub, then export HF_TOKEN
#     "hub_token_command": ["pass", "show", "hub/token"],   # instead of HF_TOKEN; run once, no shell
#     "max_model_len": 4096,
#     "gpu_memory_utilization": 0.9,
#     "gpus": ["GPU-8f1c…"],                      # uuids from nvidia-smi -L; empty: all
# }
# ollama = {"vision": {"gpus": ["GPU-77aa…"]}}
