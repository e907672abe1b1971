// Makes small GGUF files in memory, good ones and, field by field, bad ones. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "loader/gguf.h"

namespace slipstream {

class GgufWriter {
 public:
  static constexpr uint32_t kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ8_0 = 8, kIQ4_XS = 23;

  uint32_t version = 3;
  uint64_t alignment = 32;  // of the data; write the key yourself when it differs

  GgufWriter& U32(std::string_view key, uint32_t v) { return Number(key, GgufType::kU32, v); }
  GgufWriter& U64(std::string_view key, uint64_t v) { return Number(key, GgufType::kU64, v); }
  GgufWriter& F32(std::string_view key, float v) { return Number(key, GgufType::kF32, v); }
  GgufWriter& Bool(std::string_view key, bool v) {
    return Number(key, GgufType::kBool, static_cast<uint8_t>(v));
  }
  GgufWriter& Text(std::string_view key, std::string_view v) {
    Key(key, GgufType::kString);
    Append(&keys_, v);
    return *this;
  }
  GgufWriter& Texts(std::string_view key, const std::vector<std::string>& v) {
    ArrayOf(key, GgufType::kString, v.size());
    for (const std::string& s : v) Append(&keys_, s);
    return *this;
  }
  GgufWriter& I32s(std::string_view key, const std::vector<int32_t>& v) {
    ArrayOf(key, GgufType::kI32, v.size());
    for (const int32_t x : v) Append(&keys_, x);
    return *this;
  }
  // A key whose value is written by the test.
  GgufWriter& Raw(std::string_view key, GgufType type, std::string_view bytes) {
    Key(key, type);
    keys_ += bytes;
    return *this;
  }
  // `dims` innermost first, as in the file. Placed after the tensor before it.
  GgufWriter& Tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                     std::string_view data) {
    return TensorAt(name, dims, type, Aligned(data_.size()), data);
  }
  // The same with an offset of the test's choice.
  GgufWriter& TensorAt(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                       uint64_t offset, std::string_view data) {
    Append(&infos_, name);
    Append(&infos_, static_cast<uint32_t>(dims.size()));
    for (const uint64_t d : dims) Append(&infos_, d);
    Append(&infos_, type);
    Append(&infos_, offset);
    data_.resize(Aligned(data_.size()));
    data_ += data;
    ++num_tensors_;
    return *this;
  }
  // An F32 tensor of `elems` equal values.
  GgufWriter& Floats(std::string_view name, const std::vector<uint64_t>& dims, float value) {
    size_t elems = 1;
    for (const uint64_t d : dims) elems *= d;
    std::string data;
    for (size_t i = 0; i < elems; ++i) Append(&data, value);
    return Tensor(name, dims, kF32, data);
  }

  std::string Build() const {
    std::string out = "GGUF";
    Append(&out, version);
    Append(&out, num_tensors_);
    Append(&out, num_keys_);
    out += keys_ + infos_;
    if (num_tensors_ > 0) out.resize(Aligned(out.size()));
    return out + data_;
  }

  template <typename T>
  static void Append(std::string* out, T v) {
    if constexpr (std::is_convertible_v<T, std::string_view>) {
      const std::string_view text = v;
      Append(out, static_cast<uint64_t>(text.size()));
      out->append(text);
    } else {
      out->append(reinterpret_cast<const char*>(&v), sizeof(v));
    }
  }

 private:
  void Key(std::string_view key, GgufType type) {
    Append(&keys_, key);
    Append(&keys_, static_cast<uint32_t>(type));
    ++num_keys_;
  }
  void ArrayOf(std::string_view key, GgufType type, uint64_t count) {
    Key(key, GgufType::kArray);
    Append(&keys_, static_cast<uint32_t>(type));
    Append(&keys_, count);
  }
  template <typename T>
  GgufWriter& Number(std::string_view key, GgufType type, T v) {
    Key(key, type);
    Append(&keys_, v);
    return *this;
  }
  size_t Aligned(size_t n) const { return (n + alignment - 1) / alignment * alignment; }

  std::string keys_, infos_, data_;
  uint64_t num_keys_ = 0, num_tensors_ = 0;
};

// Metadata and one layer of `arch`: hidden 8, 2 heads of 4, 1 KV head, inner 16, vocabulary 6.
inline GgufWriter SmallGguf(const std::string& arch, uint32_t num_layers = 1) {
  GgufWriter w;
  w.Text("general.architecture", arch).Text("general.name", "small");
  w.U32(arch + ".block_count", num_layers).U32(arch + ".embedding_length", 8);
  w.U32(arch + ".feed_forward_length", 16).U32(arch + ".context_length", 128);
  w.U32(arch + ".attention.head_count", 2).U32(arch + ".attention.head_count_kv", 1);
  w.F32(arch + ".attention.layer_norm_rms_epsilon", 1e-5f);
  w.U32("tokenizer.ggml.eos_token_id", 2).U32("tokenizer.ggml.bos_token_id", 1);
  w.Floats("token_embd.weight", {8, 6}, 0.25f).Floats("output_norm.weight", {8}, 1.5f);
  w.Floats("blk.0.attn_norm.weight", {8}, 1.0f).Floats("blk.0.attn_k.weight", {8, 4}, 0.5f);
  w.Floats("blk.0.ffn_norm.weight", {8}, 2.0f);
  return w;
}

}  // namespace slipstream
