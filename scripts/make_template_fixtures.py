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


if __name__ == "__main__":
    main()
