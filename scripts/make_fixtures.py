#!/usr/bin/env python3
"""Makes the tiny random checkpoints and reference logits of tests/golden.

One folder per model family under tests/fixtures/models: config.json and model.safetensors (F32) as
`transformers` writes them, and reference.safetensors (all F32) with
    token_ids [n], logits [n, vocab]   eager attention, float32, one whole forward pass
    inv_freq [head_dim / 2], attention_scaling [1]   (and local_* where layers differ)

Runs with torch 2.11 and transformers 5.24; the same seed makes the same files.
    python3 scripts/make_fixtures.py [name ...]
"""

import json
import pathlib
import sys

import torch
import transformers as hf
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "models"

COMMON = dict(
    vocab_size=192,
    hidden_size=64,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=64,  # a size that the attention kernels of every backend have
    max_position_embeddings=256,
    rms_norm_eps=1e-5,
    tie_word_embeddings=False,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)

# name: (config class, settings that differ from COMMON, tokens in the reference sequence)
FIXTURES = {
    "llama2": (hf.LlamaConfig, dict(num_key_value_heads=4, intermediate_size=64), 48),
    "llama3": (
        hf.LlamaConfig,
        dict(
            max_position_embeddings=512,
            rope_parameters=dict(
                rope_type="llama3",
                rope_theta=500.0,
                factor=8.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=64,
            ),
        ),
        80,
    ),
    "llama_linear": (
        hf.LlamaConfig,
        dict(rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)),
        40,
    ),
    "llama_yarn": (
        hf.LlamaConfig,
        dict(
            rope_parameters=dict(
                rope_type="yarn",
                rope_theta=10000.0,
                factor=4.0,
                original_max_position_embeddings=64,
            )
        ),
        72,
    ),
    "llama_bias": (
        hf.LlamaConfig,
        dict(attention_bias=True, num_key_value_heads=1, tie_word_embeddings=True),
        40,
    ),
    "llama_mlp_bias": (
        hf.LlamaConfig,
        dict(mlp_bias=True, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
             tie_word_embeddings=True),
        24,
    ),
    "smollm": (
        hf.LlamaConfig,
        dict(num_attention_heads=6, num_key_value_heads=2, hidden_size=96, intermediate_size=48,
             tie_word_embeddings=True),
        48,
    ),
    "mistral": (hf.MistralConfig, dict(sliding_window=13), 64),
    "qwen2": (hf.Qwen2Config, dict(tie_word_embeddings=True), 48),
    "qwen3": (hf.Qwen3Config, dict(head_dim=128, intermediate_size=48, tie_word_embeddings=True), 48),
    "gemma2": (
        hf.Gemma2Config,
        dict(
            head_dim=256,
            num_attention_heads=2,
            num_key_value_heads=1,
            num_hidden_layers=3,
            intermediate_size=48,
            tie_word_embeddings=True,
            sliding_window=11,
            query_pre_attn_scalar=24,
            attn_logit_softcapping=3.0,
            final_logit_softcapping=2.5,
            hidden_activation="gelu_pytorch_tanh",
        ),
        56,
    ),
    "gemma3": (
        hf.Gemma3TextConfig,
        dict(
            hidden_size=48,
            num_attention_heads=2,
            num_key_value_heads=1,
            num_hidden_layers=6,
            intermediate_size=32,
            tie_word_embeddings=True,
            sliding_window=9,
            query_pre_attn_scalar=20,
            layer_types=["sliding_attention"] * 5 + ["full_attention"],
            rope_parameters=dict(
                full_attention=dict(rope_type="linear", rope_theta=100000.0, factor=8.0),
                sliding_attention=dict(rope_type="default", rope_theta=10000.0),
            ),
        ),
        64,
    ),
}


def randomise(model, generator):
    """Weights of visible size: a wrong norm, bias or mask must move the logits."""
    for name, p in model.named_parameters():
        if p.dim() == 1:
            spread = 0.3 if "norm" in name else 0.5
            centre = 0.0 if "norm" not in name or "gemma" in model.config.model_type else 1.0
            value = centre + spread * torch.randn(p.shape, generator=generator)
        else:
            gain = 1.0 if "embed" in name else 1.4
            value = gain * torch.randn(p.shape, generator=generator) / p.shape[1] ** 0.5
            if "embed" in name:
                value *= 4.0 if "gemma" not in model.config.model_type else 1.5
        p.data.copy_(value.bfloat16().float())  # so that 16-bit backends hold the same weights


def rope_tensors(rotary):
    out = {}
    for key, tensor in rotary.named_buffers():
        if "original" in key or not key.endswith("inv_freq"):
            continue
        prefix = key[: -len("inv_freq")]
        scaling = getattr(rotary, prefix + "attention_scaling")
        local = "local_" if prefix.startswith("sliding") else ""
        out[local + "inv_freq"] = tensor.float().clone()
        out[local + "attention_scaling"] = torch.tensor([float(scaling)])
    return out


# Fixtures whose config.json keeps the form of transformers 4 (rope_theta and rope_scaling), which
# is what most published checkpoints have.
LEGACY_ROPE = {"llama3", "llama_linear", "qwen2"}


def to_legacy_rope(config):
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope if rope["rope_type"] != "default" else None


def make(name):
    config_class, settings, num_tokens = FIXTURES[name]
    generator = torch.Generator().manual_seed(sum(name.encode()))
    config = config_class(**{**COMMON, **settings})
    config._attn_implementation = "eager"
    model = hf.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    model = model.float().eval()
    randomise(model, generator)
    if config.tie_word_embeddings:
        model.tie_weights()
    token_ids = torch.randint(3, config.vocab_size, (1, num_tokens), generator=generator)
    with torch.no_grad():
        logits = model(token_ids, use_cache=False).logits[0].float().contiguous()

    folder = ROOT / name
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    text = json.loads((folder / "config.json").read_text())
    if name in LEGACY_ROPE:
        to_legacy_rope(text)
    (folder / "config.json").write_text(json.dumps(text, indent=1, sort_keys=True) + "\n")
    reference = {"token_ids": token_ids[0].float(), "logits": logits}
    reference.update(rope_tensors(model.model.rotary_emb))
    save_file(reference, folder / "reference.safetensors")
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name}: {size / 1024:.0f} KiB, |logits| up to {logits.abs().max():.2f}, "
          f"{sorted(reference)}")


if __name__ == "__main__":
    torch.set_num_threads(2)
    for fixture in sys.argv[1:] or FIXTURES:
        make(fixture)
