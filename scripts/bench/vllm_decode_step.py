#!/usr/bin/env python3
"""The decode step of vLLM on one GPU with dummy weights, as rows of decode_step.csv.

    vllm_decode_step.py MODEL_DIR CARD COMMIT decode_step.csv

A step is the difference of two runs that generate 144 and 16 tokens, over 128: prompts, sampling of
the first token and start-up cancel out. share_of_floor assumes 15.01 GB of weights and 128 KiB of KV a
token (Llama-3.1-8B, bf16) at 3119 GB/s.
"""

import datetime
import os
import random
import sys
import time

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
SHAPES = [(1, 128), (1, 8192), (8, 1024), (16, 1024), (32, 1024), (64, 1024), (128, 1024), (64, 4096)]


def main():
    import vllm

    model, card, commit, rows = sys.argv[1:5]  # not stdout: vLLM writes its log there
    engine = vllm.LLM(model=model, load_format="dummy", skip_tokenizer_init=True,
                      max_model_len=16384, gpu_memory_utilization=0.9,
                      enable_prefix_caching=False, max_num_seqs=256)
    numbers = random.Random(0)

    def seconds(batch, context, tokens):
        prompts = [{"prompt_token_ids": [numbers.randrange(1000, 120000) for _ in range(context)]}
                   for _ in range(batch)]
        params = vllm.SamplingParams(temperature=0.0, max_tokens=tokens, min_tokens=tokens,
                                     ignore_eos=True, detokenize=False)
        begin = time.monotonic()
        engine.generate(prompts, params, use_tqdm=False)
        return time.monotonic() - begin

    seconds(1, 128, 8)
    for batch, context in SHAPES:
        short, long = seconds(batch, context, 16), seconds(batch, context, 144)
        ms = (long - short) / 128 * 1e3
        floor_ms = (15.01e9 + batch * (context + 80) * 131072) / 3119e9 * 1e3
        with open(rows, "a") as out:
            print(f"{card},{datetime.date.today()},{commit},llama-3.1-8b,bf16,1,"
                  f"vllm-{vllm.__version__},{batch},{context},{ms:.3f},{floor_ms / ms:.3f}", file=out)


main()
