"""The requests of the soak: every endpoint, whole and streamed, with grammars and tools, and bodies
that are wrong. Each comes with a check of its answer."""
import json
import re

from http_client import Lost

WORDS = "the sea a ship sails north and stars over cold water sing of home while old men".split()
SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["Ada", "Bo"]}, "age": {"type": "integer", "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TOOL = {
    "name": "get_weather",
    "description": "The weather of a place.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
}


def need(holds, what):
    if not holds:
        raise Lost(what)


def text(random, most=60):
    return " ".join(random.choice(WORDS) for _ in range(random.randint(1, most)))


def messages(random):
    out = [{"role": "user", "content": text(random)}]
    if random.random() < 0.5:  # a start that many share
        out.insert(0, {"role": "system", "content": "You are brief. " + " ".join(WORDS)})
    return out


class Request:
    def __init__(self, kind, path, body, check, statuses=(200,)):
        self.kind, self.path, self.body, self.check, self.statuses = kind, path, body, check, statuses


def ends_with_done(answer):
    events = answer.events()
    need(events and events[-1] == "[DONE]", "the stream does not end with [DONE]")
    need(not any(isinstance(e, dict) and "error" in e for e in events), f"{events[-2]}")
    return events[:-1]


def whole_choices(answer, number):
    choices = answer.json()["choices"]
    need(len(choices) == number, f"{len(choices)} choices of {number}")
    need(all(c["finish_reason"] for c in choices), "a choice has no finish_reason")
    return choices


def chat(random, model):
    number = random.choice([1, 1, 1, 2])
    body = {"model": model, "messages": messages(random), "n": number, "temperature": 0.8,
            "max_tokens": random.randint(1, 48), "seed": random.randrange(1 << 30)}
    if random.random() < 0.5:
        body |= {"stream": True, "stream_options": {"include_usage": True}}

        def check(answer):
            events = ends_with_done(answer)
            need(events[-1]["usage"]["completion_tokens"] > 0, "no usage")
            finished = [c for e in events for c in e["choices"] if c["finish_reason"]]
            need(len(finished) == number, "a streamed choice has no finish_reason")

        return Request("chat stream", "/v1/chat/completions", body, check)
    if random.random() < 0.3:
        body |= {"logprobs": True, "top_logprobs": 3}
    return Request("chat", "/v1/chat/completions", body, lambda a: whole_choices(a, number))


def completion(random, model):
    prompt = text(random, 200)
    if random.random() < 0.3:
        prompt = [random.randrange(100, 40000) for _ in range(random.randint(1, 300))]
    body = {"model": model, "prompt": prompt, "max_tokens": random.randint(1, 64),
            "temperature": random.choice([0, 1.0]), "ignore_eos": random.random() < 0.3}
    if random.random() < 0.5:
        body["stream"] = True
        return Request("completion stream", "/v1/completions", body, ends_with_done)
    if random.random() < 0.2:
        body |= {"echo": True, "logprobs": 1}
    return Request("completion", "/v1/completions", body, lambda a: whole_choices(a, 1))


def structured(random, model):
    body = {"model": model, "messages": messages(random), "max_tokens": 60, "temperature": 0.7}
    form = random.choice(["schema", "regex", "choice"])
    if form == "schema":
        body["response_format"] = {"type": "json_schema",
                                   "json_schema": {"name": "person", "schema": SCHEMA}}
    elif form == "regex":
        body["structured_outputs"] = {"regex": "[A-C]{3}-[0-9]{2,4}"}
    else:
        body["structured_outputs"] = {"choice": ["yes", "no", "maybe"]}

    def check(answer):
        choice = whole_choices(answer, 1)[0]
        if choice["finish_reason"] != "stop":
            return
        content = choice["message"]["content"]
        if form == "schema":
            person = json.loads(content)
            need(set(person) == {"name", "age"} and person["age"] <= 99, f"not valid: {content}")
        elif form == "regex":
            need(re.fullmatch("[A-C]{3}-[0-9]{2,4}", content), f"does not match: {content}")
        else:
            need(content in ("yes", "no", "maybe"), f"not a choice: {content}")

    return Request("grammar " + form, "/v1/chat/completions", body, check)


def tools(random, model):
    body = {"model": model, "messages": messages(random), "max_tokens": 40,
            "tools": [{"type": "function", "function": TOOL}], "tool_choice": "auto"}
    if random.random() < 0.5:
        body["stream"] = True
        return Request("tools stream", "/v1/chat/completions", body, ends_with_done)
    return Request("tools", "/v1/chat/completions", body, lambda a: whole_choices(a, 1))


def responses(random, model, previous):
    body = {"model": model, "input": text(random), "max_output_tokens": random.randint(1, 40)}
    if previous and random.random() < 0.5:
        body["previous_response_id"] = random.choice(previous)
    if random.random() < 0.5:
        body["stream"] = True

        def check(answer):
            last = answer.events()[-1]
            need(last["type"] in ("response.completed", "response.incomplete"), last["type"])

        return Request("responses stream", "/v1/responses", body, check)

    def check_whole(answer):
        response = answer.json()
        need(response["status"] in ("completed", "incomplete"), response["status"])
        previous.append(response["id"])
        del previous[:-20]

    return Request("responses", "/v1/responses", body, check_whole)


def anthropic(random, model):
    body = {"model": model, "messages": [{"role": "user", "content": text(random)}],
            "max_tokens": random.randint(1, 40)}
    if random.random() < 0.5:
        body["stream"] = True

        def check(answer):
            need(answer.events()[-1]["type"] == "message_stop", "no message_stop")

        return Request("messages stream", "/v1/messages", body, check)
    return Request("messages", "/v1/messages", body,
                   lambda a: need(a.json()["stop_reason"], "no stop_reason"))


def tokenize(random, model):
    if random.random() < 0.5:
        return Request("tokenize", "/tokenize", {"model": model, "prompt": text(random, 500)},
                       lambda a: need(a.json()["count"] > 0, "no tokens"))
    ids = [random.randrange(100, 40000) for _ in range(100)]
    return Request("detokenize", "/detokenize", {"model": model, "tokens": ids},
                   lambda a: need(a.json()["prompt"], "no text"))


def embeddings(random, model):
    inputs = [text(random) for _ in range(random.randint(1, 4))]
    return Request("embeddings", "/v1/embeddings", {"model": model, "input": inputs},
                   lambda a: need(len(a.json()["data"]) == len(inputs), "an embedding is missing"))


BAD = [
    ("/v1/chat/completions", b"{"),
    ("/v1/chat/completions", b"\xff\xfe\x00"),
    ("/v1/chat/completions", b"[" * 5000),
    ("/v1/chat/completions", {"messages": []}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": 5}]}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "temperature": "hot"}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}],
                              "response_format": {"type": "json_schema", "json_schema": {
                                  "name": "a", "schema": {"type": "nothing"}}}}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}],
                              "structured_outputs": {"regex": "(((("}}),
    ("/v1/completions", {"prompt": [-1]}),
    ("/v1/completions", {"prompt": "word " * 20000}),
    ("/v1/completions", {"prompt": "x", "model": "none"}),
    ("/v1/responses", {"input": "x", "previous_response_id": "resp_none"}),
    ("/v1/messages", {"messages": [{"role": "user", "content": "x"}]}),
    ("/detokenize", {"tokens": [1 << 40]}),
    ("/nothing", {}),
]


def bad(random, model):
    path, body = random.choice(BAD)
    if isinstance(body, dict):
        body = {"model": model} | body
    return Request("bad body", path, body, lambda a: need("error" in a.json(), "no error"),
                   statuses=(400, 404, 413))


def any_request(random, model, previous, with_embeddings):
    kinds = [(chat, 6), (completion, 4), (structured, 3), (tools, 2), (anthropic, 2), (tokenize, 2),
             (bad, 2), (embeddings, 1 if with_embeddings else 0), (responses, 2)]
    make = random.choices([k for k, _ in kinds], [w for _, w in kinds])[0]
    if make is responses:
        return responses(random, model, previous)
    return make(random, model)
