"""schemathesis against a real `slipstream serve`: what /openapi.json says of each endpoint is true.

Started by ctest (label integration) with SLIPSTREAM_BINARY and SLIPSTREAM_MODEL, whose tokenizer and
chat template it borrows; the model itself is a small one of random weights, so that thousands of
requests take seconds. Needs the package `schemathesis`. Loaded again by schemathesis as its hooks.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request

import schemathesis

READY_SECONDS = 120
# What the server may answer beyond the reasons a schema can state: prompts too long for the
# context, models and ids it does not have, grammars that do not compile, two fields that exclude
# each other. So valid-looking requests may be refused, if with the documented shape.
CHECKS = ("not_a_server_error,status_code_conformance,content_type_conformance,"
          "response_headers_conformance,response_schema_conformance,negative_data_rejection,"
          "missing_required_header,unsupported_method,ignored_auth")
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 32, "head_dim": 16,
    "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1,
    "num_hidden_layers": 1, "vocab_size": 49152, "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5, "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2,
}


@schemathesis.check
def documented_fields_have_an_effect(ctx, response, case):
    """No property that the document names comes back as one without effect."""
    ignored = response.headers.get("x-slipstream-ignored-fields", [""])[0]
    body = case.operation.definition.raw.get("requestBody")
    if not ignored or body is None:
        return
    schemas = json.loads(os.environ["SLIPSTREAM_OPENAPI"])["components"]["schemas"]
    name = body["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
    # Of the fields that depend on the model's template.
    known = properties(schemas, schemas[name]) - {"tools", "tool_choice", "reasoning_effort"}
    for field in ignored.split(", "):
        assert field not in known, f"{name}.{field} is documented and had no effect"


def properties(schemas, schema):
    names = set(schema.get("properties", {}))
    for part in schema.get("allOf", []):
        part = schemas[part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else part
        names |= properties(schemas, part)
    return names


def start(folder):
    pathlib.Path(folder, "config.json").write_text(json.dumps(CONFIG))
    # A timeout_seconds of next to nothing is a 504, as it should be.
    pathlib.Path(folder, "schemathesis.toml").write_text(
        '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", 504]\n')
    command = [os.environ["SLIPSTREAM_BINARY"], "serve", folder, "--load-format", "dummy",
               "--dummy-dtype", "f32", "--tokenizer", os.environ["SLIPSTREAM_MODEL"],
               "--device", "cpu", "--host", "127.0.0.1", "--port", "0", "--max-model-len", "128",
               "--num-blocks", "1024", "--log-level", "warning"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    killer = threading.Timer(READY_SECONDS, process.kill)
    killer.start()
    for line in process.stdout:
        found = re.search(r"listening on (http://\S+)", line)
        if found:
            killer.cancel()
            return process, found.group(1)
    raise RuntimeError(f"the server did not start: exit code {process.wait()}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        process, url = start(folder)
        try:
            document = urllib.request.urlopen(url + "/openapi.json").read().decode()
            environment = {**os.environ, "SCHEMATHESIS_HOOKS": __name__ if __name__ != "__main__"
                           else "openapi_test", "PYTHONPATH": str(pathlib.Path(__file__).parent),
                           "SLIPSTREAM_OPENAPI": document}
            run = subprocess.run(
                [sys.executable, "-m", "schemathesis.cli", "run", url + "/openapi.json",
                 "--checks", CHECKS + ",documented_fields_have_an_effect", "--workers", "2",
                 "--max-examples", os.environ.get("SLIPSTREAM_OPENAPI_EXAMPLES", "20"),
                 "--phases", "examples,coverage,fuzzing", "--seed", "1", "--warnings", "off",
                 "--suppress-health-check", "all", "--request-timeout", "60",
                 "--continue-on-failure", "--no-shrink"],
                cwd=folder, env=environment)
            health = urllib.request.urlopen(url + "/health").status
        finally:
            process.send_signal(signal.SIGTERM)
        code = process.wait(60)
        assert code == 0, f"exit code {code} after SIGTERM"
        return run.returncode or (0 if health == 200 else 1)


if __name__ == "__main__":
    sys.exit(main())
