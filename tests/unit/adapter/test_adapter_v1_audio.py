from __future__ import annotations

import pytest

from ollama_adapter.go.json import BadBody
from ollama_adapter.v1.audio import Form, read_form
from ollama_adapter.vllm.to_vllm import audio_format

TYPE = 'multipart/form-data; charset=utf-8; boundary="b o"'


def part(name: str, content: bytes, more: str = "") -> bytes:
    return f'--b o\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content + b"\r\n"


FILE = part("file", b"RIFF\r\n\r\n--b\xff", '; filename="a.wav"')
MODEL = part("model", b"whisper")
END = b"--b o--\r\n"


def test_a_form_is_read_to_the_byte() -> None:
    form = read_form(TYPE, MODEL + part("language", b"en") + FILE + END)
    assert (form.text("model"), form.text("language"), form.text("prompt")) == ("whisper", "en", "")
    assert form.file == b"RIFF\r\n\r\n--b\xff"


def test_what_is_sent_on_reads_as_the_same_form_with_another_model() -> None:
    form = read_form(TYPE, FILE + MODEL + part("response_format", b"text") + part("stream", b"true") + END)
    sent = read_form("multipart/form-data; boundary=x", form.for_vllm("llm", b"x"))
    assert sent == Form({"model": b"llm", "response_format": b"json"}, form.file_head, form.file)


@pytest.mark.parametrize(
    ("content_type", "body", "problem"),
    [
        ("application/json", b"{}", "failed to parse multipart form: request Content-Type isn't multipart/form-data"),
        ("", b"", "failed to parse multipart form: request Content-Type isn't multipart/form-data"),
        (TYPE, b"", "failed to parse multipart form: multipart: NextPart: EOF"),
        (TYPE, MODEL, "failed to parse multipart form: multipart: NextPart: EOF"),
        (TYPE, b"--b o\r\nno head\r\n--b o--", "failed to parse multipart form: multipart: NextPart: EOF"),
        (TYPE, FILE + END, "model is required"),
        (TYPE, MODEL + END, "file is required: http: no such file"),
        (TYPE, MODEL + part("file", b"", '; filename="a.wav"') + END, "audio file is empty"),
    ],
)
def test_what_is_wrong_with_a_form_is_said_in_ollamas_words(content_type: str, body: bytes, problem: str) -> None:
    with pytest.raises(BadBody) as error:
        read_form(content_type, body)
    assert str(error.value) == problem


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"RIFF1234WAVEfmt ", "wav"),
        (b"ID3\x04", "mp3"),
        (b"\xff\xfb\x90", "mp3"),
        (b"RIFF1234WEBP", ""),
        (b"\xff\xd8\xff", ""),
    ],
)
def test_recordings_are_told_from_pictures(data: bytes, kind: str) -> None:
    assert audio_format(data) == kind
