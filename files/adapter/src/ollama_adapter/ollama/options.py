"""The sampling options of a request, and their names and ranges in vLLM (ollama-api 3.3 and 7.1)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

_SAMPLING_INTEGERS = ("num_predict", "top_k", "repeat_last_n", "seed")
_RUNNER_INTEGERS = ("num_ctx", "num_keep", "num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict")
_INTEGERS = frozenset((*_SAMPLING_INTEGERS, *_RUNNER_INTEGERS))
_PENALTIES = ("repeat_penalty", "presence_penalty", "frequency_penalty")
_FLOATS = frozenset(("temperature", "top_p", "min_p", "typical_p", *_PENALTIES))
_BOOLEANS = frozenset(("use_mmap",))

# Options that the services of the original system send beside `options` instead of inside it.
AT_TOP_LEVEL = ("temperature", "top_p", "top_k", "min_p", "num_predict", *_PENALTIES, "seed", "stop")

# vLLM wants 0 < top_p <= 1; Ollama takes 0 and then keeps one token. The smallest value does the same.
_SMALLEST_TOP_P = 1e-6
# vLLM keeps top_k in 32 bits and the seed in 64.
_LARGEST_TOP_K = 2**31 - 1
_LARGEST_SEED = 2**63 - 1
# Go reads every number into a float64; an integer of JSON can be larger than the largest of those.
_LARGEST = sys.float_info.max


class BadOption(ValueError):
    """An option of the wrong type; Ollama answers 500 with this text."""


def read_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the types of the options.

    Unknown names and nulls are skipped; a fraction given for an integer is cut off, as Home Assistant relies on.

    :raises BadOption: `option "num_ctx" must be of type integer`
    """
    checked: dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST
        if name in _INTEGERS:
            if not number:
                raise BadOption(f'option "{name}" must be of type integer')
            checked[name] = int(value)
        elif name in _FLOATS:
            if not number:
                raise BadOption(f'option "{name}" must be of type float32')
            checked[name] = float(value)
        elif name in _BOOLEANS:
            if not isinstance(value, bool):
                raise BadOption(f'option "{name}" must be of type boolean')
        elif name == "stop":
            if not isinstance(value, list):
                raise BadOption('option "stop" must be of type array')
            if not all(isinstance(item, str) for item in value):
                raise BadOption('option "stop" must be of an array of strings')
            checked[name] = value
    return checked


def top_level_options(body: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that a client put beside `options`; what is inside `options` wins, what has a wrong type is ignored."""
    found: dict[str, Any] = {}
    for name in AT_TOP_LEVEL:
        value = body.get(name)
        if value is None or options.get(name) is not None:
            continue
        if name == "stop" and isinstance(value, str):
            value = [value]
        try:
            found.update(read_options({name: value}))
        except BadOption:
            continue
    return found


def to_sampling_fields(options: Mapping[str, Any], max_model_len: int) -> dict[str, Any]:
    """The fields of a vLLM request for checked options.

    Values outside vLLM's range, which Ollama takes, move to its edge; -1 for `seed` means none is set. A `num_predict`
    that is not positive means no limit: so answers Ollama 0.32.15 for 0 as well (recorded). Names without a counterpart
    (`num_ctx`, `repeat_last_n`, `typical_p`, runner options) are dropped.
    """
    fields: dict[str, Any] = {}
    if "temperature" in options:
        fields["temperature"] = _between(0.0, options["temperature"], 2.0)
    if "top_p" in options:
        fields["top_p"] = _between(_SMALLEST_TOP_P, options["top_p"], 1.0)
    if "top_k" in options:
        fields["top_k"] = min(max(options["top_k"], 0), _LARGEST_TOP_K)
    if "min_p" in options:
        fields["min_p"] = _between(0.0, options["min_p"], 1.0)
    if options.get("repeat_penalty", 0) > 0:
        fields["repetition_penalty"] = options["repeat_penalty"]
    for name in ("presence_penalty", "frequency_penalty"):
        if name in options:
            fields[name] = _between(-2.0, options[name], 2.0)
    if options.get("seed", -1) != -1:
        fields["seed"] = min(max(options["seed"], -_LARGEST_SEED), _LARGEST_SEED)
    if options.get("num_predict", 0) > 0:
        fields["max_tokens"] = min(options["num_predict"], max_model_len)
    stop = [text for text in options.get("stop", ()) if text]
    if stop:
        fields["stop"] = stop
    return fields


def _between(low: float, value: float, high: float) -> float:
    return min(max(value, low), high)
