"""A request for text as a request to vLLM: pure functions, no network."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ..ollama.options import to_sampling_fields
from ..ollama.prompt_template import parse_template
from ..ollama.requests import TextRequest
from .fill_in_the_middle import fill_in

CHAT_PATH = b"/v1/chat/completions"
COMPLETIONS_PATH = b"/v1/completions"
TOKENIZE_PATH = b"/tokenize"
DETOKENIZE_PATH = b"/detokenize"

_MAGIC = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"), (b"BM", "image/bmp"))

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True)
class TextModel:
    """What translation must know about the model that vLLM serves."""

    served_model: str
    max_model_len: int
    capabilities: frozenset[str]
    chat_template: bool
    default_options: Mapping[str, Any]
    fim_template: str = ""  # of a prompt with a suffix: see fill_in_the_middle
    most_stops: int | None = None  # how many stop strings its vLLM takes; None: it has not refused any

    def can(self, capability: str) -> bool:
        """Whether the model has one of Ollama's capabilities: tools, thinking, vision, insert."""
        return capability in self.capabilities


@dataclass(frozen=True)
class VllmRequest:
    """A path and a body for vLLM."""

    path: bytes
    body: bytes
    stops: tuple[str, ...] = ()  # those that vLLM does not take; the answer is streamed then


def to_vllm(request: TextRequest, model: TextModel, *, token_ids: bool = False, room: int | None = None) -> VllmRequest:
    """Translate a request whose options are checked.

    Raw prompts, prompts with a suffix or a template and models without a chat template go to `/v1/completions`,
    everything else to `/v1/chat/completions`: Ollama renders a plain prompt through the chat template too
    (ollama-api 4.1).

    :param token_ids: ask for the ids of prompt and answer, for `context`.
    :param room: the most tokens that the answer may have, beside what the request says.
    :raises BadFormat: see `TextRequest.response_format`.
    """
    fields = _shared_fields(request, model, token_ids, room)
    prompt = text_prompt(request, model)
    if prompt is not None:
        fields["prompt"] = prompt
        return _completion(request, model, fields)
    fields.update(_conversation(request, model, images=model.can("vision") or model.can("audio")))
    if request.logprobs:
        fields["logprobs"] = True
        fields["top_logprobs"] = request.top_logprobs
    left = _cut_stops(fields, model.most_stops)
    return VllmRequest(CHAT_PATH, _encoder.encode(fields), left)


def from_ids(
    request: TextRequest, model: TextModel, prompt_ids: list[int], *, token_ids: bool, room: int | None = None
) -> VllmRequest:
    """The request whose prompt is given as token ids: after `context`, or where the prompt was cut."""
    fields = _shared_fields(request, model, token_ids, room)
    fields["prompt"] = prompt_ids
    return _completion(request, model, fields)


def text_prompt(request: TextRequest, model: TextModel) -> str | None:
    """The prompt of a request whose prompt is no conversation; None for one that vLLM renders.

    A template is not for requests with tools or pictures: only behind the model's own chat template does vLLM read
    calls out of an answer, and take pictures.

    :raises TemplateError: the request's template cannot be read or rendered.
    """
    if request.raw:
        return request.prompt
    if request.template and not request.tools and not request.has_images:
        return _from_template(request, model)
    if request.suffix:
        return fill_in(model.fim_template, request.prompt, request.suffix)
    return None if model.chat_template else chatml_prompt(request)


def _from_template(request: TextRequest, model: TextModel) -> str:
    template = parse_template(request.template)
    think = request.think
    if think is None and template.has_thinking_tags and model.can("thinking"):
        think = True  # a thinking model thinks unless told otherwise (ollama-api 3.5)
    if request.kind == "chat":
        return template.with_messages(request.messages, think=think)
    if request.suffix:
        return template.with_suffix(request.prompt, request.suffix, think)
    system = [{"role": "system", "content": request.system}] if request.system else []
    user = {"role": "user", "content": request.prompt}
    return template.with_messages([*system, *request.messages, user], think=think)


def tokenize_prompt(request: TextRequest, model: TextModel) -> bytes:
    """A body for `/tokenize` that renders the request's prompt as the chat endpoint would."""
    prompt = text_prompt(request, model)
    if prompt is not None:
        return _encoder.encode({"model": model.served_model, "prompt": prompt})
    return _encoder.encode({"model": model.served_model, **_conversation(request, model, images=False)})


def detokenize(model: TextModel, ids: Sequence[int]) -> bytes:
    """A body for `/detokenize`."""
    return _encoder.encode({"model": model.served_model, "tokens": ids})


def tokenize_text(model: TextModel, encoded_text: bytes, *, special: bool) -> bytes:
    """A body for `/tokenize`. The text comes as the inside of a JSON string, which is how the stream collected it."""
    flag = b"true" if special else b"false"
    name = _encoder.encode(model.served_model)
    return b'{"model":%b,"add_special_tokens":%b,"prompt":"%b"}' % (name, flag, encoded_text)


def to_messages(request: TextRequest, *, images: bool) -> list[dict[str, Any]]:
    """The messages of a request in OpenAI's shape."""
    if request.kind == "chat":
        return _chat_messages(request.messages, images=images)
    user: dict[str, Any] = {"role": "user", "content": request.prompt, "images": request.images}
    system = [{"role": "system", "content": request.system}] if request.system else []
    return _chat_messages([*system, *request.messages, user], images=images)


def chatml_prompt(request: TextRequest) -> str:
    """A prompt for a model without a chat template: ChatML, which is what Ollama's engine takes for such a model too
    (recorded: chat_raw_notmpl). A last message of the assistant is gone on with, as in any conversation."""
    messages = to_messages(request, images=False)
    started = messages.pop()["content"] if messages and messages[-1]["role"] == "assistant" else ""
    turns = (f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages)
    return "".join(turns) + "<|im_start|>assistant\n" + started


def image_type(data: bytes) -> str:
    """The media type of a picture, by its first bytes."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((media_type for magic, media_type in _MAGIC if data.startswith(magic)), "image/jpeg")


def audio_format(data: bytes) -> str:
    """The format of a recording, by its first bytes; "" for what is none."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    return "mp3" if data[:3] == b"ID3" or data[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2") else ""


def _conversation(request: TextRequest, model: TextModel, *, images: bool) -> dict[str, Any]:
    """What the chat template gets."""
    messages = to_messages(request, images=images)
    fields: dict[str, Any] = {"messages": messages}
    if messages and messages[-1]["role"] == "assistant" and request.kind == "chat":
        fields["continue_final_message"] = True
        fields["add_generation_prompt"] = False
    if request.tools:
        fields["tools"] = request.tools
    if model.can("thinking"):
        fields.update(_thinking_fields(request.think))
    return fields


def _shared_fields(request: TextRequest, model: TextModel, token_ids: bool, room: int | None) -> dict[str, Any]:
    options = {**model.default_options, **request.options}
    fields: dict[str, Any] = {"model": model.served_model, "stream": request.stream}
    if request.stream:
        fields["stream_options"] = {"include_usage": True}
    fields.update(to_sampling_fields(options, model.max_model_len))
    if room is not None:
        fields["max_tokens"] = min(fields.get("max_tokens", room), room)
    response_format = request.response_format()
    if response_format is not None:
        fields["response_format"] = response_format
    if token_ids:
        fields["return_token_ids"] = True
    fields.update(request.more)
    return fields


def _completion(request: TextRequest, model: TextModel, fields: dict[str, Any]) -> VllmRequest:
    # Without max_tokens this endpoint stops after 16; vLLM lowers a value that is too large for the prompt.
    fields.setdefault("max_tokens", model.max_model_len)
    if request.logprobs:
        fields["logprobs"] = request.top_logprobs
    left = _cut_stops(fields, model.most_stops)
    return VllmRequest(COMPLETIONS_PATH, _encoder.encode(fields), left)


def _cut_stops(fields: dict[str, Any], most: int | None) -> tuple[str, ...]:
    """Take the stop strings that vLLM would refuse out of a request, and have it streamed with token counts all along:
    the answer may be ended before vLLM ends it."""
    stops = fields.get("stop", [])
    if most is None or len(stops) <= most:
        return ()
    fields["stop"] = stops[:most]
    fields["stream"] = True
    fields["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
    return tuple(stops[most:])


def _thinking_fields(think: bool | str | None) -> dict[str, Any]:
    # A thinking model thinks unless told otherwise (ollama-api 3.5). Families disagree about the template's variable.
    wanted = think is not False
    fields: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": wanted, "thinking": wanted}}
    if isinstance(think, str):
        fields["reasoning_effort"] = think
    return fields


def _chat_messages(messages: Iterable[dict[str, Any]], *, images: bool) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = []
    unanswered: list[tuple[str, str]] = []  # (id, name) of calls whose result has not come
    count = 0
    for message in messages:
        out: dict[str, Any] = {"role": message.get("role", ""), "content": message.get("content", "")}
        if images and message.get("images"):
            out["content"] = _content_parts(out["content"], message["images"])
        if message.get("thinking"):
            out["reasoning"] = message["thinking"]
        calls = []
        for call in message.get("tool_calls", ()):
            identifier = call.get("id") or f"call_{count}"
            count += 1
            function = call["function"]
            name = function.get("name", "")
            arguments = _encoder.encode(function.get("arguments", {})).decode()
            calls.append({"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}})
            unanswered.append((identifier, name))
        if calls:
            out["tool_calls"] = calls
        if out["role"] == "tool":
            out["tool_call_id"] = message.get("tool_call_id") or _answered(unanswered, message.get("tool_name", ""))
            if message.get("tool_name"):
                out["name"] = message["tool_name"]
        result.append(out)
    return result


def _answered(unanswered: list[tuple[str, str]], name: str) -> str:
    """The id of the call that a result belongs to: the oldest of that name, else the oldest. Few clients send ids."""
    for position, (identifier, called) in enumerate(unanswered):
        if not name or called == name:
            del unanswered[position]
            return identifier
    return unanswered.pop(0)[0] if unanswered else "call_0"


def _content_parts(text: str, images: Iterable[bytes]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    for image in images:
        if audio := audio_format(image):  # Ollama has no field of its own for it (ollama-api 3.7)
            data = base64.b64encode(image).decode()
            parts.append({"type": "input_audio", "input_audio": {"data": data, "format": audio}})
            continue
        url = f"data:{image_type(image)};base64,{base64.b64encode(image).decode()}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return parts
