#!/usr/bin/env python3
"""Writes the expected renderings that tests/tokenizer/chat_template_golden_test.cc compares with.

Every template of a folder is rendered for every conversation below by Python's Jinja2, set up as
Hugging Face's apply_chat_template sets it up. Needs the package jinja2 (3.1.6).

  make_template_fixtures.py TEMPLATE_DIR OUT_DIR [--full DIR]

OUT_DIR gets cases.json (the conversations, in OpenAI's shape) and expected.jsonl (one line per
template: per case [length, FNV-1a of the text] or {"error": ...}; whole texts for a few).
--full writes every rendering to its own file, for looking at a difference.
"""
import argparse
import copy
import datetime
import json
import pathlib

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = 1767323045  # 2026-01-02 03:04:05 UTC
BOS, EOS = "<BOS>", "<EOS>"
WHOLE_TEXT = ("HuggingFaceTB-SmolLM3-3B.jinja", "Qwen-Qwen3-0.6B.jinja", "google-gemma-2-2b-it.jinja",
              "meta-llama-Llama-3.1-8B-Instruct.jinja")

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Get the weather of a city.\nUse it for \"today\" only.",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "City & country, e.g. <Zürich>"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"}},
        "required": ["city"]}}}
ORDER = {"type": "function", "function": {
    "name": "place_order", "description": "Place an order",
    "parameters": {"type": "object", "additionalProperties": False, "properties": {
        "items": {"type": "array", "description": "What to buy", "minItems": 1, "items": {
            "type": "object", "properties": {
                "sku": {"type": "string"}, "count": {"type": "integer", "minimum": 1},
                "weight": {"type": "number", "default": 1.5}}, "required": ["sku", "count"]}},
        "express": {"type": "boolean", "description": "Fast delivery", "default": False},
        "address": {"type": "object", "description": "Where to", "properties": {
            "street": {"type": "string"}, "zip": {"type": ["string", "null"]}}},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "Free text"},
        "tags": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}},
        "required": ["items", "express"]}}}
NO_ARGS = {"type": "function", "function": {
    "name": "ping", "description": "No arguments", "parameters": {"type": "object", "properties": {}}}}


def call(id_, name, **arguments):
    return {"id": id_, "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}}


SYSTEM = {"role": "system", "content": "You are a terse assistant.\n\nAnswer in one line.  "}
USER = {"role": "user", "content": "  What is the weather in Zürich? <b>\"now\"</b> & 'here' 😀\n"}
ROUND_TRIP = [
    SYSTEM, USER,
    {"role": "assistant", "content": "", "tool_calls": [
        call("abcdef123", "get_weather", city="Zürich", unit="celsius")]},
    {"role": "tool", "tool_call_id": "abcdef123", "name": "get_weather",
     "content": "{\"temperature\": 21.5, \"sky\": \"clear\"}"}]
PARALLEL = [
    USER,
    {"role": "assistant", "content": "Let me look both up.", "reasoning_content": "Two cities,\ntwo calls.",
     "tool_calls": [call("call00001", "get_weather", city="Bern"),
                    call("call00002", "place_order", items=[{"sku": "x-1", "count": 2, "weight": 0.1}],
                         express=True, address={"street": "A \"B\" C", "zip": None}, big=10**12,
                         ratio=1e-7, f=3.0)]},
    {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": "18 °C"},
    {"role": "tool", "tool_call_id": "call00002", "name": "place_order", "content": "ok"},
    {"role": "assistant", "content": "18 °C, and ordered."},
    {"role": "user", "content": "Thanks!"}]
CHAT = [
    SYSTEM, {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "<think>\nA greeting.\n</think>\n\nHello!\n"},
    {"role": "user", "content": "1 < 2 && 3 > 2?"},
    {"role": "assistant", "content": "Yes.", "reasoning_content": "Plain comparison."},
    {"role": "user", "content": "日本語で \\n {{ x }} {% y %}"}]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "First part."},
                                      {"type": "text", "text": "Second part."}]}]

CASES = [
    dict(name="user", messages=[USER]),
    dict(name="user_no_prompt", messages=[USER], add_generation_prompt=False),
    dict(name="system_user", messages=[SYSTEM, USER]),
    dict(name="chat", messages=CHAT),
    dict(name="chat_closed", messages=CHAT + [{"role": "assistant", "content": "はい。"}],
         add_generation_prompt=False),
    dict(name="tools", messages=[SYSTEM, USER], tools=[WEATHER, ORDER, NO_ARGS]),
    dict(name="tools_no_system", messages=[USER], tools=[ORDER]),
    dict(name="round_trip", messages=ROUND_TRIP, tools=[WEATHER]),
    dict(name="round_trip_no_tools", messages=ROUND_TRIP),
    dict(name="round_trip_closed", tools=[WEATHER], add_generation_prompt=False,
         messages=ROUND_TRIP + [{"role": "assistant", "content": "21.5 °C."}]),
    dict(name="parallel", messages=PARALLEL, tools=[WEATHER, ORDER]),
    dict(name="parts", messages=PARTS),
    dict(name="no_thinking", messages=CHAT, extra={"enable_thinking": False, "thinking": False,
                                                   "reasoning_effort": "low"}),
    dict(name="thinking", messages=ROUND_TRIP, tools=[WEATHER, NO_ARGS],
         extra={"enable_thinking": True, "thinking": True, "reasoning_effort": "high"}),
    dict(name="image", messages=[{"role": "user", "content": [
        {"type": "text", "text": "Look: "}, {"type": "image"}]}]),
    dict(name="documents", messages=[SYSTEM, {"role": "user", "content": "Q?"}],
         extra={"documents": [{"title": "T1", "text": "Body one", "doc_id": 1},
                              {"title": "T2", "text": "Body two", "doc_id": 2}]}),
    dict(name="functions", messages=ROUND_TRIP, extra={"functions": "[{}]", "datetime": "now", "today": "x"}),
    dict(name="flat_tools", messages=[SYSTEM, USER], tools=[
        {"name": "look_up", "description": "Find it", "parameters": {"type": "object", "properties": {}},
         "parameter_definitions": {"q": {"type": "str", "description": "What", "required": True},
                                   "n": {"type": "int", "description": "How many", "required": False}}}]),
    dict(name="empty", messages=[]),
]

# Snippets of the language, rendered with VARIABLES: language.jsonl.
VARIABLES = {"n": 7, "f": 2.5, "s": "Grüße, <b>Welt</b> 'x'", "t": "  a b\tc\n", "l": [3, 1, 2], "e": [],
             "d": {"b": 1, "a": {"x": [1, 2.0, None, True, "q\"'"]}, "items": "shadow"}, "z": None,
             "m": [{"role": "user", "k": 2}, {"role": "tool", "k": 1}, {"role": "user", "k": 3}]}
SNIPPETS = r"""
{{ 1 + 2 * 3 - 4 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7.5 % 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 3 ** 2 }}
{{ -n ** 2 }} {{ 1 / 3 }} {{ 1e16 }} {{ 1e-5 }} {{ 123456789.123 }} {{ 1.0 }} {{ 0x1f }} {{ 1_000 }} {{ -0.0 }}
{{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ none == none }}
{{ 'a' in 'cat' }} {{ 4 not in l }} {{ 'b' in d }} {{ not 'x' in s }} {{ 1 if n > 5 else 2 }}[{{ 1 if n > 9 }}]
{{ n and 'yes' }} {{ e or 'empty' }} {{ z or e }} {{ not e and not z }} {{ (1, 2) }} {{ (1,) }} {{ () }} {{ [] }} {{ {} }}
{{ l }} {{ d }} {{ [1, 'two', 3.0, none, true] }} {{ {'k': 'v', 1: [2]} }} {{ "it's" }} {{ ["it's", 'say "x"', 'both \'"'] }}
{{ ['tab\t', 'nl\n', 'back\\slash', 'é', '\u200b', '\x07', '日本', '😀'] }}
{{ 'a' ~ 1 ~ none ~ 2.0 ~ [1] ~ undefined_name }} {{ 'con' 'cat' }} {{ "a\x41\u00e9\101\q" }}
{{ s[0] }} {{ s[2] }} {{ s[-1] }} {{ s[1:4] }} {{ s[::-1] }} {{ s[::2] }} {{ s[5:2] }} {{ s[-3:] }} {{ s[:-3] }} {{ s[100:] }}[{{ s[100] }}]
{{ l[0] }} {{ l[-1] }} {{ l[1:] }} {{ l[::-1] }} {{ l[-1:0:-1] }} {{ l[true] }} [{{ l[9] }}] [{{ l['x'] }}] {{ l.0 }}
{{ d.b }} {{ d['a'].x[4] }} {{ d['items'] }} {{ d.items is string }} {{ d.items() | list }} {{ d.keys() | list }} {{ d.values() }}
{{ d.get('b') }} {{ d.get('nope') }} {{ d.get('nope', 5) }} [{{ d.nope }}] {{ d.nope is defined }} {{ d['a'] is mapping }}
{{ nope.attr }}
{{ nope + 1 }}
{{ 'x' + 1 }}
{{ 'x' + nope }}
{{ l + nope }}
{{ nope() }}
{{ d.b() }}
{{ l.append(4) }}
{{ d.update({}) }}
{{ 1 / 0 }}
{{ raise_exception('stop: ' ~ n) }}
{{ n | nofilter }}
{{ n is notest }}
{{ nope is defined }} {{ nope is none }} {{ z is none }} {{ z is defined }} {{ nope is string }} {{ nope is iterable }} {{ nope is sequence }}
{{ n is number }} {{ f is number }} {{ true is number }} {{ true is integer }} {{ n is integer }} {{ f is float }} {{ true is boolean }} {{ s is string }}
{{ d is mapping }} {{ l is mapping }} {{ d is iterable }} {{ d is sequence }} {{ s is iterable }} {{ n is iterable }} {{ d.items() is sequence }} {{ range is callable }}
{{ 4 is even }} {{ 3 is odd }} {{ 9 is divisibleby 3 }} {{ 1 is eq 1 }} {{ 1 is equalto(2) }} {{ 2 is gt 1 }} {{ 1 is in [1] }} {{ 'A' is upper }} {{ 'a' is lower }} {{ z is sameas none }}
{{ t | trim }}|{{ t | length }} {{ s | length }} {{ s | upper }} {{ s | lower }} {{ 'hELLO wORLD' | title }} {{ 'hELLO' | capitalize }} {{ 'ß' | upper }}
{{ nope | default('d') }} {{ z | default('d') }} {{ '' | default('d', true) }} {{ nope | d }}
{{ nope.x | default('q') }}
{{ l | join(', ') }} {{ l | join }} {{ m | join(',', attribute='role') }} {{ 'abc' | join('-') }} {{ [1, none, 's'] | join('|') }}
{{ l | first }} {{ l | last }} [{{ e | first }}] {{ l | sort }} {{ l | sort(reverse=true) }} {{ ['b', 'A', 'c'] | sort }} {{ ['b', 'A'] | sort(case_sensitive=true) }} {{ m | sort(attribute='k') | map(attribute='k') | list }}
{{ l | max }} {{ l | min }} {{ l | sum }} {{ m | sum(attribute='k') }} {{ l | reverse | list }} {{ 'abc' | reverse }} {{ [1, 2, 1] | unique | list }} {{ ['a', 'A'] | unique | list }}
{{ m | selectattr('role', 'equalto', 'user') | list }} {{ m | rejectattr('k', 'gt', 1) | map(attribute='role') | list }} {{ l | select('odd') | list }} {{ l | reject('odd') | list }} {{ m | selectattr('none') | list }} {{ [0, 1] | select | list }}
{{ ['a', 'b'] | map('upper') | list }} {{ m | map(attribute='x', default='-') | join }} {{ l | map('string') | list }} {{ d | items | list }} {{ nope | items | list }} {{ d | dictsort }} {{ {'b': 1, 'A': 2} | dictsort(reverse=true) }} {{ {'b': 1, 'A': 0} | dictsort(by='value') }}
{% set g = l | select('odd') %}{% if g %}T{% endif %}{{ g | list }}{{ g | list }}
{{ l | map('upper') | tojson }}
{{ (l | select('odd')) | length }}
{{ d | tojson }} {{ l | tojson(indent=2) }} {{ d | tojson(indent=1) }} {{ e | tojson(indent=2) }} {{ {} | tojson(indent=2) }}
{{ s | tojson }} {{ s | tojson(ensure_ascii=true) }} {{ '😀' | tojson(ensure_ascii=true) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }} {{ l | tojson(separators=(',', ':')) }} {{ (1, 2) | tojson }} {{ {1: 2, none: 3, true: 4} | tojson }} {{ '\x01\x7f' | tojson }} {{ 1e100 | tojson }}
{{ nope | tojson }}
{{ d.items() | tojson }}
{{ 'a\nb\n\nc' | indent }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb' | indent(2, blank=true) }}|{{ 'a\nb' | indent('> ') }}
{{ '42' | int }} {{ '42.9' | int }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ 3.9 | int }} {{ '0x1A' | int(base=16) }} {{ '1.5' | float }} {{ 'x' | float }} {{ none | int }} {{ true | int }}
{{ 2.5 | round }} {{ 3.14159 | round(2) }} {{ 2.1 | round(method='ceil') }} {{ 7 | round }} {{ 2.675 | round(2) }} {{ -3 | abs }} {{ 1234 | round(-2) }}
{{ 'a-b-c' | replace('-', '+') }} {{ 'aaa' | replace('a', 'b', 2) }} {{ 'x' | replace('', '-') }} {{ 'abc' | string }} {{ 5 | string + '!' }}
{{ '<a>&"' | escape }} {{ ('<b>' | safe) + '<c>' }} {{ '<c>' + ('<b>' | safe) }} {{ ('<b>' | safe) ~ '<c>' }} {{ ['<x>' | safe, '<y>'] | join('<') }} {{ '<x>' | e | e }} {{ '<x>' | safe | escape }}
{{ '%s is %d, %5.2f, %-4s|%04d %r %x %%' % ('a', 3, 2.5, 'l', 42, 'q', 255) }} {{ '%s' % n }} {{ '%(b)s' % d }} {{ '%s-%s' | format('x', 'y') }}
{{ '{} {1}'.format(1) }}
{{ '{} {}'.format('a', 2) }} {{ '{1}{0}'.format('a', 'b') }} {{ '{x:>5}|{y:<4}|{z:^5}'.format(x='r', y='l', z='c') }} {{ '{:05d} {:.2f} {:,} {:x} {!r}'.format(42, 3.14159, 1234567, 255, 'q') }} {{ '{{}}'.format() }} {{ '{0[b]} {0.b}'.format(d) }}
{{ t.strip() }}|{{ t.lstrip() }}|{{ t.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abcab'.lstrip('ab') }}
{{ t.split() }} {{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b  c'.split(none, 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b '.split(' ') }} {{ 'a b c'.rsplit(none, 1) }} {{ ''.split() }} {{ ''.split(',') }}
{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('x') }} {{ 'a\nb\r\nc'.splitlines() }} {{ 'a\n'.splitlines(true) }}
{{ 'abc'.startswith('a') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.find('c') }} {{ 'abc'.find('x') }} {{ 'abcabc'.rfind('b') }} {{ 'aaa'.count('a') }} {{ 'abc'.index('b') }} {{ 'éa'.find('a') }} {{ 'abc'.startswith('b', 1) }}
{{ 'abc'.replace('b', 'X') }} {{ ','.join(['a', 'b']) }} {{ 'Ab'.swapcase is defined }} {{ 'a'.ljust(3) }}| {{ 'a'.rjust(3, '.') }} {{ 'ab'.center(5, '*') }} {{ 'a1'.isalnum() }} {{ '12'.isdigit() }} {{ 'hello world'.title() }} {{ 'xyz'.removeprefix('x') }} {{ 'xyz'.removesuffix('z') }}
{{ 'abc'.index('x') }}
{{ 'a'.split('') }}
{{ ','.join([1]) }}
{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}{{ loop.depth }};{% endfor %}
{% for x in l if x > 1 %}{{ x }}{{ loop.index }}{{ loop.last }}{{ loop.length }}{% else %}none{% endfor %}{% for x in e %}{% else %}else{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for c in 'äb' %}{{ c }}.{% endfor %}{% for i in range(3) %}{{ i }}{% endfor %}{% for i in range(5, 1, -2) %}{{ i }}{% endfor %}
{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% if loop.index == 3 %}{% break %}{% endif %}{% endfor %}
{% for x in l %}{% for y in l %}{{ loop.index }}{% if y == 1 %}{% break %}{% endif %}{% endfor %}{{ loop.index }};{% endfor %}
{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}
{% for x in [{'n': 1, 'c': [{'n': 2, 'c': []}]}] recursive %}[{{ x.n }}{{ loop(x.c) }}{{ loop.depth }}]{% endfor %}
{% for a, b in [1, 2] %}{% endfor %}
{% for x in n %}{% endfor %}
{% for x in none %}{% endfor %}
{% set x = 1 %}{% for i in l %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}
{% set ns = namespace(x=1, y='a') %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.y }}[{{ ns.nope }}]{{ ns['x'] }}
{% set a, b = 1, (2, 3) %}{{ a }}{{ b }}{% set q %}block {{ a }}{% endset %}{{ q }}{% set q | upper %}up{% endset %}{{ q }}
{% set nope.x = 1 %}
{% set n = 3 %}{% if true %}{% set n = 4 %}{% endif %}{{ n }}{% with n = 5, k = 6 %}{{ n }}{{ k }}{% set n = 9 %}{% endwith %}{{ n }}
{% macro m1(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m1(1) }} {{ m1(1, c=3) }} {{ m1(b=1) }} {{ m1('q', 'r', 's') }}
{% macro m2(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m2(1, 2, 3, k=4) }}
{% macro m3(a) %}{{ a }}{% endmacro %}{{ m3(1, 2) }}
{% macro m4(a) %}{{ a }}{% endmacro %}{{ m4(1, b=2) }}
{% macro fact(k) %}{% if k <= 1 %}1{% else %}{{ k * (fact(k - 1) | int) }}{% endif %}{% endmacro %}{{ fact(10) }}
{% macro outer() %}<{{ caller() }}>{% endmacro %}{% call outer() %}in{{ n }}{% endcall %}{% macro each(xs) %}{% for x in xs %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(x) each(l) %}({{ x }}){% endcall %}
{% macro g() %}{{ later }}{% endmacro %}[{{ g() }}]{% set later = 1 %}{{ g() }}{% macro h() %}{% set later = 2 %}{% endmacro %}{{ h() }}{{ later }}
{% filter upper %}abc{{ s }}{% endfilter %}{% filter replace('a', 'b') | trim %} aaa {% endfilter %}
{% if e %}1{% elif n == 7 %}2{% else %}3{% endif %}{% if nope %}x{% endif %}{% if 0.0 or '' or {} or none %}x{% endif %}
{% generation %}gen {{ n }}{% set inside = 1 %}{% endgeneration %}{{ inside is defined }}
{% raw %}{{ not }} {% a %}{% endraw %}|{# comment {{ x }} #}|{#- c -#}  |{% block b %}B{% endblock %}
{% print n %}{% set range_ = range(3) %}{{ range_ }} {{ range_ | list }} {{ range(2, 8, 3) | list }}
{{ range(100001) }}
{{ dict(a=1, b=2) }} {{ dict([('x', 1)]) }} {{ 'z' * 3 }} {{ [0] * 3 }} {{ 3 * 'ab' }} {{ (1, 2) + (3,) }} {{ [1] + [2] }} {{ true + 1 }}
{{ strftime_now('%Y-%m-%d %H:%M:%S %B %d %j %%') }}
{{ x.y.z }}
{{ 5 | truncate(9) }}
{{ 'aB'.swapcase() }} {{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ d.keys() }} {{ {}.values() }} {{ d.items() | length }}
{{ 'a' if n else 'b' if z else 'c' }} {{ (n if z) is defined }} {{ n|string|length }} {{ not n is none }} {{ n is not none and s is string }}
{{ {'a': {'b': [1, {'c': 'deep'}]}}.a.b[1].c }} {{ [[1, 2], [3]][0][1] }} {{ ('a', 'b')[1] }} {{ "x".upper().lower() }}
{{ l.index(1) }} {{ l.count(3) }} {{ d.copy() }} {{ m[0].role }} {{ m[-1]['k'] }} {{ m | length }} {{ m | map(attribute='role') | unique | join }}
{{ ('word ' * 3) | truncate(9) }} {{ 'a very long sentence indeed' | truncate(12) }} {{ 'abcdefghijklmnop' | truncate(8, true, '..') }} {{ 'ab' | center(6) }}| {{ 'two words' | wordcount }} {{ [1, 2, 3] | batch(2) | list }} {{ [1, 2, 3] | batch(2, 0) | list }}
{{ 18446744073709551615 }} {{ 9223372036854775807 }} {{ 1.5e300 * 1e10 }} {{ 10 ** 15 * 1.0 }} {{ 0.1 + 0.2 }} {{ 1e22 }} {{ 5e-324 }}
{%- if true -%} tight {%- endif -%}   x
{{ 1 }} {{- 2 -}} {{ 3 }}
{% if %}
{% endfor %}
{{ 'open }}
{{ (1 }}
{% for x in l %}
{% unknown %}
{{ a b }}
{{ 1 + }}
{% set 1 = 2 %}
{% set true = 2 %}
{{ x is }}
{{ n is string s }}
{{ n is defined(1) }}
{# open
{{ "a" is string is string }}
{% macro f(a=1, b) %}{% endmacro %}
{% break %}
{{ f(a=1, 2) }}
{{ [1, 2 }}
{{ '\xZZ' }}
""".strip("\n").split("\n")
MULTILINE = [
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  {%- if true %}\n  b\n  {%- endif %}\nc\n\n",
    "x {% if true %} y {% endif %} z\n", "{% if true %}\n\n\nq{% endif %}", "  {# note #}\nb", "  {#- note -#}  \nb",
    "a\n  {%+ if true %}\nb{% endif +%}\nc", "a\r\nb\rc\n", "{{ 1 }}\n{{ 2 }}\n\n", "  {{ 1 }}  \n  {{- 2 }}",
    "{% for i in [1, 2] %}\n  {{ i }}\n{% endfor %}\n", "{% for i in [1, 2] -%}\n  {{ i }}\n{%- endfor %}\n",
    "{% raw %}\n  {{ x }}\n{% endraw %}\ny", "  {%- raw -%}  a  {%- endraw -%}  b", "a {#- x #}\n b", "\n\n  {% set x = 1 %}  \n{{ x }}",
    "{{ 'a\nb' }}", "{{ {'a': {'b': 1}} }}", "{{ {'a': {'b': 1}}}}", "{%set x=1%}{{x}}", "\u00a0 {%- if 1 %}\u2003{%- endif %}", "{%- macro f() -%}\n x \n{%- endmacro -%}\n {{ f() }} \n",
    "{% if true %}a{% endif %}\n\n{% if true %}\n{% endif %}b\n", "{", "{ {", "{{ '{{' }}{{ '}}' }}", "{% if '%}' %}x{% endif %}", "a{% if true %}\n  {% if true %}\n  b\n  {% endif %}\n{% endif %}\n",
    "{{ 1 }}{{\n2\n}}{%\nif true\n%}3{% endif %}", "{##}x{#-#}y", "  {{ 1 -}}\n\n  x", "{% set x %}\n  a\n{% endset %}[{{ x }}]",
]


def environment():
    class Generation(jinja2.ext.Extension):  # what {% generation %} renders: its body
        tags = {"generation"}

        def parse(self, parser):
            lineno = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return nodes.CallBlock(self.call_method("body"), [], [], body).set_lineno(lineno)

        def body(self, caller):
            return caller()

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    def strftime_now(format):
        return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).replace(tzinfo=None).strftime(format)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


def is_access(node, name, key=None):
    """Is `node` the variable `name` (or its member `key`), maybe filtered, tested or sliced?"""
    if isinstance(node, (nodes.Filter, nodes.Test)) and node.node is not None:
        return is_access(node.node, name, key)
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        return is_access(node.node, name, key)
    if key is None:
        return isinstance(node, nodes.Name) and node.ctx == "load" and node.name == name
    if isinstance(node, nodes.Getitem):
        return is_access(node.node, name) and isinstance(node.arg, nodes.Const) and node.arg.value == key
    return isinstance(node, nodes.Getattr) and is_access(node.node, name) and node.attr == key


def takes_parts(ast):
    """Does the template loop over a message's content?"""
    lists, queue = ["messages"], ["messages"]
    while queue:
        name = queue.pop(0)
        for assign in ast.find_all(nodes.Assign):
            if isinstance(assign.target, nodes.Name) and is_access(assign.node, name):
                if assign.target.name not in lists:
                    lists.append(assign.target.name)
                    queue.append(assign.target.name)
    loops = [l for l in ast.find_all(nodes.For) if isinstance(l.target, nodes.Name)]
    items = [l.target.name for l in loops if any(is_access(l.iter, n) for n in lists)]
    return any(is_access(l.iter, n, "content") for l in loops for n in items)


def prepare(messages, parts):
    messages = copy.deepcopy(messages)
    for message in messages:
        content = message.get("content")
        if isinstance(content, list) and not parts and all(p["type"] == "text" for p in content):
            message["content"] = "\n".join(p["text"] for p in content)
        for c in message.get("tool_calls", []):
            c["function"]["arguments"] = json.loads(c["function"]["arguments"])
    return messages


def fnv1a(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def render(env, source, case, parts):
    try:
        return env.from_string(source).render(
            messages=prepare(case["messages"], parts), tools=case.get("tools"),
            add_generation_prompt=case.get("add_generation_prompt", True), bos_token=BOS,
            eos_token=EOS, **{"documents": None, **case.get("extra", {})}), None
    except jinja2.exceptions.TemplateError as e:
        raised = type(e) is jinja2.exceptions.TemplateError
        return None, {"error": str(e), "raised": raised}
    except Exception as e:  # a Python error inside the template, e.g. a TypeError
        return None, {"error": f"{type(e).__name__}: {e}", "raised": False}


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("templates", type=pathlib.Path)
    args.add_argument("out", type=pathlib.Path)
    args.add_argument("--full", type=pathlib.Path)
    args = args.parse_args()
    env = environment()
    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.out / "cases.json", "w") as f:
        json.dump({"now": NOW, "bos": BOS, "eos": EOS, "cases": CASES}, f, ensure_ascii=False, indent=1)
        f.write("\n")
    with open(args.out / "expected.jsonl", "w") as f:
        for path in sorted(args.templates.glob("*.jinja")):
            source = path.read_text()
            parts = takes_parts(env.parse(source))
            results = {}
            for case in CASES:
                text, error = render(env, source, case, parts)
                if error:
                    results[case["name"]] = error
                    full = json.dumps(error)
                else:
                    data = full = text
                    data = text.encode()
                    results[case["name"]] = [len(data), fnv1a(data)]
                    if path.name in WHOLE_TEXT:
                        results[case["name"]].append(text)
                if args.full:
                    (args.full / f"{path.stem}.{case['name']}").write_text(full)
            f.write(json.dumps({"template": path.name, "parts": parts, "results": results},
                               ensure_ascii=False) + "\n")
    with open(args.out / "language.jsonl", "w") as f:
        f.write(json.dumps({"variables": VARIABLES, "now": NOW}, ensure_ascii=False) + "\n")
        for source in SNIPPETS + MULTILINE:
            try:
                line = {"source": source, "text": env.from_string(source).render(**copy.deepcopy(VARIABLES))}
            except Exception as e:
                line = {"source": source, "error": str(e)}
            f.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
