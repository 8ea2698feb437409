"""A service as the thirteen are: it asks the Ollama API as they do, with what its environment says. Runs in a container.

GET /health answers 200; POST /run asks, and answers with what it was told, by request.
"""

import base64
import json
import os
import struct
import sys
import urllib.error
import urllib.request
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = int(os.environ["PORT"])


def ask(method: str, url: str, body: Any = None) -> tuple[int, Any]:
    """(status, answer) of one request."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as problem:
        return problem.code, problem.read().decode(errors="replace")


def red_square() -> str:
    """A PNG of 64 by 64 red points, base64."""

    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    rows = (b"\0" + b"\xff\0\0" * 64) * 64
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(png).decode()


def text(url: str, model: str) -> dict[str, Any]:
    prompt = {"model": model, "prompt": "Client earned $50k.", "stream": False, "temperature": 0.1, "num_predict": 4}
    generated, answer = ask("POST", url + "/api/generate", prompt)
    tags, listed = ask("GET", url + "/api/tags")
    shown_by_get, _ = ask("GET", url + "/api/show")
    shown, facts = ask("POST", url + "/api/show", {"model": model})
    embedded, vector = ask("POST", url + "/api/embeddings", {"model": "nomic-embed-text", "prompt": "debt"})
    return {
        "generate": [generated, bool(answer["response"]) if generated == 200 else answer],
        "tags": [tags, model in [one["name"] for one in listed["models"]]],
        "GET show": shown_by_get,
        "show": [shown, "details" in facts],
        "embeddings": [embedded, len(vector["embedding"]) > 0 if embedded == 200 else vector],
    }


def vision(url: str, model: str) -> dict[str, Any]:
    body = {
        "model": model,
        "prompt": "What is this?",
        "images": [red_square()],
        "stream": False,
        "options": {"num_predict": 2},
    }
    status, answer = ask("POST", url + "/api/generate", body)
    return {"image": [status, isinstance(answer["response"], str) if status == 200 else answer]}


class Service(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer({"ok": True} if self.path == "/health" else None)

    def do_POST(self) -> None:
        found: dict[str, Any] = {}
        if "OLLAMA_URL" in os.environ:
            found.update(text(os.environ["OLLAMA_URL"], os.environ["OLLAMA_MODEL"]))
        if "VISION_OLLAMA_URL" in os.environ:
            found.update(vision(os.environ["VISION_OLLAMA_URL"], os.environ["VISION_MODEL"]))
        self.answer(found)

    def answer(self, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *words: object) -> None:
        pass


if "//crash" in os.environ.get("OLLAMA_URL", ""):
    sys.exit("this service cannot live with OLLAMA_URL=" + os.environ["OLLAMA_URL"])
ThreadingHTTPServer(("0.0.0.0", PORT), Service).serve_forever()
