"""What the adapter tells about a model: the settings where they say something, what was found everywhere else."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..settings import VllmSettings
from ..vllm.fill_in_the_middle import template_of
from .directory import DirectoryFacts

# For a model about which nothing is known, because vLLM has not answered yet.
ASSUMED_CONTEXT = 4096
# A request that might be good is sent to vLLM rather than refused. `insert` is not among them: it needs known tokens.
ASSUMED_CAPABILITIES = ("completion", "tools", "thinking", "vision", "embedding")

_BITS = {
    "F32": 32, "F16": 16, "BF16": 16, "FP8": 8, "Q8_0": 8, "INT8": 8, "Q4_K_M": 5, "Q4_0": 4.5, "INT4": 4.5,
    "MXFP4": 4.25, "NVFP4": 4.5,
}  # fmt: skip
_SCALE = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_FILE_TYPES = {"F32": 0, "F16": 1, "BF16": 32}  # GGUF's numbers
_CODE_MODEL = re.compile(r"cod(e|er|ing)|starcoder|\bfim\b|devstral", re.IGNORECASE)
_THINKING = ("enable_thinking", "<think>", "reasoning_content", "reasoning_effort", "thinking")


@dataclass(frozen=True)
class ServedFacts:
    """What vLLM itself says. None: it did not say.

    `takes_tools` and `thinks` are about the server: a template with tools is of no use without `--tool-call-parser`,
    and one that thinks, without `--reasoning-parser`, leaves its tags in the text.
    """

    max_model_len: int = 0
    root: str = ""
    generates: bool | None = None
    embeds: bool | None = None
    takes_tools: bool | None = None
    thinks: bool | None = None
    chat_template: str | None = None


@dataclass(frozen=True)
class ModelFacts:
    """What listings show and requests are checked against.

    `max_model_len` is the limit that holds for requests, 0 while it is not known; `context_length` is the one to show.
    """

    repository: str
    family: str
    context_length: int
    max_model_len: int
    parameter_size: str
    parameter_count: int
    quantization: str
    size_bytes: int
    capabilities: tuple[str, ...]
    license: str = ""
    chat_template: str = ""
    fim_template: str = ""  # of a prompt with a suffix: see vllm.fill_in_the_middle
    info: Mapping[str, int | float] = field(default_factory=dict)

    @property
    def embedding_length(self) -> int:
        """The width of the model, 0 if not known."""
        return int(self.info.get("embedding_length", 0))

    @property
    def abilities(self) -> frozenset[str]:
        """The capabilities that requests are checked against; while none is known, those it might have."""
        return frozenset(self.capabilities or ASSUMED_CAPABILITIES)


def combined(
    settings: VllmSettings, directory: DirectoryFacts | None = None, served: ServedFacts | None = None
) -> ModelFacts:
    """All that is known of a model. A setting that is not empty wins."""
    found = directory or DirectoryFacts()
    said = served or ServedFacts()
    count = parameter_count(settings.parameter_size) or found.parameter_count
    quantization = settings.quantization or found.quantization or "unknown"
    context = settings.context_length or said.max_model_len or found.context_length
    info = dict(found.info)
    if settings.embedding_length:
        info["embedding_length"] = settings.embedding_length
    if quantization in _FILE_TYPES:
        info["general.file_type"] = _FILE_TYPES[quantization]
    repository = settings.repository or said.root or settings.served_model
    return ModelFacts(
        repository=repository,
        family=settings.family or found.family or "unknown",
        context_length=context,
        max_model_len=min(filter(None, (settings.context_length, said.max_model_len)), default=0),
        parameter_size=settings.parameter_size or (human_number(count) if count else ""),
        parameter_count=count,
        quantization=quantization,
        size_bytes=settings.size_bytes or found.size_bytes or estimated_size(count, quantization),
        capabilities=_with_insert(
            tuple(settings.capabilities) or capabilities(repository, directory, served), settings.fim_template
        ),
        license=settings.license or found.license,
        chat_template=found.chat_template or said.chat_template or "",
        fim_template=settings.fim_template or template_of(found.fill_in),
        info=info,
    )


def _with_insert(names: tuple[str, ...], fim_template: str) -> tuple[str, ...]:
    """A model that generates inserts too, where the settings say how."""
    if not fim_template or "completion" not in names or "insert" in names:
        return names
    return ("completion", "insert", *(name for name in names if name != "completion"))


def capabilities(repository: str, directory: DirectoryFacts | None, served: ServedFacts | None) -> tuple[str, ...]:
    """What a model can do, in Ollama's order; nothing where vLLM has not said whether it generates or embeds.

    - completion and embedding: which of the two routes vLLM has.
    - vision and audio: config.json has a part for them. vLLM can be started without, which nobody tells; then the
      setting has to say so.
    - tools: vLLM accepts them, and the template, where it is known, renders them.
    - insert: the tokenizer has the tokens, and the name says that it is a model for code. Every Qwen has the tokens.
    - thinking: vLLM separates the thoughts of an answer.
    """
    if served is None or not (served.generates or served.embeds):
        return ()
    if not served.generates:
        return ("embedding",)
    names = ["completion"]
    if directory is not None:
        names += [name for name, has in (("vision", directory.has_vision), ("audio", directory.has_audio)) if has]
    template = known_template(directory, served)
    if served.takes_tools and (template is None or "tools" in template):
        names.append("tools")
    if directory is not None and directory.fill_in and _CODE_MODEL.search(repository):
        names.append("insert")
    if served.thinks:
        names.append("thinking")
    if served.embeds:
        names.append("embedding")
    return tuple(names)


def known_template(directory: DirectoryFacts | None, served: ServedFacts) -> str | None:
    """The chat template, "" where the model has none, None where nobody told."""
    if served.chat_template:
        return served.chat_template
    return directory.chat_template if directory is not None else served.chat_template


def may_think(template: str | None) -> bool:
    """Whether it is worth asking a model with this template for its thoughts."""
    return template is None or any(word in template for word in _THINKING)


def human_number(count: int) -> str:
    """A number of parameters as Ollama prints it: 8.2B, 494.03M, 947K (HumanNumber of its package format)."""
    for unit, letter, places in ((10**9, "B", 1), (10**6, "M", 2)):
        if count >= unit:
            return f"{count // unit}{letter}" if count % unit == 0 else f"{count / unit:.{places}f}{letter}"
    return f"{count / 1000:.0f}K" if count >= 1000 else str(count)


def parameter_count(text: str) -> int:
    """The number that a text such as `6.7B` or `947K` stands for, 0 if it stands for none."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([KMBT]?)", text.strip().upper())
    return round(float(match.group(1)) * _SCALE[match.group(2)]) if match else 0


def estimated_size(parameters: int, quantization: str) -> int:
    """The size of a model in bytes, never 0: the CLI cannot print that."""
    return max(math.floor(parameters * _BITS.get(quantization.upper(), 16) / 8), 1)
