"""Prompts from templates in Go's notation. Messages of errors are those of Go 1.26's text/template."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_adapter.go.template import render
from ollama_adapter.go.template_nodes import TemplateError
from ollama_adapter.go.template_syntax import parse
from ollama_adapter.ollama.prompt_template import parse_template

# The template of the recorded models, which its twin's Jinja template says in other words.
TINY = (
    "{{ if .System }}<|system|>{{ .System }}{{ end }}{{ if .Prompt }}<|user|>{{ .Prompt }}{{ end }}<|assistant|>"
    "{{ .Response }}"
)
TINYTOOL = (
    '{{ range .Messages }}{{ if eq .Role "user" }}<|user|>{{ .Content }}{{ else if eq .Role "system" }}<|system|>'
    '{{ .Content }}{{ else if eq .Role "assistant" }}<|assistant|>{{ .Content }}{{ range .ToolCalls }}{"name": '
    '"{{ .Function.Name }}", "parameters": {{ .Function.Arguments }}}{{ end }}{{ else if eq .Role "tool" }}<|tools|>'
    "{{ .Content }}{{ end }}{{ end }}{{ if .Tools }}{{ .Tools }}<|tools|>{{ else }}<|assistant|>{{ end }}"
)
# In the manner of the templates that come with Ollama's library.
CHATML = """{{- if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ .Content }}{{ if not $last }}<|im_end|>
{{ end }}
{{- end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}"""


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ([user("The sky")], "<|user|>The sky<|assistant|>"),
        ([system("sys"), user("hi")], "<|system|>sys<|user|>hi<|assistant|>"),
        ([user("hi"), said("hello"), user("again")], "<|user|>hi<|assistant|>hello<|user|>again<|assistant|>"),
        ([user("hi"), said("hello")], "<|user|>hi<|assistant|>hello"),
        ([user("a"), user("b")], "<|user|>a\n\nb<|assistant|>"),
        ([{"role": "robot", "content": "hi"}], "<|assistant|>"),
        ([user("a"), system("s"), user("b")], "<|user|>a<|assistant|><|system|>s<|user|>b<|assistant|>"),
    ],
)
def test_a_template_without_messages_is_rendered_once_for_each_exchange(
    messages: list[dict[str, Any]], prompt: str
) -> None:
    assert parse_template(TINY).with_messages(messages) == prompt


def test_what_follows_the_response_is_left_out_at_the_end() -> None:
    template = parse_template("[{{ .Prompt }}]{{ .Response }}<end>")
    assert template.with_messages([user("a"), said("b"), user("c")]) == "[a]b<end>[c]"


def test_a_template_without_a_response_ends_with_it() -> None:
    assert parse_template("<{{ .Prompt }}>").with_messages([user("a"), said("b"), user("c")]) == "<a>b<c>"


def test_tools_and_calls_are_written_as_ollama_does() -> None:
    properties = {"city": {"type": "string", "description": "c", "default": "x"}}
    parameters = {"type": "object", "properties": properties, "required": ["city"], "strict": True}
    tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": parameters}}
    call = {"function": {"name": "f", "arguments": {"b": 1, "a": "<x>"}}}
    messages = [user("x"), said("", tool_calls=[call]), {"role": "tool", "content": "r"}]
    assert parse_template(TINYTOOL).with_messages(messages, [tool]) == (
        '<|user|>x<|assistant|>{"name": "f", "parameters": {"a":"\\u003cx\\u003e","b":1}}<|tools|>r'
        '[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","required":["city"],'
        '"properties":{"city":{"type":"string","description":"c"}}}}}]<|tools|>'
    )


def test_a_tool_without_a_function_is_as_recorded() -> None:
    # chat_tools_bad_function: 121 tokens, one per character but for the markers
    messages = [system("You are a tool caller."), user("x")]
    prompt = parse_template(TINYTOOL).with_messages(messages, [{"type": "function"}])
    for marker in ("<|system|>", "<|user|>", "<|tools|>", '{"', '":'):
        prompt = prompt.replace(marker, "#")
    assert len(prompt) + 1 == 121


def test_a_template_of_the_library_is_understood() -> None:
    template = parse_template(CHATML)
    assert template.with_messages([system("S"), user("a"), said("b"), user("c")]) == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
        "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n"
    )
    assert template.with_messages([user("a"), said("b")]).endswith("<|im_start|>assistant\nb")


def test_a_suffix_has_a_branch_of_its_own() -> None:
    template = parse_template(
        "{{- if .Suffix }}<|fim_pre|>{{ .Prompt }}<|fim_suf|>{{ .Suffix }}<|fim_mid|>{{ else }}<|user|>{{ .Prompt }}"
        "<|assistant|>{{ end }}"
    )
    assert template.with_suffix("def f(", "return") == "<|fim_pre|>def f(<|fim_suf|>return<|fim_mid|>"
    assert template.with_messages([user("x")]) == "<|user|>x<|assistant|>"
    assert {"suffix", "prompt", "response"} == template.fields


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("a {{- 1 -}} b", "a1b"),
        ("a {{ 1 }} b", "a 1 b"),
        ("a{{/* no */}}b{{- /* no */ -}} c", "abc"),
        ('{{ "q\\"\\n" }}{{ `raw\\n` }}', 'q"\nraw\\n'),
        ("{{ true }} {{ 1.5 }} {{ 2.0 }} {{ 0x10 }}", "true 1.5 2 16"),
        ("{{ .Nothing }}", "<no value>"),
        ("{{ if .Nothing }}a{{ else if .Text }}b{{ else }}c{{ end }}", "b"),
        ("{{ if not .List }}a{{ end }}{{ if and .Text .Nothing }}b{{ end }}{{ if or .Nothing .Text }}c{{ end }}", "c"),
        ("{{ or .Nothing .Text }}{{ and .Text 0 }}", "hé0"),
        ("{{ with .Text }}{{ . }}{{ $.Number }}{{ end }}{{ with .Nothing }}a{{ else }}b{{ end }}", "hé7b"),
        ("{{ range .List }}{{ . }},{{ else }}none{{ end }}{{ range .Nothing }}a{{ else }}none{{ end }}", "x,y,none"),
        ("{{ range $i, $v := .List }}{{ $i }}{{ $v }}{{ end }}", "0x1y"),
        ("{{ range $v := .List }}{{ $v }}{{ break }}{{ end }}", "x"),
        ('{{ range .List }}{{ if eq . "x" }}{{ continue }}{{ end }}{{ . }}{{ end }}', "y"),
        ("{{ $x := 1 }}{{ range .List }}{{ $x = . }}{{ end }}{{ $x }}", "y"),
        ("{{ range $k, $v := .Map }}{{ $k }}{{ $v }}{{ end }}{{ .Map }}", "a1b2map[a:1 b:2]"),
        ("{{ len .Text }}{{ len .List }}{{ index .List 1 }}{{ index .Map \"b\" }}{{ slice .Text 1 }}", "32y2é"),
        ('{{ eq .Number 1 7 }}{{ ne .Text "a" }}{{ lt 1 2 }}{{ le 2 2 }}{{ gt 1 2 }}{{ ge "b" "a" }}',
         "truetruetruetruefalsetrue"),
        ('{{ printf "%s-%d|%5s|%-3d|%05.1f|%q|%v|%%" .Text 3 "a" 4 2.5 "<" .List }}',
         "hé-3|    a|4  |002.5|\"<\"|[x y]|%"),
        ('{{ .Number | printf "%d" | printf "<%s>" }}', "<7>"),
        ('{{ print 1 2 "a" 3 }}{{ println "a" 1 }}', "1 2a3a 1\n"),
        ("{{ json .Map }}{{ .List }}", '{"a":1,"b":2}[x y]'),
        ("{{ (index .List 0) }}{{ (.Deep).A.B }}", "xz"),
    ],
)  # fmt: skip
def test_the_language_is_gos(template: str, text: str) -> None:
    data = {"Text": "hé", "Number": 7, "List": ["x", "y"], "Map": {"b": 2, "a": 1}, "Deep": {"A": {"B": "z"}}}
    assert render(parse(template), data) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ .X", "template: :1: unclosed action"),
        ("a\nb\n{{ .X", "template: :3: unclosed action"),
        ("{{ }}", "template: :1: missing value for command"),
        ("{{ if }}{{ end }}", "template: :1: missing value for if"),
        ("{{ if .X }}a", "template: :1: unexpected EOF"),
        ("{{ end }}", "template: :1: unexpected {{end}}"),
        ("{{ else }}", "template: :1: unexpected {{else}}"),
        ("{{ if .X }}{{ else }}{{ else }}{{ end }}", "template: :1: expected end; found {{else}}"),
        ("{{ foo .X }}", 'template: :1: function "foo" not defined'),
        ("{{ $x }}", 'template: :1: undefined variable "$x"'),
        ("{{ if .X }}{{ $x := 1 }}{{ end }}{{ $x }}", 'template: :1: undefined variable "$x"'),
        ('{{ "abc }}', "template: :1: unterminated quoted string"),
        ("{{ `abc }}", "template: :1: unterminated raw quoted string"),
        ("{{/* abc }}", "template: :1: unclosed comment"),
        ("{{ (.X }}", "template: :1: unclosed left paren"),
        ("{{ .X) }}", "template: :1: unexpected right paren"),
        ("{{ .X }", 'template: :1: unexpected "}" in operand'),
        ("{{ é }}", 'template: :1: function "é" not defined'),
        ("{{ \x01 }}", "template: :1: unrecognized character in action: U+0001"),
        ("{{ break }}", "template: :1: {{break}} outside {{range}}"),
        ('{{ define "a" }}{{ end }}', "template: :1: {{define}} is not supported by this server"),
        ('{{ template "a" }}', "template: :1: {{template}} is not supported by this server"),
        ("{{ html .X }}", 'template: :1: function "html" is not supported by this server'),
    ],
)
def test_a_template_that_cannot_be_read_is_refused_in_gos_words(template: str, message: str) -> None:
    with pytest.raises(TemplateError) as raised:
        parse_template(template)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    "template",
    [
        "{{ range .Messages }}{{ .Nope }}{{ end }}",
        "{{ .Prompt.Deeper }}",
        "{{ .Nothing.Deeper }}",
        '{{ eq 1 "a" }}',
        "{{ len 1 }}",
        "{{ index .Prompt 99 }}",
        "{{ slice .Prompt 99 }}",
        "{{ range true }}{{ end }}",
        "{{ not 1 2 }}",
        "{{ and }}",
        '{{ printf "%x" 1 }}',
    ],
)
def test_a_template_that_cannot_be_rendered_says_why(template: str) -> None:
    with pytest.raises(TemplateError, match=r"^template: "):
        parse_template(template).with_messages([user("x")])


def test_no_template_makes_a_prompt_without_bounds() -> None:
    loop = "{{ range 9999999 }}" * 3 + "x" * 1000 + "{{ end }}" * 3
    with pytest.raises(TemplateError, match="too large"):
        parse_template(loop).with_messages([user("x")])
    for costly in (
        "{{ range 9999999 }}{{ end }}",
        "{{ $y := 1 }}" + "{{ $x := 1 }}" * 3000 + "{{ range 9999999 }}{{ $y = 2 }}{{ end }}",
        '{{ $x := "aaaaaaaa" }}{{ range 9999999 }}{{ $x = printf "%s%s" $x $x }}{{ end }}',
    ):
        with pytest.raises(TemplateError, match="more than 300000 steps"):
            parse_template(costly).with_messages([user("x")])
    talk = [user("x"), said("y")] * 50
    with pytest.raises(TemplateError, match="more than 300000 steps"):
        parse_template("{{ range 100000 }}{{ end }}{{ .Prompt }}").with_messages(talk)
    with pytest.raises(TemplateError, match="nested"):
        parse_template("{{ if 1 }}" * 1000 + "{{ end }}" * 1000)


_WORDS = st.sampled_from(
    ["{{", "}}", "{{- ", " -}}", " ", "\n", ".", ".Messages", ".Role", "$x", ":=", "=", "|", "(", ")", ",", '"a"', "`a`",
     "1", "if", "else", "end", "range", "with", "eq", "len", "index", "printf", "/*", "*/", "nil", "text", "é", "'a'"]
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(_WORDS, max_size=25).map("".join))
def test_any_text_is_rendered_or_refused(template: str) -> None:
    try:
        parse_template(template).with_messages([user("x"), said("y")])
    except TemplateError as error:
        assert str(error).startswith("template: ")
