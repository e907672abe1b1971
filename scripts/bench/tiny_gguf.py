#!/usr/bin/env python3
"""Writes a model of no weight to speak of as a GGUF file: one layer that adds nothing, after each
letter the next one. With it a server's time is its own, not the model's. Usage: tiny_gguf.py FILE"""
import struct
import sys

HIDDEN, INNER, CONTEXT = 64, 64, 8192
LETTERS = [chr(ord("a") + i) for i in range(26)]
TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "\u2581", *LETTERS]
TYPES = [2, 3, 3] + [6] * 256 + [1] * (1 + len(LETTERS))
FIRST_LETTER = TOKENS.index("a")
U32, F32, STRING, ARRAY, I32, BOOL = 4, 6, 8, 9, 5, 7


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, v):
    return struct.pack("<I", kind) + (
        text(v) if kind == STRING else struct.pack({U32: "<I", F32: "<f", BOOL: "<?"}[kind], v))


def array(kind, values):
    one = text if kind == STRING else lambda v: struct.pack({F32: "<f", I32: "<i"}[kind], v)
    return struct.pack("<IIQ", ARRAY, kind, len(values)) + b"".join(map(one, values))


def unit(i):
    return [1.0 if d == i else 0.0 for d in range(HIDDEN)]


def main():
    keys = {
        "general.architecture": value(STRING, "llama"), "general.name": value(STRING, "tiny"),
        "llama.block_count": value(U32, 1), "llama.context_length": value(U32, CONTEXT),
        "llama.embedding_length": value(U32, HIDDEN), "llama.feed_forward_length": value(U32, INNER),
        "llama.attention.head_count": value(U32, 1), "llama.attention.head_count_kv": value(U32, 1),
        "llama.rope.dimension_count": value(U32, HIDDEN),
        "llama.attention.layer_norm_rms_epsilon": value(F32, 1e-5),
        "tokenizer.ggml.model": value(STRING, "llama"),
        "tokenizer.ggml.tokens": array(STRING, TOKENS),
        "tokenizer.ggml.scores": array(F32, [0.0] * len(TOKENS)),
        "tokenizer.ggml.token_type": array(I32, TYPES),
        "tokenizer.ggml.bos_token_id": value(U32, 1),
        "tokenizer.ggml.eos_token_id": value(U32, 2),
        "tokenizer.ggml.add_bos_token": value(BOOL, False),
    }
    embedding, output = [], []
    for token in range(len(TOKENS)):
        letter = token - FIRST_LETTER
        embedding += unit(letter if letter >= 0 else 25)
        output += unit((letter - 1) % 26) if letter >= 0 else [0.0] * HIDDEN
    zeros, ones = [0.0] * (HIDDEN * INNER), [1.0] * HIDDEN
    tensors = [("token_embd.weight", [HIDDEN, len(TOKENS)], embedding),
               ("output.weight", [HIDDEN, len(TOKENS)], output),
               ("output_norm.weight", [HIDDEN], ones),
               ("blk.0.attn_norm.weight", [HIDDEN], ones), ("blk.0.ffn_norm.weight", [HIDDEN], ones)]
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        tensors.append((f"blk.0.{name}.weight", [HIDDEN, INNER], zeros))
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    out += b"".join(text(k) + v for k, v in keys.items())
    offset = 0
    for name, shape, data in tensors:
        out += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)
        offset += len(data) * 4  # all are multiples of the alignment, 32
    out += bytes(-len(out) % 32)
    out += b"".join(struct.pack(f"<{len(data)}f", *data) for _, _, data in tensors)
    with open(sys.argv[1], "wb") as f:
        f.write(out)


if __name__ == "__main__":
    main()
