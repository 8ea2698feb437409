"""The vocabulary of the lab model and the chains of tokens that spell its answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

# A logit is weight * sqrt(HIDDEN): about 58.7 for the chosen successor, 0 for a token that is no successor.
SUCCESSOR = 3.0
RUNNER_UP = 0.6 * SUCCESSOR

SPACE = "\u2581"
UNK, BOS, EOS = "<unk>", "<s>", "</s>"
MARKERS = (
    "<|user|>", "<|system|>", "<|assistant|>", "<|tools|>", "<|think|>", "<|end|>",
    "<|fim_pre|>", "<|fim_suf|>", "<|fim_mid|>",
)  # fmt: skip

# Each chain ends in EOS. A key is the marker that starts the chain, or the name of a chain that nothing starts.
CHAINS: dict[str, tuple[str, ...]] = {
    "<|assistant|>": (" The", " quick", " brown", " fox", " jumps", " over", " the", " lazy", " dog", "."),
    "json": ('{"', "answer", '":', " 42", "}"),
    "<|tools|>": ('{"name', '": "', "get_weather", '", "parameters', '": {"', "city", '": "P', "aris", '"}}'),
    "<|think|>": ("<think>", " Let", " me", " ponder", "</think>", " Answer", " is", " ready", "!"),
    "<|fim_mid|>": (" middle", " part", ";"),
}
CHARACTERS = " abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
# Two-character pieces that a SentencePiece tokenizer also finds in prompts, although no entry leads up to them.
PAIRS = ('{"', '":')
# vLLM's llama3_json tool parser wants this token to exist; the GGUF twin ends before it. Never read, never written.
UNUSED = ("<|python_tag|>",)
# Only in the vocabulary of the `vision` variant: what its processor wraps pictures in, and the token that looks at them.
IMAGE, LOOK = "<image>", "<|look|>"
WRAPPING = ("<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
COLOURS = (" Red", " Green", " Blue", " Grey")
PICTURE = " picture"


def marker_of(colour: str) -> str:
    """The token whose embedding stands for a picture of a colour."""
    return f"<|{colour.strip().lower()}|>"


@dataclass
class Vocabulary:
    """Token texts in id order: unk, bos, eos, 256 bytes, markers, chain pieces, single characters, one unused.

    With `sees` those for pictures come after them.
    """

    sees: bool = False
    pieces: list[str] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for piece in self._all():
            text = piece.replace(" ", SPACE)
            assert text not in self.ids, f"duplicate token {text!r}"
            self.ids[text] = len(self.pieces)
            self.pieces.append(text)

    def _all(self) -> Iterator[str]:
        yield from (UNK, BOS, EOS)
        yield from (f"<0x{byte:02X}>" for byte in range(256))
        yield from MARKERS
        for chain in CHAINS.values():
            yield from chain
        yield from CHARACTERS
        yield from UNUSED
        if self.sees:
            yield from self.picture_markers
            yield from (*COLOURS, PICTURE)

    @property
    def picture_markers(self) -> tuple[str, ...]:
        """Markers that only this variant has."""
        return (IMAGE, LOOK, *WRAPPING, *map(marker_of, COLOURS)) if self.sees else ()

    def __len__(self) -> int:
        return len(self.pieces)

    def id(self, piece: str) -> int:
        """The id of a token written with plain spaces."""
        return self.ids[piece.replace(" ", SPACE)]

    def transitions(self) -> dict[int, list[tuple[int, float]]]:
        """token id -> [(successor id, weight)], best first."""
        plain, answer = CHAINS["<|assistant|>"][0], CHAINS["json"][0]
        anywhere = [(self.id(plain), SUCCESSOR), (self.id(answer), RUNNER_UP)]
        unused = {self.id(piece) for piece in (*UNUSED, *((LOOK,) if self.sees else ()))}
        table = {token: anywhere for token in range(len(self)) if token not in unused}
        for start, chain in CHAINS.items():
            if start in MARKERS and start != "<|assistant|>":
                table[self.id(start)] = [(self.id(chain[0]), SUCCESSOR)]
            for piece, successor in zip(chain, (*chain[1:], EOS), strict=True):
                table[self.id(piece)] = [(self.id(successor), SUCCESSOR)]
        for colour in COLOURS if self.sees else ():
            table[self.id(marker_of(colour))] = [(self.id(colour), SUCCESSOR)]
            table[self.id(colour)] = [(self.id(PICTURE), SUCCESSOR)]
        if self.sees:
            table[self.id(PICTURE)] = [(self.id("."), SUCCESSOR)]
        return table
