"""What the stand-in for vLLM answers to one request: the model's tokens in vLLM's wire format, whole and as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.contract.embedding_stand_in import RequestError
from tests.contract.lab_model_stand_in import CONTEXT, Token, answer, render, tokenize
from tests.contract.vllm_v1_stand_in import calls_tools, finish_of_calls

SERVED = "llm"
_SECOND = {" The": ('{"', -23.470073699951172)}


@dataclass
class Behaviour:
    """How the stand-in answers. The defaults are those of a healthy server."""

    delay_s: float = 0.0  # before each frame of a stream
    tokens_per_frame: int = 1  # vLLM sends several at once when it is ahead of its client
    repeat: int = 1  # says its answer this many times: for long streams
    says: str = ""  # every token of the answer has this text
    limit: int = CONTEXT  # tokens in an answer, where the request sets no limit
    cut_after: int | None = None  # closes the connection after this many frames of a stream
    error_after: int | None = None  # sends an error event after this many frames
    abort_after: int | None = None  # ends with finish_reason "abort", as a vLLM does that is being stopped
    silent_after: int | None = None  # says nothing more after this many frames
    status: int = 200  # answers inference with this status
    error: Any = "boom"  # the message of that answer
    is_hanging: bool = False  # never answers inference
    is_garbage: bool = False  # does not speak HTTP
    sends_comments: bool = False  # keep-alive comments between events
    closes_reused: bool = False  # closes a kept connection when a second request comes, before any answer
    health: int = 200
    served: tuple[str, ...] = (SERVED,)
    max_model_len: int = CONTEXT  # what /v1/models says
    root: str = ""  # the model's directory, as /v1/models says
    chat_template: str | None = None  # what --enable-tokenizer-info-endpoint tells
    metrics: dict[str, float] | None = None  # what --enable-per-request-metrics adds
    decides: dict[str, Any] | None = None  # the answers of a model that takes structured decisions
    hears: str = ""  # what a model that transcribes hears in every recording


@dataclass
class Generated:
    """One answer of the model, in vLLM's shape."""

    body: dict[str, Any]
    variant: str
    is_chat: bool
    behaviour: Behaviour
    prompt_ids: list[int] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    text_end: int = 0
    sent: int = 0  # tokens in the frames so far
    finish: str = "length"
    stop_reason: str | None = None
    thinks: bool = False

    def __post_init__(self) -> None:
        body = self.body
        if body.get("model", SERVED) not in self.behaviour.served:
            raise RequestError(f"The model `{body['model']}` does not exist.", "NotFoundError", "model", 404)
        if body.get("tool_choice") and not body.get("tools"):
            raise RequestError("When using `tool_choice`, `tools` must be set.", parameter="tool_choice")
        if self.is_chat and body.get("tools") and self.variant != "tools":
            raise RequestError('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')
        self._check()
        self.thinks = (
            self.is_chat
            and self.variant == "think"
            and body.get("chat_template_kwargs", {}).get("enable_thinking", True)
        )
        if self.is_chat:
            messages = body["messages"]
            if any(isinstance(message.get("content"), list) for message in messages):
                raise RequestError("llm is not a multimodal model")
            tools = body.get("tools", [])
            self.prompt_ids = tokenize(render(self.variant, messages, tools, thinks=self.thinks), special=True)
        else:
            prompt = body["prompt"]
            self.prompt_ids = prompt if isinstance(prompt, list) else tokenize(prompt, special=True)
        if len(self.prompt_ids) > CONTEXT:
            raise RequestError(
                f"This model's maximum context length is {CONTEXT} tokens. However, your prompt contains at least "
                f"{CONTEXT + 1} input tokens, which exceeds this limit even without any output tokens. Please reduce "
                f"the length of the input prompt. (parameter=input_tokens, value={CONTEXT + 1})",
                parameter="input_tokens",
            )
        self._run()

    def _check(self) -> None:
        body = self.body
        if len(body.get("stop", ())) > 4:
            raise RequestError(
                "1 validation error:\n  {'type': 'too_long', 'loc': 'body.stop', 'msg': 'List should have at most 4 items "
                f"after validation, not {len(body['stop'])}'}}",
                "Bad Request",
                "body.stop",
            )
        if not 0 <= body.get("temperature", 1) <= 2:
            raise RequestError("temperature must be in [0, 2]", parameter="temperature")
        limit = body.get("max_tokens", 16)
        if limit > CONTEXT:
            raise RequestError(
                f"max_tokens={limit} cannot be greater than max_model_len={CONTEXT}.", parameter="max_tokens"
            )
        if limit < 1:
            raise RequestError("max_tokens must be at least 1", parameter="max_tokens")
        if (body.get("response_format") or {}).get("json_schema", {}).get("schema", {}).get("type") == "nonsense":
            raise RequestError("Grammar error: Invalid type: nonsense")
        if body.get("tools") and self.variant != "tools":
            raise RequestError('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')

    def _run(self) -> None:
        limit = self.body.get("max_tokens", self.behaviour.limit if self.is_chat else 16)
        tokens = answer(self.prompt_ids, as_json=bool(self.body.get("response_format")))
        if self.behaviour.says:
            tokens = [Token(token.number, self.behaviour.says) for token in tokens[:-1]] + tokens[-1:]
        tokens = [*tokens[:-1] * self.behaviour.repeat, tokens[-1]]
        stops = self.body.get("stop", ())
        if self.behaviour.repeat == 1:  # the answer ends with the context, but for those that are told to be endless
            limit = min(limit, CONTEXT - len(self.prompt_ids))
        for token in tokens[:limit]:
            self.tokens.append(token)
            self.text_end += len(token.text)
            if not token.text:
                self.finish = "stop"
            elif stops:
                text = "".join(token.text for token in self.tokens)
                self.stop_reason = next((stop for stop in stops if stop in text), None)
                if self.stop_reason is not None:
                    self.finish, self.text_end = "stop", text.index(self.stop_reason)
                    break

    def whole(self) -> bytes:
        """The answer in one piece."""
        text = "".join(token.text for token in self.tokens)[: self.text_end]
        ids = [token.number for token in self.tokens] if self.body.get("return_token_ids") else None
        prompt_ids = self.prompt_ids if self.body.get("return_token_ids") else None
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": self.finish if self.behaviour.abort_after is None else "abort",
            "stop_reason": self.stop_reason,
            "token_ids": ids,
        }
        answer: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": SERVED}
        if self.is_chat:
            message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "reasoning": None}
            if self.thinks:
                reasoning, _, content = text.removeprefix("<think>").partition("</think>")
                message |= {"reasoning": reasoning, "content": content}
            if calls_tools(self.body) and self.finish == "stop":
                call = json.loads(text)
                function = {"name": call["name"], "arguments": json.dumps(call["parameters"])}
                message |= {
                    "content": None,
                    "tool_calls": [{"id": "chatcmpl-tool-1", "type": "function", "function": function}],
                }
                choice["finish_reason"] = finish_of_calls(self.body)
            choice |= {"message": message, "logprobs": self._logprobs(self.tokens)}
            answer["prompt_token_ids"] = prompt_ids
        else:
            choice |= {"text": text, "logprobs": None, "prompt_token_ids": prompt_ids}
        answer |= {"choices": [choice], "usage": self._usage(), "metrics": self.behaviour.metrics}
        return _dumps(answer)

    def frames(self) -> Iterator[bytes]:
        """The payloads of a stream, without the last, which is always [DONE]."""
        wants_ids = self.body.get("return_token_ids")
        if self.is_chat:
            first = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
            ids = self.prompt_ids if wants_ids else None
            yield self._chunk(choices=[first], prompt_token_ids=ids, prompt_text=None)
        if calls_tools(self.body):
            yield from self._tool_frames()
        else:
            yield from self._text_frames()
        if self.body.get("stream_options", {}).get("include_usage"):
            metrics = {"metrics": self.behaviour.metrics} if self.behaviour.metrics else {}
            yield self._chunk(choices=[], usage=self._usage(), **metrics)

    def frame(
        self, text: str, tokens: list[Token], *, finish: str | None = None, reasoning: str | None = None
    ) -> bytes:
        """One chunk of a stream."""
        self.sent += len(tokens)
        ids = [token.number for token in tokens] if self.body.get("return_token_ids") else None
        ending: dict[str, Any] = {"finish_reason": finish}
        if not self.is_chat:
            ending |= {"stop_reason": self.stop_reason if finish else None, "prompt_token_ids": None, "token_ids": ids}
            if tokens and tokens[0] is self.tokens[0] and self.body.get("return_token_ids"):
                ending["prompt_token_ids"] = self.prompt_ids
            return self._chunk(choices=[{"index": 0, "text": text, "logprobs": None, **ending}])
        if finish:
            ending["stop_reason"] = self.stop_reason
        delta = {} if reasoning is None and tokens and not text and not finish else {"content": text}
        if reasoning is not None:
            delta = {"reasoning": reasoning}
        logprobs = self._logprobs(tokens)
        return self._chunk(choices=[{"index": 0, "delta": delta, "logprobs": logprobs, **ending, "token_ids": ids}])

    def _text_frames(self) -> Iterator[bytes]:
        size = self.behaviour.tokens_per_frame
        sent, is_thinking = 0, self.thinks
        for start in range(0, len(self.tokens), size):
            group = self.tokens[start : start + size]
            is_last = start + size >= len(self.tokens)
            text = "".join(token.text for token in group)[: max(self.text_end - sent, 0)]
            sent += sum(len(token.text) for token in group)
            finish = self.finish if is_last else None
            if is_thinking and text in ("<think>", "</think>"):
                is_thinking = text == "<think>"
                yield self.frame("", group)
            else:
                yield self.frame(text, group, finish=finish, reasoning=text if is_thinking else None)

    def _tool_frames(self) -> Iterator[bytes]:
        call = json.loads("".join(token.text for token in self.tokens))
        arguments = json.dumps(call["parameters"])
        parts: list[dict[str, Any]] = [
            {"id": "chatcmpl-tool-1", "type": "function", "index": 0, "function": {"name": call["name"]}},
            *({"index": 0, "function": {"arguments": arguments[at : at + 5]}} for at in range(0, len(arguments), 5)),
        ]
        for number, part in enumerate(parts, 1):
            finish = (
                {"finish_reason": finish_of_calls(self.body), "stop_reason": None}
                if number == len(parts)
                else {"finish_reason": None}
            )
            choice = {"index": 0, "delta": {"tool_calls": [part]}, "logprobs": None, **finish, "token_ids": None}
            yield self._chunk(choices=[choice])

    def _chunk(self, *, choices: list[dict[str, Any]], **fields: Any) -> bytes:
        kind, prefix = ("chat.completion.chunk", "chatcmpl") if self.is_chat else ("text_completion", "cmpl")
        start = {"id": f"{prefix}-9ab48da4ed26cbc5", "object": kind, "created": 1795449210, "model": SERVED}
        if choices and self.body.get("stream_options", {}).get("continuous_usage_stats"):
            fields = {"usage": self._usage(self.sent), **fields}
        return _dumps({**start, "choices": choices, **fields})

    def _usage(self, sent: int | None = None) -> dict[str, int]:
        prompt, output = len(self.prompt_ids), len(self.tokens) if sent is None else sent
        return {"prompt_tokens": prompt, "total_tokens": prompt + output, "completion_tokens": output}

    def _logprobs(self, tokens: list[Token]) -> dict[str, Any] | None:
        if not self.body.get("logprobs"):
            return None
        count = self.body.get("top_logprobs", 0)
        content = []
        for token in tokens:
            second, value = _SECOND.get(token.text, (" The", -58.675174713134766))
            best = [(token.text, 0.0), (second, value)][:count]
            top = [{"token": text, "logprob": number, "bytes": list(text.encode())} for text, number in best]
            content.append(
                {"token": token.text, "logprob": 0.0, "bytes": list(token.text.encode()), "top_logprobs": top}
            )
        return {"content": content}


def _dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
