"""`/v1/audio/transcriptions`: a form with a recording, passed to a vLLM whose model hears (ollama-api 5.6)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from ..go.json import BadBody, quote
from ..http.error_shapes import OPENAI, PLAIN_JSON
from ..http.exchange import Exchange
from ..models.catalogue import OwnModel
from ..models.requests import unknown_model
from ..upstream.client import Limits
from ..upstream.fetching import Fetch, Fetched
from ..vllm.generation import BUSY, NO_MULTIMODAL, RETRY_AFTER
from ..vllm.refusals import refusal

PATH = b"/v1/audio/transcriptions"
_READ = ("language", "prompt", "temperature")

_BOUNDARY = re.compile(r"^multipart/form-data\s*;(?:.*;)?\s*boundary=(?:\"([^\"]+)\"|([^;\s]+))", re.IGNORECASE)
_NAME = re.compile(rb'^content-disposition:\s*form-data;(?:[^\r\n]*;)?\s*name="([^"]*)"', re.IGNORECASE | re.MULTILINE)
_FILE_NAME = re.compile(rb'^content-disposition:[^\r\n]*;\s*filename="', re.IGNORECASE | re.MULTILINE)


@dataclass
class Form:
    """A form: its fields, and the file with the head of its part."""

    fields: dict[str, bytes] = field(default_factory=dict)
    file_head: bytes = b""
    file: bytes | None = None

    def text(self, name: str) -> str:
        """The value of a field; empty where it is not there."""
        return self.fields.get(name, b"").decode("utf-8", "replace")

    def for_vllm(self, served_model: str, boundary: bytes) -> bytes:
        """The body of a form with what Ollama reads of this one, and the model's name in vLLM."""
        fields = {name: self.fields[name] for name in _READ if name in self.fields}
        fields |= {"model": served_model.encode(), "response_format": b"json"}
        parts = [
            b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (boundary, name.encode(), value)
            for name, value in fields.items()
        ]
        parts += (b"--%b%b\r\n\r\n" % (boundary, self.file_head), self.file or b"", b"\r\n--%b--\r\n" % boundary)
        return b"".join(parts)


def read_form(content_type: str, body: bytes) -> Form:
    """Read a form.

    :raises BadBody: in Ollama's words: it is no form, or something required is missing.
    """
    problem = "failed to parse multipart form: "
    match = _BOUNDARY.match(content_type)
    if match is None:
        raise BadBody(problem + "request Content-Type isn't multipart/form-data")
    form = Form()
    delimiter = b"--" + (match.group(1) or match.group(2)).encode("latin-1")
    start = body.find(delimiter)
    while start >= 0:
        start += len(delimiter)
        if body.startswith(b"--", start):
            break
        end = body.find(b"\r\n" + delimiter, start)
        head_end = body.find(b"\r\n\r\n", start)
        if end < 0 or not 0 <= head_end < end:
            raise BadBody(problem + "multipart: NextPart: EOF")
        head = body[start:head_end]
        name = _NAME.search(head)
        if name is not None:
            _keep(form, name.group(1).decode("utf-8", "replace"), head, body[head_end + 4 : end])
        start = end + 2
    else:
        raise BadBody(problem + "multipart: NextPart: EOF")
    if not form.text("model"):
        raise BadBody("model is required")
    if form.file is None:
        raise BadBody("file is required: http: no such file")
    if not form.file:
        raise BadBody("audio file is empty")
    return form


def _keep(form: Form, name: str, head: bytes, content: bytes) -> None:
    if _FILE_NAME.search(head) is None:
        form.fields.setdefault(name, content)
    elif name == "file" and form.file is None:
        form.file_head, form.file = head, content


class Transcriptions:
    """Answers the route, once it is known whose model is asked for."""

    def __init__(self, used: Callable[[OwnModel], None]) -> None:
        """:param used: called when a model has been used."""
        self._used = used

    def answer(self, exchange: Exchange, form: Form, own: OwnModel | None) -> None:
        """Answer, now or later."""
        exchange.error_shape = OPENAI
        backend = own.backend if own is not None else None
        if own is None or backend is None:
            exchange.respond_error(*unknown_model("chat", form.text("model")))
        elif not backend.can("audio"):
            # Ollama hands the recording to its chat, as it would a picture: so it answers for a model without ears.
            exchange.respond_error(400, NO_MULTIMODAL)
        elif backend.is_full:
            exchange.respond_error(503, BUSY, [RETRY_AFTER])
        else:
            self._ask(exchange, form, own)

    def _ask(self, exchange: Exchange, form: Form, own: OwnModel) -> None:
        settings = own.backend.settings
        boundary = secrets.token_hex(16).encode()
        headers = b"Content-Type: multipart/form-data; boundary=%b\r\nX-Request-Id: %b\r\n" % (
            boundary,
            exchange.request_id.encode(),
        )

        def answered(answer: Fetched) -> None:
            text = _text_in(answer) if answer.is_ok else None
            if not answer.is_ok:
                found = refusal(answer, settings.served_model)
                exchange.respond_error(found.status, found.message, found.headers)
            elif text is None:
                exchange.respond_error(502, "vLLM sent no transcription")
            else:
                self._used(own)
                if form.text("response_format") == "text":
                    exchange.respond(200, text.encode(), b"text/plain")
                else:
                    exchange.respond(200, b'{"text":%b}\n' % quote(text), PLAIN_JSON)

        limits = Limits(settings.answer_timeout_s, settings.answer_timeout_s)
        body = form.for_vllm(settings.served_model, boundary)
        exchange.call = own.backend.upstream.send(b"POST", PATH, Fetch(answered), limits, headers=headers, body=body)


def _text_in(answer: Fetched) -> str | None:
    try:
        decoded = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    text = decoded.get("text") if isinstance(decoded, dict) else None
    return text.strip() if isinstance(text, str) else None
