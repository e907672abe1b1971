"""The OpenAI Python package against a real `slipstream serve` and a real model."""

import asyncio
import json
import threading
import urllib.request

import openai
from harness import Runner, Server, raises

QUESTION = [{"role": "user", "content": "Say hello in one short sentence."}]
LONG = [{"role": "user", "content": "Write a very long story about the sea."}]


def test_models(server):
    client = server.client()
    models = client.models.list().data
    assert len(models) >= 1
    model = client.models.retrieve(models[0].id)
    assert model.id == models[0].id and model.max_model_len > 0
    raises(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"))


def test_chat(server, model):
    answer = server.client().chat.completions.create(
        model=model, messages=QUESTION, temperature=0, max_completion_tokens=24)
    choice = answer.choices[0]
    assert choice.message.role == "assistant" and choice.message.content.strip()
    assert choice.finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id


def test_chat_stream_equals_whole(server, model):
    client = server.client()
    ask = dict(model=model, messages=QUESTION, temperature=0, max_tokens=24)
    whole = client.chat.completions.create(**ask)
    chunks = list(client.chat.completions.create(
        **ask, stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content, (text, whole.choices[0].message.content)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({c.id for c in chunks}) == 1
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == \
        whole.usage.completion_tokens
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert reasons[-1] == whole.choices[0].finish_reason and not any(reasons[:-1])


def test_chat_async(server, model):
    async def run():
        async with server.async_client() as client:
            async def one(n):
                stream = await client.chat.completions.create(
                    model=model, messages=QUESTION, temperature=0, max_tokens=4 + n, stream=True)
                return "".join([c.choices[0].delta.content or "" async for c in stream])
            return await asyncio.gather(*[one(n) for n in range(8)])
    texts = asyncio.run(run())
    for n in range(1, 8):
        assert texts[n].startswith(texts[n - 1]), texts


def test_choices_seed_and_stop(server, model):
    client = server.client()
    ask = dict(model=model, messages=QUESTION, n=3, seed=11, max_tokens=12)
    first, second = client.chat.completions.create(**ask), client.chat.completions.create(**ask)
    texts = [c.message.content for c in first.choices]
    assert [c.index for c in first.choices] == [0, 1, 2]
    assert texts == [c.message.content for c in second.choices], "a seed repeats the answer"
    whole = client.completions.create(model=model, prompt="1 2 3 4 5 6", temperature=0,
                                      max_tokens=16).choices[0].text
    cut = client.completions.create(model=model, prompt="1 2 3 4 5 6", temperature=0,
                                    max_tokens=16, stop=[whole[4:8]]).choices[0]
    assert cut.text == whole[:whole.index(whole[4:8])] and cut.finish_reason == "stop"


def test_completions_echo_logprobs(server, model):
    # As lm-eval asks: prompt ids, echo, one token; the arrays are prompt + 1 long.
    tokens = json.loads(urllib.request.urlopen(urllib.request.Request(
        server.url + "/tokenize", data=json.dumps({"prompt": "The sea is blue"}).encode(),
        headers={"content-type": "application/json"})).read())["tokens"]
    answer = server.client().completions.create(
        model=model, prompt=[tokens], echo=True, logprobs=1, max_tokens=1, temperature=0)
    logprobs = answer.choices[0].logprobs
    assert len(logprobs.token_logprobs) == len(tokens) + 1
    assert logprobs.token_logprobs[0] is None
    assert all(p <= 0 for p in logprobs.token_logprobs[1:])
    assert answer.choices[0].text.startswith("The sea is blue")


def test_chat_logprobs(server, model):
    answer = server.client().chat.completions.create(
        model=model, messages=QUESTION, temperature=0, max_tokens=4, logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content
    assert len(content) == 4 and all(len(c.top_logprobs) == 3 for c in content)
    joined = b"".join(bytes(c.bytes) for c in content).decode(errors="replace")
    assert joined == answer.choices[0].message.content


def test_errors(server, model):
    client = server.client(max_retries=0)
    error = raises(openai.BadRequestError, lambda: client.chat.completions.create(
        model=model, messages=QUESTION, temperature=1000))
    assert error.param == "temperature" and error.status_code == 400 and error.request_id
    error = raises(openai.BadRequestError, lambda: client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "x " * 200_000}]))
    assert "maximum context length" in str(error) and error.code == "context_length_exceeded"
    raises(openai.NotFoundError, lambda: client.chat.completions.create(
        model="no-such-model", messages=QUESTION))
    error = raises(openai.BadRequestError, lambda: client.chat.completions.create(
        model=model, messages=QUESTION, response_format={
            "type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "strung"}}}))
    assert error.param == "response_format" and "strung" in str(error)


def test_structured_output(server, model):
    schema = {"type": "object", "required": ["colour", "sure"], "additionalProperties": False,
              "properties": {"colour": {"enum": ["red", "green", "blue"]},
                             "sure": {"type": "boolean"}}}
    client = server.client()
    for stream in (False, True):
        answer = client.chat.completions.create(
            model=model, messages=QUESTION, temperature=1.5, stream=stream, response_format={
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema, "strict": True}})
        if stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
        else:
            text = answer.choices[0].message.content
            assert answer.choices[0].finish_reason == "stop"
        value = json.loads(text)
        assert set(value) == {"colour", "sure"} and value["colour"] in ("red", "green", "blue")
        assert isinstance(value["sure"], bool)
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, extra_body={"guided_choice": ["yes", "no"]})
    assert answer.choices[0].message.content in ("yes", "no")


def test_cancel_frees_blocks(server, model):
    before = server.metric("client_disconnects_total")
    stream = server.client().chat.completions.create(
        model=model, messages=LONG, max_tokens=2000, stream=True,
        extra_body={"ignore_eos": True})
    next(iter(stream))
    server.until("kv_blocks_used", lambda v: v > 0, "a running stream holds blocks")
    stream.close()
    server.until("kv_blocks_used", lambda v: v == 0, "blocks come back after a closed stream")

    async def give_up():
        async with server.async_client(max_retries=0) as client:
            task = asyncio.create_task(client.chat.completions.create(
                model=model, messages=LONG, max_tokens=2000, n=2,
                extra_body={"ignore_eos": True}))
            while server.metric("num_requests_running") == 0:
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    asyncio.run(give_up())
    server.until("kv_blocks_used", lambda v: v == 0, "blocks come back after a cancelled call")
    server.until("client_disconnects_total", lambda v: v == before + 2, "both are counted")


def check_overload_and_retries():
    """A queue of one place: 429 without retries, an answer with them."""
    server = Server("--max-num-seqs", "1", "--max-queued-requests", "1")
    try:
        model = server.client().models.list().data[0].id
        ask = dict(model=model, messages=LONG, max_tokens=1500, stream=True,
                   extra_body={"ignore_eos": True})
        running = server.client().chat.completions.create(**ask)
        next(iter(running))

        def wait_in_queue():
            stream = server.client().chat.completions.create(**ask)
            next(iter(stream))
            stream.close()
        waiting = threading.Thread(target=wait_in_queue)
        waiting.start()
        server.until("queued_requests", lambda v: v == 1, "the second request waits")

        quick = dict(model=model, messages=QUESTION, max_tokens=2)
        error = raises(openai.RateLimitError,
                       lambda: server.client(max_retries=0).chat.completions.create(**quick))
        assert error.response.headers["retry-after"] == "1"
        threading.Timer(0.5, running.close).start()
        answer = server.client(max_retries=60).chat.completions.create(**quick)
        assert answer.choices[0].finish_reason in ("stop", "length")
        waiting.join()
    finally:
        server.stop()


def check_tool_calls():
    """A forced call as the package sees it: whole, streamed and cut off."""
    server = Server("--tool-parser", "hermes", "--strict-fields")
    try:
        client = server.client()
        model = client.models.list().data[0].id
        function = {"name": "get_weather", "parameters": {
            "type": "object", "properties": {"city": {"type": "string"}}}}
        tools = [{"type": "function", "function": function}]
        # The template of this model shows no tools: they would be ignored.
        raises(openai.BadRequestError, lambda: client.chat.completions.create(
            model=model, messages=QUESTION, tools=tools))
    finally:
        server.stop()
    server = Server("--tool-parser", "hermes")
    try:
        client = server.client()
        named = {"type": "function", "function": {"name": "get_weather"}}
        ask = dict(model=model, messages=[{"role": "user", "content": "The weather in Paris?"}],
                   tools=tools, tool_choice=named, temperature=0, max_tokens=8)
        message = client.chat.completions.create(**ask).choices[0].message
        call = message.tool_calls[0]
        assert message.content is None and len(message.tool_calls) == 1
        assert call.function.name == "get_weather" and call.function.arguments.startswith("{")
        deltas = [c.choices[0].delta for c in client.chat.completions.create(**ask, stream=True)]
        parts = [part for delta in deltas for part in delta.tool_calls or []]
        assert parts[0].id and parts[0].id != call.id and not any(p.id for p in parts[1:])
        assert parts[0].function.name == "get_weather" and {p.index for p in parts} == {0}
        joined = "".join(p.function.arguments or "" for p in parts)
        assert joined == call.function.arguments, (joined, call.function.arguments)
        history = ask["messages"] + [message.model_dump(exclude_none=True), {
            "role": "tool", "tool_call_id": call.id, "content": "Sunny"}]
        answer = client.chat.completions.create(model=model, messages=history, max_tokens=4)
        assert answer.choices[0].message.content
    finally:
        server.stop()


def test_responses(server, model):
    client = server.client()
    ask = {"model": model, "input": "Hi", "max_output_tokens": 8, "temperature": 0}
    whole = client.responses.create(**ask)
    assert whole.object == "response" and whole.usage.output_tokens > 0, whole
    with client.responses.stream(**ask) as stream:
        text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
    assert text == whole.output_text, (text, whole.output_text)
    assert client.responses.retrieve(whole.id).output_text == whole.output_text
    more = client.responses.create(**{**ask, "input": "More", "previous_response_id": whole.id})
    assert more.usage.input_tokens > whole.usage.input_tokens
    client.responses.delete(whole.id)
    raises(openai.NotFoundError, lambda: client.responses.retrieve(whole.id))
    raises(openai.NotFoundError, lambda: client.responses.create(model="other", input="Hi"))


def test_responses_async_stream(server, model):
    async def types():
        async with server.async_client() as client:
            stream = await client.responses.create(
                model=model, input="Hi", max_output_tokens=4, stream=True)
            return [event.type async for event in stream]

    seen = asyncio.run(types())
    assert seen[:2] == ["response.created", "response.in_progress"], seen
    assert seen[-1] in ("response.completed", "response.incomplete"), seen


def main():
    runner = Runner()
    server = Server()
    model = server.client().models.list().data[0].id
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            arguments = (server,) if test.__code__.co_argcount == 1 else (server, model)
            runner.run(name, lambda: test(*arguments))
    runner.run("drain", server.stop)
    runner.run("overload_and_retries", check_overload_and_retries)
    runner.run("tool_calls", check_tool_calls)
    runner.finish()


if __name__ == "__main__":
    main()
