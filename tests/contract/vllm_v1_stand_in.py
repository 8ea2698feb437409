"""The parts of the stand-in for vLLM that only the adapter's `/v1/*` routes use, as seen at vLLM 0.32.0."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_NOT_FOUND = 404, b'{"detail":"Not Found"}'


def calls_tools(body: Mapping[str, Any]) -> bool:
    """Whether a request lets the model call: with `none` the template still renders the tools, so a call that the model
    writes all the same comes back as text."""
    return bool(body.get("tools")) and body.get("tool_choice") != "none"


def finish_of_calls(body: Mapping[str, Any]) -> str:
    """Why an answer that calls has ended: `stop` where the request names the function, which Ollama never does."""
    return "stop" if isinstance(body.get("tool_choice"), dict) else "tool_calls"


def decision(body: Mapping[str, Any], served: tuple[str, ...], answers: Mapping[str, Any] | None) -> tuple[int, bytes]:
    """The answer of `/v1/systemone`; without `answers` that of a model which takes no decisions."""
    if body.get("model", served[0]) not in served:
        return 404, _error(404, "NotFoundError", f"The model `{body['model']}` does not exist.", "model")
    unknown = body.keys() - {"model", "state", "questions"}
    if unknown:
        return 400, _error(
            400, "Bad Request", f"1 validation error:\n  {sorted(unknown)}: Extra inputs are not permitted"
        )
    if answers is None:
        return 501, _error(501, "NotImplementedError", "The model does not support the structured decision API")
    usage = {"input_tokens": 9, "output_tokens": 1}
    return 200, json.dumps({"model": served[0], "answers": answers, "usage": usage}).encode()


def transcription(headers: Mapping[str, str], body: bytes, served: tuple[str, ...], text: str) -> tuple[int, bytes]:
    """The answer of `/v1/audio/transcriptions`; without a text that of a model that does not hear: no such route."""
    if not text:
        return _NOT_FOUND
    fields = form_fields(headers, body)
    if fields.get("model") not in served:
        return 404, _error(404, "NotFoundError", f"The model `{fields.get('model')}` does not exist.", "model")
    if not fields.get("file"):
        return 400, _error(400, "BadRequestError", "file is required")
    return 200, json.dumps({"text": f" {text} ", "usage": {"type": "duration", "seconds": 1}}).encode()


def form_fields(headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """The fields of a form, a file's content among them."""
    boundary = headers["content-type"].partition("boundary=")[2].encode()
    fields = {}
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'[; ]name="([^"]*)"', head)
        assert name is not None, head
        fields[name.group(1).decode()] = content.removesuffix(b"\r\n").decode("latin-1")
    return fields


def _error(status: int, kind: str, message: str, parameter: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": parameter, "code": status}}).encode()
