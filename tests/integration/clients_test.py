"""Clients and frameworks other than plain `openai` against a real `slipstream serve`.

Each is used as its own documentation shows it, pointed at the server by its address alone: the
parse and stream helpers of openai, anthropic, langchain-openai, litellm, instructor, lm-eval,
grpcio. The model is small: what is checked is that answers arrive whole and in shape.
"""

import asyncio
import json
import os
import socket
import tempfile
from typing import Literal

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("LANGCHAIN_TRACING_V2", "false")

import anthropic
import grpc
import instructor
import litellm
import openai
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase)
from harness import Runner, Server, raises
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI
from pydantic import BaseModel, Field

QUESTION = [{"role": "user", "content": "Say hello in one short sentence."}]


class Colour(BaseModel):
    """The colour of a thing."""
    name: Literal["red", "green", "blue"]
    sure: bool
    weight: int = Field(ge=0, le=100)


def expect_colour(value):
    assert isinstance(value, Colour) and value.name in ("red", "green", "blue"), value


# openai

def test_openai_parse(server, model):
    client = server.client()
    answer = client.chat.completions.parse(model=model, messages=QUESTION, temperature=1.2,
                                           response_format=Colour)
    expect_colour(answer.choices[0].message.parsed)
    expect_colour(client.responses.parse(model=model, input="Hi", temperature=1.2,
                                         text_format=Colour).output_parsed)


def test_openai_parse_tools(server, model):
    tool = openai.pydantic_function_tool(Colour)
    assert tool["function"]["strict"]
    for choice in ("required", {"type": "function", "function": {"name": "Colour"}}):
        answer = server.client().chat.completions.parse(
            model=model, messages=QUESTION, temperature=1.2, tools=[tool], tool_choice=choice,
            parallel_tool_calls=False)
        calls = answer.choices[0].message.tool_calls
        assert len(calls) == 1
        expect_colour(calls[0].function.parsed_arguments)


def test_openai_stream_helper(server, model):
    with server.client().chat.completions.stream(
            model=model, messages=QUESTION, temperature=1.2, response_format=Colour) as stream:
        kinds = [event.type for event in stream]
        expect_colour(stream.get_final_completion().choices[0].message.parsed)
    assert "content.delta" in kinds and kinds[-1] in ("content.done", "chunk"), kinds


def test_openai_async_parse(server, model):
    async def run():
        async with server.async_client() as client:
            answers = await asyncio.gather(*[client.chat.completions.parse(
                model=model, messages=QUESTION, temperature=1.2, seed=seed,
                response_format=Colour) for seed in range(4)])
            for answer in answers:
                expect_colour(answer.choices[0].message.parsed)
    asyncio.run(run())


# anthropic

WEATHER = {"name": "get_weather", "description": "The weather of a city",
           "input_schema": {"type": "object", "required": ["city"], "additionalProperties": False,
                            "properties": {"city": {"enum": ["Paris", "Rome"]}}}}


def test_anthropic(server, model):
    client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)
    ask = dict(model=model, max_tokens=16, messages=QUESTION, extra_body={"temperature": 0})
    whole = client.messages.create(**ask)
    assert whole.role == "assistant" and whole.content[0].type == "text"
    assert whole.usage.output_tokens > 0 and whole.stop_reason in ("end_turn", "max_tokens")
    with client.messages.stream(**ask) as stream:
        text = "".join(stream.text_stream)
        assert stream.get_final_message().usage.output_tokens == whole.usage.output_tokens
    assert text == whole.content[0].text, (text, whole.content[0].text)
    counted = client.messages.count_tokens(model=model, messages=QUESTION)
    assert counted.input_tokens == whole.usage.input_tokens + (
        whole.usage.cache_read_input_tokens or 0)


def test_anthropic_tools(server, model):
    client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)
    for choice in ({"type": "any"}, {"type": "tool", "name": "get_weather"}):
        ask = dict(model=model, max_tokens=200, messages=QUESTION, tools=[WEATHER],
                   extra_body={"temperature": 1.0}, tool_choice={**choice, "disable_parallel_tool_use": True})
        answer = client.messages.create(**ask)
        blocks = [block for block in answer.content if block.type == "tool_use"]
        assert len(blocks) == 1 and blocks[0].input["city"] in ("Paris", "Rome"), answer
        assert answer.stop_reason == "tool_use"
        with client.messages.stream(**ask) as stream:
            last = stream.get_final_message().content[-1]
        assert last.type == "tool_use" and last.input["city"] in ("Paris", "Rome"), last
        history = QUESTION + [
            {"role": "assistant", "content": [block.model_dump() for block in blocks]},
            {"role": "user", "content": [{"type": "tool_result", "content": "Sunny",
                                          "tool_use_id": blocks[0].id}]}]
        assert client.messages.create(model=model, max_tokens=4, messages=history).content


def test_anthropic_errors(server, model):
    client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)
    error = raises(anthropic.NotFoundError, lambda: client.messages.create(
        model="no-such-model", max_tokens=4, messages=QUESTION))
    assert error.body["type"] == "error" and error.body["error"]["type"] == "not_found_error"
    raises(anthropic.BadRequestError, lambda: client.messages.create(
        model=model, max_tokens=4, messages=QUESTION, extra_body={"temperature": "hot"}))


def test_anthropic_async(server, model):
    async def run():
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key="none") as client:
            async with client.messages.stream(model=model, max_tokens=8,
                                              messages=QUESTION) as stream:
                return "".join([text async for text in stream.text_stream])
    assert asyncio.run(run())


# langchain-openai

def langchain(server, model, **more):
    return ChatOpenAI(base_url=server.url + "/v1", api_key="none", model=model, **more)


def test_langchain(server, model):
    chat = langchain(server, model, temperature=0, max_tokens=16)
    whole = chat.invoke([HumanMessage("Say hello.")])
    assert whole.content and whole.usage_metadata["output_tokens"] > 0
    pieces = list(chat.stream([HumanMessage("Say hello.")], stream_usage=True))
    assert "".join(piece.content for piece in pieces) == whole.content
    assert any(piece.usage_metadata for piece in pieces)
    assert len(asyncio.run(chat.abatch([[HumanMessage("One")], [HumanMessage("Two")]]))) == 2


def test_langchain_structure_and_tools(server, model):
    chat = langchain(server, model, temperature=1.0)
    for method in ("json_schema", "function_calling"):
        expect_colour(chat.with_structured_output(Colour, method=method).invoke("A colour?"))
    forced = chat.bind_tools([Colour], tool_choice="any", parallel_tool_calls=False)
    call = forced.invoke("A colour?")
    assert call.tool_calls and not call.invalid_tool_calls
    Colour.model_validate(call.tool_calls[0]["args"])
    more = langchain(server, model, max_tokens=4).invoke(
        [HumanMessage("A colour?"), call] + [
            ToolMessage("ok", tool_call_id=c["id"]) for c in call.tool_calls])
    assert more.content is not None


# litellm

def test_litellm(server, model):
    ask = dict(model="openai/" + model, api_base=server.url + "/v1", api_key="none",
               messages=QUESTION, max_tokens=12, temperature=0)
    whole = litellm.completion(**ask)
    chunks = list(litellm.completion(**ask, stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert litellm.stream_chunk_builder(chunks).choices[0].message.content == text
    hosted = litellm.completion(**{**ask, "model": "hosted_vllm/" + model})
    assert hosted.choices[0].message.content == text
    short = litellm.text_completion(model="text-completion-openai/" + model, prompt="1 2 3",
                                    api_base=server.url + "/v1", api_key="none", max_tokens=4)
    assert short.choices[0].text
    raises(litellm.NotFoundError, lambda: litellm.completion(**{**ask, "model": "openai/none"}))
    raises(litellm.ContextWindowExceededError, lambda: litellm.completion(
        **{**ask, "messages": [{"role": "user", "content": "x " * 100_000}]}))


# instructor

def test_instructor(server, model):
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA, instructor.Mode.JSON):
        client = instructor.from_openai(server.client(), mode=mode)
        more = {} if mode != instructor.Mode.JSON else {
            "extra_body": {"guided_json": Colour.model_json_schema(), "response_format": None}}
        expect_colour(client.chat.completions.create(
            model=model, messages=QUESTION, response_model=Colour, temperature=1.0,
            max_retries=0, **more))


# lm-eval

def test_lm_eval_loglikelihood(server, model):
    """Echo and logprobs over token ids, which the server itself makes of text."""
    lm = LocalCompletionsAPI(
        model=model, base_url=server.url + "/v1/completions", tokenizer_backend="remote",
        num_concurrent=1, max_retries=1, batch_size=2)
    pairs = [("The sea is", " blue"), ("The sea is", " purple and made of bricks"),
             ("1 2 3 4 5 6", " 7"), ("1 2 3 4 5 6", " elephants")]
    scores = lm.loglikelihood([
        Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)])
    assert all(score <= 0 for score, _ in scores)
    assert scores[0][0] > scores[1][0] and scores[2][0] > scores[3][0], scores
    assert scores[2][1], "the continuation is what the model would have said"
    text = lm.generate_until([Instance(
        "generate_until", {}, ("1 2 3 4", {"until": ["\n"], "max_gen_toks": 6}), 0)])
    assert "5" in text[0], text


def test_lm_eval_task(server, model):
    """A local multiple-choice task through the whole of lm-eval."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager
    with tempfile.TemporaryDirectory() as folder:
        rows = [{"q": "1, 2, 3,", "good": " 4", "bad": " elephants"},
                {"q": "Monday, Tuesday,", "good": " Wednesday", "bad": " bricks"},
                {"q": "a, b, c, d,", "good": " e", "bad": " running"}]
        with open(folder + "/rows.jsonl", "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        with open(folder + "/task.yaml", "w") as file:
            file.write(f"""task: sequences
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/rows.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{q}}}}"
target_delimiter: ""
doc_to_choice: "{{{{[good, bad]}}}}"
doc_to_target: 0
metric_list: [{{metric: acc}}]
""")
        results = simple_evaluate(
            model="local-completions", tasks=["sequences"], bootstrap_iters=0,
            model_args=dict(model=model, base_url=server.url + "/v1/completions",
                            tokenizer_backend="remote", num_concurrent=1),
            task_manager=TaskManager(include_path=folder, include_defaults=False))
    assert results["results"]["sequences"]["acc,none"] == 1, results["results"]


# grpcio: stubs from the server's own reflection

def test_grpc(server, model):
    with grpc.insecure_channel(server.grpc) as channel:
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        service = pool.FindServiceByName("slipstream.v1.Inference")

        def call(name, timeout=60, **fields):
            method = service.FindMethodByName(name)
            request = message_factory.GetMessageClass(method.input_type)(**fields)
            answer = message_factory.GetMessageClass(method.output_type)
            make = channel.unary_stream if name == "Generate" else channel.unary_unary
            return make(f"/slipstream.v1.Inference/{name}",
                        request_serializer=lambda r: r.SerializeToString(),
                        response_deserializer=answer.FromString)(request, timeout=timeout)

        ids = list(call("Tokenize", text="The sea is blue").token_ids)
        assert ids == server.post("/tokenize", {"prompt": "The sea is blue"})["tokens"]
        text = "".join(r.text for r in call(
            "Generate", text="1 2 3 4 5 6", sampling={"temperature": 0, "max_tokens": 8}))
        http = server.client().completions.create(model=model, prompt="1 2 3 4 5 6",
                                                  temperature=0, max_tokens=8)
        assert text == http.choices[0].text, (text, http.choices[0].text)
        error = raises(grpc.RpcError, lambda: list(call("Generate", text="x", model="none")))
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        error = raises(grpc.RpcError, lambda: list(call(
            "Generate", text="A story:", timeout=0.5,
            sampling={"max_tokens": 2000, "ignore_eos": True})))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
        server.until("kv_blocks_used", lambda v: v == 0, "blocks come back after a deadline")
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING


def main():
    runner = Runner()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server("--tool-parser", "hermes", "--grpc-port", str(port))
    server.grpc = f"127.0.0.1:{port}"
    model = server.client().models.list().data[0].id
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            runner.run(name, lambda: test(server, model))
    runner.run("drain", server.stop)
    runner.finish()


if __name__ == "__main__":
    main()
