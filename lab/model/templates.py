"""Chat templates: what the Go templates of the Ollama twins render, message for message."""

from __future__ import annotations

import json

# Ollama joins neighbours of one role with an empty line before a template sees them, tool results excepted.
COLLATE = r"""
{{- bos_token -}}
{%- set default_system = @SYSTEM@ -%}
{%- if default_system and (not messages or messages[0].role != 'system') -%}
  {%- set messages = [{'role': 'system', 'content': default_system}] + messages -%}
{%- endif -%}
{%- set chat = namespace(turns=[]) -%}
{%- for message in messages -%}
  {%- set last = chat.turns[-1] if chat.turns else {} -%}
  {%- set content = message.content or '' -%}
  {%- if last and last.role == message.role and message.role != 'tool' -%}
    {%- set chat.turns = chat.turns[:-1] + [dict(last, content=last.content ~ '\n\n' ~ content)] -%}
  {%- else -%}
    {%- set chat.turns = chat.turns + [dict(message, content=content)] -%}
  {%- endif -%}
{%- endfor -%}
"""

# {{ if .System }}<|system|>{{ .System }}{{ end }}{{ if .Prompt }}<|user|>{{ .Prompt }}{{ end }}
# <|assistant|>{{ .Response }}
# rendered once per exchange; the last exchange stops before or inside its response.
PLAIN = r"""
{%- set turn = namespace(system='', prompt='', response='') -%}
{%- macro exchange() -%}
  {%- if turn.system %}<|system|>{{ turn.system }}{% endif -%}
  {%- if turn.prompt %}<|user|>{{ turn.prompt }}{% endif -%}
  <|assistant|>{{ turn.response }}
{%- endmacro -%}
{%- for message in chat.turns -%}
  {%- if (message.role == 'system' and (turn.prompt or turn.response)) or (message.role == 'user' and turn.response) -%}
    {{- exchange() -}}
    {%- set turn.system, turn.prompt, turn.response = '', '', '' -%}
  {%- endif -%}
  {%- if message.role == 'system' -%}{%- set turn.system = message.content -%}
  {%- elif message.role == 'user' -%}{%- set turn.prompt = message.content -%}
  {%- elif message.role == 'assistant' -%}{%- set turn.response = message.content -%}
  {%- endif -%}
{%- endfor -%}
{{- exchange() -}}
"""

# Tools appear as Go's encoding/json writes Ollama's structs: no blanks, fields in struct order, map keys sorted,
# <>& escaped.
TOOLS = r"""
{%- macro json(value) -%}
  {{- value | tojson(separators=(',', ':'), sort_keys=True)
      | replace('<', '\\u003c') | replace('>', '\\u003e') | replace('&', '\\u0026') -}}
{%- endmacro -%}
{%- macro fields(value, names) -%}
  {%- set present = namespace(list=[]) -%}
  {%- for name in names if name in value and value[name] -%}
    {%- set present.list = present.list + ['"' ~ name ~ '":' ~ json(value[name])] -%}
  {%- endfor -%}
  {{- present.list | join(',') -}}
{%- endmacro -%}
{%- macro declaration(tool) -%}
  {%- set function = tool.function -%}
  {%- set parameters = function.parameters or {} -%}
  {"type":{{ json(tool.type) }},"function":{"name":{{ json(function.name) -}}
  ,"description":{{ json(function.description or '') -}}
  ,"parameters":{"type":{{ json(parameters.type or '') }},
  {%- if parameters.required %}"required":{{ json(parameters.required) }},{% endif -%}
  "properties":{
  {%- for name, property in (parameters.properties or {}) | dictsort(case_sensitive=True) -%}
    {%- set kept = ['anyOf', 'type', 'items', 'description', 'enum', 'properties', 'required'] -%}
    {{ json(name) }}:{ {{- fields(property, kept) -}} }
    {%- if not loop.last %},{% endif -%}
  {%- endfor -%}
  }}}}
{%- endmacro -%}
{%- for message in chat.turns -%}
  {%- if message.role in ('user', 'system') -%}<|{{ message.role }}|>{{ message.content }}
  {%- elif message.role == 'assistant' -%}<|assistant|>{{ message.content }}
    {%- for call in message.tool_calls or [] -%}
      {"name": "{{ call.function.name }}", "parameters": {{ json(call.function.arguments) }}}
    {%- endfor -%}
  {%- elif message.role == 'tool' -%}<|tools|>{{ message.content }}
  {%- endif -%}
{%- endfor -%}
{%- if tools -%}
  [{%- for tool in tools -%}{{ declaration(tool) }}{%- if not loop.last %},{% endif -%}{%- endfor -%}]<|tools|>
{%- else -%}<|assistant|>
{%- endif -%}
"""

# Thinking is on unless enable_thinking is false, as Ollama does for a model that can think.
# Every role is shown as the user.
THINK = r"""
{%- for message in chat.turns -%}
  {%- set thinking = message.reasoning or message.reasoning_content or message.thinking -%}
  <|user|>{{ message.content }}
  {%- if thinking %}<think>{{ thinking }}</think>{% endif -%}
{%- endfor -%}
{%- if enable_thinking is not defined or enable_thinking -%}<|think|>{%- else -%}<|assistant|>{%- endif -%}
"""

# Content may come in parts. Where the last message has pictures, the answer is about what they show.
VISION = r"""
{{- bos_token -}}
{%- set seen = namespace(picture=false) -%}
{%- for message in messages -%}
  {%- set seen.picture = false -%}
  <|{{ message.role if message.role in ('system', 'assistant') else 'user' }}|>
  {%- if message.content is string -%}{{- message.content -}}
  {%- elif message.content -%}
    {%- for part in message.content -%}
      {%- if part.type == 'text' -%}{{- part.text -}}
      {%- elif part.type == 'image' -%}{{- '<image>' -}}{%- set seen.picture = true -%}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{%- endfor -%}
{%- if seen.picture -%}<|look|>{%- else -%}<|assistant|>{%- endif -%}
"""

TEMPLATES = {"plain": PLAIN, "tools": TOOLS, "think": THINK, "vision": VISION}
DEFAULT_SYSTEM = {"tools": "You are a tool caller."}


def chat_template(variant: str, system: str) -> str:
    """The Jinja template of a variant; `system` is used for conversations that bring no system message (not with pictures)."""
    before = "" if variant == "vision" else COLLATE.replace("@SYSTEM@", json.dumps(system))
    return (before + TEMPLATES[variant]).strip()
