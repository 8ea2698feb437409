"""One model of vLLM, and the servers it is on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..ollama.times import FOREVER_S, Stamps, parse_duration
from ..settings import VllmSettings
from ..upstream.client import Upstream
from ..upstream.pool import Pool
from ..vllm.leaving import Leaving
from ..vllm.to_vllm import TextModel
from .directory import DirectoryFacts
from .facts import ASSUMED_CONTEXT, ModelFacts, ServedFacts, combined


class Backend:
    """What all requests for one model of vLLM share: settings, server, and what is known about its tokenizer."""

    def __init__(self, settings: VllmSettings) -> None:
        key = Path(settings.api_key_file).read_bytes().strip() if settings.api_key_file else b""
        self.settings = settings
        self.upstream = Pool(
            [
                Upstream("vLLM", url, settings.connect_timeout_s, authorization=key)
                for url in (settings.url, *settings.replicas)
            ]
        )
        self.leaving = Leaving(self.upstream, settings.served_model)
        self.facts = combined(settings)
        self.model = TextModel(
            served_model=settings.served_model,
            max_model_len=self.facts.max_model_len or ASSUMED_CONTEXT,
            capabilities=self.facts.abilities,
            chat_template=settings.chat_template,
            default_options=settings.default_options,
            fim_template=self.facts.fim_template,
        )
        self.stamps = Stamps()
        self.first_tokens: list[int] | None = None  # what the tokenizer puts in front of every text; asked for once
        keep_alive_s = parse_duration(settings.keep_alive)
        self.keep_alive_s = FOREVER_S if keep_alive_s < 0 else keep_alive_s

    @property
    def is_full(self) -> bool:
        """Whether as many requests are on their way as the settings allow."""
        return self.upstream.active_calls >= self.settings.max_requests

    def can(self, capability: str) -> bool:
        """Whether the model has one of Ollama's capabilities; while none is known, whether it might."""
        return self.model.can(capability)

    def takes_stops(self, most: int) -> None:
        """vLLM has said how many stop strings it takes."""
        self.model = replace(self.model, most_stops=most)

    def learn(self, directory: DirectoryFacts | None, served: ServedFacts) -> None:
        """Take over what was found out. Settings still win."""
        facts: ModelFacts = combined(self.settings, directory, served)
        self.facts = facts
        self.model = replace(
            self.model,
            max_model_len=facts.max_model_len or ASSUMED_CONTEXT,
            capabilities=facts.abilities,
            fim_template=facts.fim_template,
        )
        self.first_tokens = None  # of another tokenizer, perhaps
