from __future__ import annotations

import pytest

from ollama_adapter.go.json import BadBody, decode, escape, quote, raw_members


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "missing request body"),
        (b" \n\t", "missing request body"),
        (b"{", "unexpected EOF"),
        (b'{"model": "tiny", ', "unexpected EOF"),
        (b'{"a": "b', "unexpected EOF"),
        (b'{"a": tr', "unexpected EOF"),
        (b"not json", "invalid character 'o' in literal null (expecting 'u')"),
        (b"[tru1]", "invalid character '1' in literal true (expecting 'e')"),
        (b'{"model":"m",}', "invalid character '}' looking for beginning of object key string"),
        (b"{a:1}", "invalid character 'a' looking for beginning of object key string"),
        (b'{"messages": [}', "invalid character '}' looking for beginning of value"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"[1}", "invalid character '}' after array element"),
        (b"{'a':1}", r"invalid character '\'' looking for beginning of object key string"),
        (b'["\n"]', r"invalid character '\n' in string literal"),
        (b'["\\x"]', "invalid character 'x' in string escape code"),
        (b'["\\u12g4"]', r"invalid character 'g' in \u hexadecimal character escape"),
        (b"[-a]", "invalid character 'a' in numeric literal"),
        (b"[1.]", "invalid character ']' after decimal point in numeric literal"),
        (b"[1e]", "invalid character ']' in exponent of numeric literal"),
        (b"[01]", "invalid character '1' after array element"),
        (b"\x01", r"invalid character '\x01' looking for beginning of value"),
        (b"[" * 20_000, "exceeded max depth"),
    ],
)
def test_a_broken_body_is_refused_in_gos_words(body: bytes, message: str) -> None:
    with pytest.raises(BadBody) as caught:
        decode(body)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": [1, -2.5, 1e3, true, false, null, "x"]} trailing', {"a": [1, -2.5, 1000.0, True, False, None, "x"]}),
        (b'{"a":1}{"a":2}', {"a": 1}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'{"a":"\xff\xfe"}', {"a": "\ufffd\ufffd"}),
        (b'{"a":"\xe2\x82"}', {"a": "\ufffd\ufffd"}),
        (rb'{"a":"\ud800", "\udc00":1}', {"a": "\ufffd", "\ufffd": 1}),
        (rb'{"a":"\ud83d\ude00"}', {"a": "\U0001f600"}),
        (b"{} x", {}),
        (b"[] x", []),
        (b"[[],{}] x", [[], {}]),
        (b"null x", None),
        (b'{"a":123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
    ],
)
def test_what_go_accepts_is_accepted(body: bytes, value: object) -> None:
    assert decode(body) == value


@pytest.mark.parametrize("cut", range(1, 60))
def test_no_beginning_of_a_body_breaks_the_decoder(cut: int) -> None:
    body = b'{"model":"m","messages":[{"content":"\\u00e9\\n","n":-1.5e+3}],"t":true}'
    with pytest.raises(BadBody, match="unexpected EOF"):
        decode(body[:cut])


def test_texts_are_escaped_as_go_does() -> None:
    assert quote('<a & "b">\u2028\u00e9\u20ac') == '"\\u003ca \\u0026 \\"b\\"\\u003e\\u2028\u00e9\u20ac"'.encode()
    assert escape(b'{"a":"plain"}') == b'{"a":"plain"}'


def test_members_can_be_had_as_the_client_wrote_them() -> None:
    assert raw_members(b'{"format": [1,  2], "a": 1}') == {"format": b"[1,  2]", "a": b"1"}
    assert raw_members(b'{"format": "\xff"') == {}
