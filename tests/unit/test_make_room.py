"""make-room: vision unloads, the card is waited for, and what holds it is named."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from roles.host_programs import load

make_room: Any = load(Path("roles/gpu_sharing/host/make-room"))
MEMORY = "GPU-aaaa, 40960, {free}\nGPU-bbbb, 23034, 100\n"
APPS = "GPU-aaaa, 4711, python3, 9000\nGPU-aaaa, 4712, ollama, 5000\nGPU-bbbb, 4713, other, 1\n"


class Vision:
    """A server with one loaded model; `free` is what the card has free, more once the model is gone."""

    def __init__(self) -> None:
        self.loaded, self.asked = ["llava:7b"], list[dict[str, Any]]()
        vision = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer({"models": [{"name": name} for name in vision.loaded]})

            def do_POST(self) -> None:
                vision.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                vision.loaded.remove(vision.asked[-1]["model"])
                self.answer({"done": True})

            def answer(self, body: object) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> Iterator[Vision]:
    vision = Vision()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaaa,GPU-bbbb")

    def nvidia_smi(question: str) -> str:
        return APPS if "apps" in question else MEMORY.format(free=20000 if vision.loaded else 40000)

    monkeypatch.setattr(make_room, "nvidia_smi", nvidia_smi)
    monkeypatch.setattr(make_room, "cgroup", lambda pid: "0::/system.slice/ollama-vision.service" * (pid == "4712"))
    yield vision
    vision.server.shutdown()
    vision.server.server_close()


def test_vision_unloads_and_the_card_is_free(vision: Vision) -> None:
    assert make_room.main(["--vision", vision.url, "--fraction", "0.9", "--timeout", "5"]) == 0
    assert vision.asked == [{"model": "llava:7b", "keep_alive": 0, "stream": False}]


def test_a_vision_server_that_is_down_is_no_fault(vision: Vision, capsys: pytest.CaptureFixture[str]) -> None:
    vision.loaded.clear()
    assert make_room.main(["--vision", "http://127.0.0.1:9", "--fraction", "0.9", "--timeout", "1"]) == 0
    assert "does not answer" in capsys.readouterr().out


def test_memory_that_does_not_come_is_an_error_with_numbers_and_holders(
    vision: Vision, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make_room.main(["--vision", vision.url, "--fraction", "0.99", "--timeout", "0"]) == 1
    said = capsys.readouterr().err
    assert "card GPU-aaaa: vLLM needs 40550 MiB free of 40960 MiB, 40000 MiB are free" in said
    assert "pid 4711 python3 holds 9000 MiB of card GPU-aaaa, and is no service of this system" in said
    assert "4712" not in said  # ours
    assert "GPU-bbbb" not in said  # not vLLM's: one card in parallel


def test_a_fixed_kv_cache_needs_the_weights_too(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"x" * 3000)
    (tmp_path / "config.json").write_bytes(b"x" * 500)
    assert make_room.size_of(tmp_path) == 3000
    assert make_room.needed_mib(40960, None, 5 << 30) == 5120
    assert make_room.needed_mib(40960, 0.5, 0) == 20480
