"""Your hosts. A list is a group; its settings are in group_data/<group>.py, those of all hosts in group_data/all.py.

A host is a name that ssh can reach, or a pair of the name and settings for it alone:

    gpu = ["gpu-01.example.net", ("gpu-02.example.net", {"vllm": {"max_model_len": 8192}})]

Hosts that no current vLLM can serve (Tesla P100, V100) belong into `phase1`: two Ollama servers, nothing of vLLM on disk.
"""

gpu = ["gpu-01.example.net"]
phase1: list[str] = []
