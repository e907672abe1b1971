// Makes small safetensors files in memory. The header may be any text, so bad files are easy. One
// thread.
#pragma once

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace slipstream {

// Length, header, data.
inline std::string SafetensorsBytes(std::string_view header, std::string_view data) {
  const uint64_t n = header.size();
  std::string out(reinterpret_cast<const char*>(&n), sizeof(n));
  return out.append(header).append(data);
}

class SafetensorsWriter {
 public:
  SafetensorsWriter& Add(std::string_view name, std::string_view dtype,
                         const std::vector<int64_t>& shape, std::string_view data) {
    entries_.push_back(fmt::format(R"("{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                                   name, dtype, fmt::join(shape, ","), data_.size(),
                                   data_.size() + data.size()));
    data_ += data;
    return *this;
  }
  SafetensorsWriter& Floats(std::string_view name, const std::vector<int64_t>& shape, float value) {
    size_t elems = 1;
    for (const int64_t d : shape) elems *= static_cast<size_t>(d);
    const std::vector<float> values(elems, value);
    return Add(name, "F32", shape,
               {reinterpret_cast<const char*>(values.data()), elems * sizeof(float)});
  }

  std::string Build() const {
    std::string header =
        fmt::format(R"({{"__metadata__":{{"format":"pt"}},{}}})", fmt::join(entries_, ","));
    header.resize((header.size() + 7) / 8 * 8, ' ');
    return SafetensorsBytes(header, data_);
  }

 private:
  std::vector<std::string> entries_;
  std::string data_;
};

// A config.json of the smallest Llama, with `extra` members (", \"key\": value").
inline std::string SmallLlamaConfig(std::string_view extra = "") {
  return fmt::format(R"({{"architectures": ["LlamaForCausalLM"], "vocab_size": 6, "hidden_size": 8,
    "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1{}}})",
                     extra);
}

}  // namespace slipstream
