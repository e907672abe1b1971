#!/usr/bin/env python3
"""Writes a tokenizer.json of Llama 3.1's size for servers with random weights, so that each token has
text of its own: dummy_tokenizer.py FOLDER. Byte-level BPE without merges; standard library only."""
import json
import os
import sys

SIZE, SPECIAL = 128256, 256


def byte_alphabet():
    """GPT-2's printable stand-ins for the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    stand_ins = printable + [256 + i for i in range(256 - len(printable))]
    return sorted(chr(c) for c in stand_ins)


def main():
    folder = sys.argv[1]
    words = byte_alphabet()
    words += [f"\u0120w{i:x}" for i in range(SIZE - SPECIAL - len(words))]
    special = [f"<|special_{i}|>" for i in range(SPECIAL)]
    added = [{"id": SIZE - SPECIAL + i, "content": text, "single_word": False, "lstrip": False,
              "rstrip": False, "normalized": False, "special": True}
             for i, text in enumerate(special)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                  "use_regex": True}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": None, "pre_tokenizer": byte_level, "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {word: i for i, word in enumerate(words)}, "merges": []},
    }
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as out:
        json.dump(tokenizer, out, ensure_ascii=False)
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as out:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": special[0],
                   "eos_token": special[1], "model_max_length": 131072}, out)


main()
