from __future__ import annotations

import base64
import json
import math
import random
import struct
from array import array

import pytest

from ollama_adapter.go.json import BadBody
from ollama_adapter.go.numbers import float32_list, float64_list
from ollama_adapter.ollama.embedding import does_not_generate, tokens_to_keep
from ollama_adapter.ollama.small_requests import read_fields
from ollama_adapter.ollama.vectors import BadVector, check_finite, embedding, from_base64
from ollama_adapter.upstream.fetching import Fetched
from ollama_adapter.vllm.embedding_job import Inputs, batches, to_vllm_body
from ollama_adapter.vllm.refusals import refusal
from tests.contract.recorded import ollama

RECORDED = {recorded.name: recorded.answer.body for recorded in ollama()}


def written(name: str) -> list[str]:
    """The vectors of a recorded answer of `/api/embed`, as Ollama wrote them."""
    body = RECORDED[name]
    return [f"[{numbers}]" for numbers in body[body.index("[[") + 2 : body.index("]]")].split("],[")]


@pytest.mark.parametrize("name", ["em_string", "em_array", "em_array_empty_string", "em_dims"])
def test_float32_is_written_as_ollama_writes_it(name: str) -> None:
    for vector in written(name):
        assert float32_list(array("f", json.loads(vector))) == vector.encode()


def test_float64_is_written_as_ollama_writes_it() -> None:
    body = RECORDED["ems_prompt"]
    assert b'{"embedding":%b}' % float64_list(json.loads(body)["embedding"]) == body.encode()


def test_every_bit_of_a_normalised_vector_is_ollamas() -> None:
    raw = array("f", json.loads(RECORDED["ems_prompt"])["embedding"])  # the older route does not normalise
    assert float32_list(embedding(raw, 0)).decode() == written("em_string")[0]
    assert float32_list(embedding(raw, 8)).decode() == written("em_dims")[0]
    assert float32_list(embedding(raw, 99999)).decode() == written("em_dims_big")[0]


def test_numbers_beyond_the_usual_are_written_as_go_does() -> None:
    values = [0.5, 1, 0, -0.0, 1e-6, 9.5e-6, -1.5e-6, 9e-7, 1e-10, 3e20, 1e21, 16777216, 1e16, 2**-20, 1e-45]
    assert float32_list(array("f", values)) == (
        b"[0.5,1,0,-0,0.000001,0.0000095,-0.0000015,9e-7,1e-10,300000000000000000000,1e+21,16777216,10000000000000000,"
        b"9.536743e-7,1e-45]"
    )
    assert float64_list([123456789012345680000.0, 1e21, 1.5e-6]) == b"[123456789012345680000,1e+21,0.0000015]"
    assert float32_list(array("f")) == b"[]"


@pytest.mark.parametrize("scale", [1e-7, 1e-3, 0.03, 0.5, 10, 1e6])
def test_a_written_float32_reads_back_and_no_shorter_decimal_does(scale: float) -> None:
    values = array("f", [random.Random(number).gauss(0, scale) for number in range(2000)])
    texts = float32_list(values).decode()[1:-1].split(",")
    assert array("f", map(float, texts)) == values
    for value, text in zip(values, texts, strict=True):
        digits = len(text.partition("e")[0].replace(".", "").lstrip("-0").rstrip("0"))
        shorter = float(f"{value:.{max(digits - 2, 0)}e}")
        assert digits == 1 or struct.pack("f", shorter) != struct.pack("f", value), text


def test_zeros_stay_zeros_and_a_vector_that_is_not_finite_is_an_error() -> None:
    assert embedding(array("f", [0.0, 0.0]), 0) == array("f", [0.0, 0.0])
    for value in (math.nan, math.inf):
        with pytest.raises(BadVector, match="embedding contains NaN or Inf values"):
            embedding(array("f", [1.0, value]), 0)
        with pytest.raises(BadVector):
            check_finite(array("f", [value]))


def test_vectors_come_as_base64() -> None:
    assert from_base64(base64.b64encode(struct.pack("<2f", 1.0, -0.5)).decode()) == array("f", [1.0, -0.5])
    for broken in ("AAA", "AAAA", "!!!!"):
        with pytest.raises(BadVector):
            from_base64(broken)


@pytest.mark.parametrize(
    ("max_model_len", "num_ctx", "kept"),
    [(2048, 0, 2047), (2048, 4096, 2047), (2048, 100, 99), (2048, 1, 3), (2048, -1, 2047), (0, 100, 0), (1, 0, 1)],
)
def test_a_long_input_keeps_one_token_fewer_than_the_context_has(max_model_len: int, num_ctx: int, kept: int) -> None:
    assert tokens_to_keep(max_model_len, num_ctx) == kept


def test_many_texts_are_sent_in_bounded_batches_that_keep_their_order() -> None:
    texts = [str(number) for number in range(1000)]
    found = list(batches(texts))
    assert [text for batch in found for text in batch] == texts
    assert max(map(len, found)) == 256
    large = ["x" * 3_000_000] * 3
    assert [len(batch) for batch in batches(large)] == [1, 1, 1]


def test_the_end_of_a_long_text_is_cut_off_only_where_that_is_asked_for() -> None:
    def body(truncate: bool, keep: int) -> dict[str, object]:
        return json.loads(to_vllm_body("llm", ["a"], Inputs(["a"], truncate, keep)))  # type: ignore[no-any-return]

    assert body(False, 7) == {"model": "llm", "input": ["a"], "encoding_format": "base64"}
    assert body(True, 7) == {**body(False, 7), "truncate_prompt_tokens": 7, "truncation_side": "right"}
    assert body(True, 0)["truncate_prompt_tokens"] == -1


@pytest.mark.parametrize("value", [5, True, {}, ["a", 5], ["a", None], [["a"]]])
def test_an_input_that_is_no_text_and_no_list_of_texts_is_refused(value: object) -> None:
    with pytest.raises(BadBody, match="invalid input type"):
        read_fields("embed", {"model": "m", "input": value})


def test_a_model_that_embeds_does_not_generate() -> None:
    assert does_not_generate("chat", "X", {"embedding"}.__contains__) == '"X" does not support chat'
    assert does_not_generate("generate", "X", {"completion"}.__contains__) is None


@pytest.mark.parametrize(
    ("answer", "status", "part"),
    [
        (Fetched(0, reason="vLLM is not reachable", is_unreachable=True), 503, "vLLM is starting or stopped"),
        (Fetched(0, reason="vLLM did not answer within 1 s"), 503, "within 1 s"),
        (Fetched(503, b'{"error":{"message":"busy"}}'), 503, "server busy"),
        (Fetched(500, b'{"error":{"message":"EngineCore encountered an issue"}}'), 503, "started again"),
        (Fetched(500, b'{"error":{"message":"boom"}}'), 500, "boom"),
        (Fetched(404, b'{"error":{"message":"The model `llm` does not exist."}}'), 503, "does not serve 'llm'"),
        (Fetched(401, b'{"error":"Unauthorized"}'), 502, "api_key_file"),
        (Fetched(400, b'{"error":{"message":"too much"}}'), 400, "too much"),
        (Fetched(302, b""), 502, "status 302"),
    ],
)
def test_what_vllm_refuses_is_told_with_a_status_that_fits(answer: Fetched, status: int, part: str) -> None:
    found = refusal(answer, "llm")
    assert found.status == status
    assert part in found.message
    assert bool(found.headers) == (status == 503)
