"""A whole answer out of a stream of vLLM's: for answers that the adapter ends, of a client that wants no stream."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..ollama.lines import AnswerWriter, Ending, ToolCall


class CollectingWriter:
    """Keeps what a stream adds, and writes all of it at the end, as another writer writes a whole answer."""

    is_stamped = True
    splits_events = False

    def __init__(self, writer: AnswerWriter) -> None:
        self._writer = writer
        self._texts: list[str] = []
        self._thinking: list[str] = []
        self._calls: list[ToolCall] = []
        self._logprobs: list[bytes] = []
        self.stream_type = self.whole_type = writer.whole_type
        self.keeps_context = writer.keeps_context

    def text(self, stamp: bytes, escaped: bytes) -> bytes:
        """See `AnswerWriter`."""
        self._texts.append(msgspec.json.decode(b'"%b"' % escaped, type=str))
        return b""

    def line(
        self,
        stamp: bytes,
        text: str,
        *,
        thinking: str = "",
        calls: Sequence[ToolCall] = (),
        logprobs: bytes = b"",
    ) -> bytes:
        """See `AnswerWriter`."""
        self._texts.append(text)
        self._thinking.append(thinking)
        self._calls += calls
        if logprobs:
            self._logprobs.append(logprobs)
        return b""

    def end(self, stamp: bytes, ending: Ending) -> bytes:
        """The whole answer."""
        return self.whole(stamp, ending)

    def whole(
        self,
        stamp: bytes,
        ending: Ending,
        *,
        text: str = "",
        thinking: str = "",
        calls: Sequence[ToolCall] = (),
        logprobs: bytes = b"",
    ) -> bytes:
        """The whole answer, with what is given here after what was collected."""
        self.line(stamp, text, thinking=thinking, calls=calls, logprobs=logprobs)
        return self._writer.whole(
            stamp,
            ending,
            text="".join(self._texts),
            thinking="".join(self._thinking),
            calls=self._calls,
            logprobs=b",".join(self._logprobs),
        )
