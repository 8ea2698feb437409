"""Pictures through the adapter: a vision model of vLLM answers Ollama's clients about what they show.

Against the recorded answers of a real vLLM 0.32.0 that serves the lab's miniature vision model, which names a picture's colour,
and against that vLLM itself (marker `engines`). So it is known that pixels arrive, not only that a request is worded well.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab import engines
from tests.conftest import REAL, UPSTREAMS
from tests.contract.adapter_process import FACTS, AdapterProcess
from tests.contract.recorded_vision import APPROVE, RecordedVision

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def png(colour: tuple[int, int, int], width: int = 48, height: int = 48) -> str:
    """A picture of one colour, in base64 as Ollama's clients send it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes(colour) * width) * height
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(data).decode()


def too_many_pixels() -> str:
    """A header that promises 900 million pixels; Pillow refuses on reading it."""
    data = base64.b64decode(png(RED))
    head = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return base64.b64encode(data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]).decode()


@pytest.fixture(scope="module", params=UPSTREAMS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordedVision]:
    """What the adapter asks: the recordings, or a real vLLM through a server that compares its answers with them."""
    with ExitStack() as stack:
        url = ""
        if request.param == REAL:
            if reason := engines.why_not():
                pytest.skip(reason)
            url = stack.enter_context(engines.running(["vision"], tmp_path_factory.mktemp("vllm")))["vision"].url
        one = stack.enter_context(RecordedVision(url))
        yield one
        if url and APPROVE:
            one.approve()


Ask = Callable[[str, dict[str, Any]], httpx.Response]


@pytest.fixture(scope="module")
def ask(server: RecordedVision, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Sends a request for the vision model."""
    vllm = {"url": server.url, "aliases": ["llava:7b"], **FACTS, "capabilities": ["completion", "vision"]}
    with AdapterProcess(tmp_path_factory.mktemp("adapter"), vllm=vllm) as adapter:

        def post(path: str, body: dict[str, Any]) -> httpx.Response:
            return httpx.post(f"http://127.0.0.1:{adapter.port}{path}", json={"model": "llava:7b", **body}, timeout=240)

        yield post


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize(
    ("colour", "said"), [(RED, " Red picture."), (GREEN, " Green picture."), (BLUE, " Blue picture.")]
)
def test_a_question_about_a_picture_is_answered_by_what_it_shows(
    ask: Ask, colour: tuple[int, int, int], said: str
) -> None:
    answer = ask("/api/generate", {"prompt": "What is it?", "images": [png(colour)], "stream": False})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["response"], told["done"], told["eval_count"]) == (said, True, 4)


def test_a_streamed_answer_comes_in_ollamas_lines(ask: Ask) -> None:
    *parts, last = lines(ask("/api/generate", {"prompt": "What is it?", "images": [png(BLUE)]}))
    assert "".join(part["response"] for part in parts) == " Blue picture."
    assert (last["done"], last["done_reason"], last["eval_count"]) == (True, "stop", 4)


def test_a_chat_sees_the_pictures_of_its_messages(ask: Ask) -> None:
    question = {"role": "user", "content": "What is it?", "images": [png(GREEN)]}
    answer = ask("/api/chat", {"messages": [{"role": "system", "content": "Be brief."}, question], "stream": False})
    assert answer.json()["message"] == {"role": "assistant", "content": " Green picture."}
    streamed = lines(ask("/api/chat", {"messages": [question]}))
    assert "".join(part["message"]["content"] for part in streamed) == " Green picture."


def test_several_pictures_go_along_and_an_earlier_one_stays_in_the_conversation(ask: Ask) -> None:
    two = ask("/api/generate", {"prompt": "What are they?", "images": [png(RED), png(RED, 64, 32)], "stream": False})
    one = ask("/api/generate", {"prompt": "What are they?", "images": [png(RED)], "stream": False})
    assert two.json()["response"] == " Red picture."
    assert len(two.json()["context"]) - len(one.json()["context"]) == 7  # four of the picture, three that wrap it
    before = [
        {"role": "user", "content": "What is it?", "images": [png(RED)]},
        {"role": "assistant", "content": " Red picture."},
    ]
    asked = ask("/api/chat", {"messages": [*before, {"role": "user", "content": "Thanks"}], "stream": False})
    assert asked.json()["message"]["content"] == " The quick brown fox jumps over the lazy dog."


def test_openais_clients_send_pictures_too(ask: Ask) -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png(BLUE)}"}}
    message = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}
    answer = ask("/v1/chat/completions", {"messages": [message]})
    assert answer.json()["choices"][0]["message"]["content"] == " Blue picture."


def test_more_pictures_than_vllm_takes_are_refused_with_its_limit(ask: Ask) -> None:
    answer = ask("/api/generate", {"prompt": "What are they?", "images": [png(RED)] * 5, "stream": False})
    assert answer.status_code == 400
    assert answer.json() == {"error": "At most 4 image(s) may be provided in one prompt. (parameter=image)"}


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_picture_is_the_clients_fault(ask: Ask, stream: bool) -> None:
    text = base64.b64encode(b"this is no picture").decode()
    answer = ask("/api/generate", {"prompt": "What is it?", "images": [text], "stream": stream})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("Failed to load image: cannot identify image file")


def test_a_picture_that_would_unpack_to_gigabytes_is_the_clients_fault(ask: Ask) -> None:
    # vLLM says 500; a 5xx would be an outage to whoever watches the adapter.
    answer = ask("/api/generate", {"prompt": "What is it?", "images": [too_many_pixels()], "stream": False})
    assert answer.status_code == 400
    assert "900000000 pixels" in answer.json()["error"]


def test_what_is_no_base64_is_refused_in_ollamas_words_and_never_sent(server: RecordedVision, ask: Ask) -> None:
    before = len(server.received)
    answer = ask("/api/generate", {"prompt": "What is it?", "images": ["!!!"], "stream": False})
    assert (answer.status_code, answer.json()) == (400, {"error": "illegal base64 data at input byte 0"})
    assert len(server.received) == before


def test_a_picture_that_leaves_no_room_for_its_question_is_refused_as_by_ollama(ask: Ask) -> None:
    body = {"prompt": "What is it?", "images": [png(RED)], "options": {"num_ctx": 64}, "stream": False}
    answer = ask("/api/generate", body)
    assert answer.status_code == 400
    assert "exceeds the available context size (64 tokens)" in answer.json()["error"]


def test_that_a_model_sees_is_found_in_its_configuration_and_shown(
    server: RecordedVision, tmp_path: Path, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "idefics3", "vision_config": {"image_size": 32}}')
    vllm = {"url": server.url, "aliases": ["llava:7b"], "model_directory": str(model)}
    with AdapterProcess(tmp_path, vllm=vllm) as adapter:

        def shown() -> list[str]:
            answer = httpx.post(f"http://127.0.0.1:{adapter.port}/api/show", json={"model": "llava:7b"})
            found: list[str] = answer.json()["capabilities"]
            return found

        eventually(
            lambda: "vision" in shown() and "embedding" not in shown()
        )  # before vLLM has answered all are assumed
        assert shown() == ["completion", "vision"]


@pytest.mark.parametrize("more", [{"raw": True}, {"template": "{{ .Prompt }}"}, {"context": [1, 2, 3]}])
def test_a_picture_is_refused_where_it_would_get_lost(ask: Ask, more: dict[str, Any]) -> None:
    answer = ask("/api/generate", {"prompt": "What is it?", "images": [png(RED)], "stream": False, **more})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"{next(iter(more))} does not work with images")


def test_real_vllm_answers_as_recorded(server: RecordedVision, ask: Ask) -> None:
    """Last, after all the others have asked."""
    assert APPROVE or server.unlike == []
