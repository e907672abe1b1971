"""/v1/embeddings with the OpenAI Python package against a real server and a real model.

Started by ctest (label integration) with SLIPSTREAM_BINARY and SLIPSTREAM_MODEL.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading

import httpx
import openai

READY_SECONDS = 120
TEXTS = ["A cat sat on the mat.", "A kitten rested on the rug.", "Stock markets fell sharply."]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def check(url):
    sent = []
    client = openai.OpenAI(base_url=url + "/v1", api_key="none", http_client=httpx.Client(
        event_hooks={"request": [lambda request: sent.append(request.read())]}))
    model = client.models.list().data[0].id

    def embed(what, **more):
        answer = client.embeddings.create(model=model, input=what, **more)
        return [item.embedding for item in answer.data]

    # W45: the package asks for base64 by itself and turns it into numbers.
    vectors = embed(TEXTS)
    assert json.loads(sent[-1])["encoding_format"] == "base64", sent[-1]
    floats = embed(TEXTS, encoding_format="float")
    assert max(abs(x - y) for a, b in zip(vectors, floats) for x, y in zip(a, b)) < 1e-7

    for pooling in ("last", "mean"):
        more = {"extra_body": {"pooling": pooling}}
        vectors = embed(TEXTS, **more)
        assert all(abs(dot(v, v) - 1) < 1e-5 for v in vectors)
        near, far = dot(vectors[0], vectors[1]), dot(vectors[0], vectors[2])
        assert near > far, f"{pooling}: like texts {near}, unlike ones {far}"
        # Alone, beside each other, beside an answer in the making: the same bits.
        assert [embed(text, **more)[0] for text in TEXTS] == vectors, pooling
        stream = client.completions.create(model=model, prompt="Once upon a time", stream=True,
                                           max_tokens=60)
        next(iter(stream))
        assert embed(TEXTS, **more) == vectors, pooling
        stream.close()

    short = embed(TEXTS[0], dimensions=64)[0]
    assert len(short) == 64 and abs(dot(short, short) - 1) < 1e-5
    for wrong in ({"dimensions": 100000}, {"encoding_format": "hex"}):
        try:
            embed("x", **wrong)
        except openai.BadRequestError as error:
            assert error.param == next(iter(wrong)), error
        else:
            raise AssertionError(f"{wrong} was accepted")


def main():
    command = [os.environ["SLIPSTREAM_BINARY"], "serve", os.environ["SLIPSTREAM_MODEL"],
               "--host", "127.0.0.1", "--port", "0", "--max-model-len", "1024"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    killer = threading.Timer(READY_SECONDS, process.kill)
    killer.start()
    url = None
    for line in process.stdout:
        found = re.search(r"listening on (http://\S+)", line)
        if found:
            url = found.group(1)
            break
    killer.cancel()
    try:
        assert url is not None, "the server did not start"
        check(url)
    finally:
        process.send_signal(signal.SIGTERM)
    code = process.wait(60)
    assert code == 0, f"exit code {code} after SIGTERM"


if __name__ == "__main__":
    sys.exit(main())
