"""What is asked: the guide's five prompts, a mix of lengths as in conversations, and long beginnings. No I/O.

Lengths of the mix are drawn from two log-normal distributions, our choice: prompts of 161 tokens on average (median 88, sigma
1.1), answers of 338 tokens (median 225, sigma 0.9), of the order of chats that people shared. A token is taken for 1/1.3 of a
word; what the servers counted is in the results. The texts are words drawn at random: only their lengths matter, and no two
begin alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from bench.host.apis import Ask

GUIDE = (
    "What is machine learning?",
    "Explain neural networks in simple terms",
    "What are the benefits of deep learning?",
    "Describe supervised learning",
    "What is unsupervised learning?",
)
PROMPT_MEDIAN, PROMPT_SIGMA = 88.0, 1.1
ANSWER_MEDIAN, ANSWER_SIGMA = 225.0, 0.9
TOKENS_PER_WORD = 1.3
_WORDS = (
    "about", "after", "again", "answer", "before", "between", "bring", "carry", "change", "close", "could", "count",
    "early", "earth", "every", "field", "find", "first", "follow", "form", "give", "great", "group", "hand", "head",
    "help", "house", "important", "keep", "large", "learn", "letter", "light", "line", "live", "long", "make",
    "mean", "might", "mother", "move", "name", "never", "night", "number", "often", "order", "other", "paper",
    "part", "people", "place", "plant", "point", "river", "round", "school", "second", "sentence", "should", "show",
    "small", "sound", "spell", "stand", "start", "state", "story", "study", "system", "table", "their", "thing",
    "think", "three", "through", "time", "together", "travel", "tree", "turn", "under", "until", "voice", "watch",
    "water", "while", "white", "whole", "without", "woman", "word", "work", "world", "would", "write", "year",
    "young",
)  # fmt: skip

WORKLOADS = {
    "guide": "the guide's five prompts, word for word",
    "mix": "lengths as in conversations (ShareGPT), no two prompts begin alike",
    "prefix-cold": "a long beginning that no earlier prompt had, and a question",
    "prefix-repeated": "one long beginning for all, and a question of its own: what prefix caching is for",
}


@dataclass(frozen=True)
class Lengths:
    """What bounds prompts and answers."""

    longest_prompt: int = 790  # words
    longest_answer: int = 512  # tokens
    prefix: int = 600  # words


def text(random: Random, words: int) -> str:
    """So many words."""
    return " ".join(random.choices(_WORDS, k=words))


def drawn(random: Random, median: float, sigma: float) -> float:
    """A number from the log-normal distribution with this median."""
    return random.lognormvariate(math.log(median), sigma)


def asks(workload: str, count: int, stream: bool, lengths: Lengths, seed: int, salt: str) -> list[Ask]:
    """The requests of a cell. Lengths follow from the seed, words also from the salt.

    The salt differs between targets and runs: two targets may be the same vLLM, and what one asked would be in its cache
    for the other.

    :param workload: one of WORKLOADS.
    """
    shape = Random(f"{seed} {workload}")
    words = Random(f"{seed} {workload} {salt}")
    if workload == "guide":
        return [Ask(GUIDE[number % len(GUIDE)], lengths.longest_answer, stream) for number in range(count)]
    if workload == "mix":
        return [_of_mix(shape, words, stream, lengths) for _ in range(count)]
    tokens = min(32, lengths.longest_answer)
    shared = text(words, lengths.prefix)
    found = []
    for number in range(count):
        beginning = shared if workload == "prefix-repeated" else text(words, lengths.prefix)
        found.append(Ask(f"{beginning}\n\nQuestion {number}: {text(words, 8)}?", tokens, stream))
    return found


def _of_mix(shape: Random, words: Random, stream: bool, lengths: Lengths) -> Ask:
    prompt = round(drawn(shape, PROMPT_MEDIAN, PROMPT_SIGMA) / TOKENS_PER_WORD)
    answer = round(drawn(shape, ANSWER_MEDIAN, ANSWER_SIGMA))
    prompt, answer = min(max(prompt, 4), lengths.longest_prompt), min(max(answer, 4), lengths.longest_answer)
    return Ask(text(words, prompt), answer, stream)
