"""How much of Ollama's loaded models is on the cards. A server that fell back to the processor answers, very slowly."""

import itertools
import json
import urllib.request

ASK_TIMEOUT_S = 10


def loaded(address, port):
    """[{"name": …, "size": bytes, "size_vram": bytes}, …] of the models in memory; [] when the server does not say."""
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{address}:{port}/api/ps", timeout=ASK_TIMEOUT_S) as answer:
            return json.load(answer)["models"] or []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def complaints(gate):
    """A sentence per model that is not on the cards as a whole. :param gate: the words of llm-ready that prove the server."""
    if gate[0] != "ollama":
        return []
    told = dict(itertools.pairwise(gate))
    found = []
    for model in loaded(told.get("--address", "127.0.0.1"), told["--port"]):
        size, there = model.get("size") or 0, model.get("size_vram") or 0
        if there < size:
            found.append(
                f"{model.get('name')}: {100 * there // size} % of it is on the cards, the processor computes the rest; "
                "nvidia-smi shows who has their memory"
            )
    return found
