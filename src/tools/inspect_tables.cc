#include "tools/inspect_tables.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "loader/expected_tensors.h"

namespace slipstream {
namespace {

constexpr std::string_view kLayerPrefix = "model.layers.";

double Elems(const CheckpointTensor& t) {
  double n = 1;
  for (const int64_t d : t.shape) n *= static_cast<double>(d);
  return n;
}

std::string Bytes(double n) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  for (; n >= 1024 && unit + 1 < std::size(kUnits); ++unit) n /= 1024;
  return unit == 0 ? fmt::format("{:.0f} B", n) : fmt::format("{:.1f} {}", n, kUnits[unit]);
}

std::string Count(double n) {
  if (n >= 1e9) return fmt::format("{:.2f} G", n / 1e9);
  if (n >= 1e6) return fmt::format("{:.1f} M", n / 1e6);
  return fmt::format("{:.0f}", n);
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

std::string RopeText(const ModelConfig& c) {
  std::string out = fmt::format("theta {:g}", c.rope.theta);
  switch (c.rope.scaling) {
    case RopeScalingKind::kNone:
      break;
    case RopeScalingKind::kLinear:
      out += fmt::format(", linear x{:g}", c.rope.factor);
      break;
    case RopeScalingKind::kLlama3:
      out += fmt::format(", llama3 x{:g}", c.rope.factor);
      break;
    case RopeScalingKind::kYarn:
      out += fmt::format(", yarn x{:g}", c.rope.factor);
      break;
  }
  if (!c.rope.freq_factors.empty()) out += ", frequency factors from the file";
  if (c.rope_local_theta) out += fmt::format(", window layers theta {:g}", *c.rope_local_theta);
  return out + (c.rope_interleaved ? ", neighbouring pairs" : ", half-split pairs");
}

std::string WindowText(const ModelConfig& c) {
  if (c.sliding_window == 0) return "none";
  const auto layers = c.layer_uses_window.empty() ? c.num_layers
                                                  : std::count(c.layer_uses_window.begin(),
                                                               c.layer_uses_window.end(), true);
  return fmt::format("{} tokens in {} of {} layers", c.sliding_window, layers, c.num_layers);
}

// "model.layers.7.mlp.up_proj.weight" -> 7 and "mlp.up_proj.weight".
struct LayerName {
  int64_t layer = 0;
  std::string_view part;
};
std::optional<LayerName> ParseLayer(std::string_view name) {
  if (!name.starts_with(kLayerPrefix)) return std::nullopt;
  const std::string_view rest = name.substr(kLayerPrefix.size());
  LayerName out;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), out.layer);
  const auto used = static_cast<size_t>(end - rest.data());
  if (error != std::errc() || used >= rest.size() || rest[used] != '.') return std::nullopt;
  out.part = rest.substr(used + 1);
  return out;
}

// {0, 1, 2, 5} -> "0-2,5".
std::string Ranges(std::vector<int64_t> layers) {
  std::sort(layers.begin(), layers.end());
  std::string out;
  for (size_t i = 0; i < layers.size();) {
    size_t last = i;
    while (last + 1 < layers.size() && layers[last + 1] == layers[last] + 1) ++last;
    out += fmt::format("{}{}", out.empty() ? "" : ",", layers[i]);
    if (last > i) out += fmt::format("-{}", layers[last]);
    i = last + 1;
  }
  return out;
}

// Tensors that differ in nothing but their layer.
struct Group {
  std::string_view part;
  const CheckpointTensor* first;
  std::vector<int64_t> layers;
  double bytes = 0;
};

std::vector<Group> GroupLayers(const Checkpoint& checkpoint) {
  std::vector<Group> out;
  std::unordered_map<std::string, size_t> index;
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    const auto layer = ParseLayer(t.name);
    const std::string key =
        layer ? fmt::format("{} {} {}", layer->part, t.type_name(), ShapeText(t.shape)) : t.name;
    const auto [it, added] = index.emplace(key, out.size());
    if (added) out.push_back({.part = layer ? layer->part : std::string_view(t.name), .first = &t});
    Group& group = out[it->second];
    if (layer) group.layers.push_back(layer->layer);
    group.bytes += static_cast<double>(t.bytes);
  }
  return out;
}

}  // namespace

std::string Table::Text() const {
  std::vector<size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      const bool right = std::find(right_.begin(), right_.end(), i) != right_.end();
      const size_t width = right || i + 1 < row.size() ? widths[i] : 0;  // no trailing blanks
      out +=
          right ? fmt::format("  {:>{}}", row[i], width) : fmt::format("  {:<{}}", row[i], width);
    }
    out += '\n';
  }
  return out;
}

std::string ModelText(const Checkpoint& checkpoint) {
  const ModelConfig& c = checkpoint.config();
  double elems = 0, bytes = 0;
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    elems += Elems(t);
    bytes += static_cast<double>(t.bytes);
  }
  Table table;
  table.Add({"path", checkpoint.path()});
  table.Add({"format", std::string(checkpoint.format())});
  table.Add({"architecture", c.architecture});
  if (!c.name.empty()) table.Add({"name", c.name});
  table.Add({"weights", fmt::format("{} parameters, {}", Count(elems), Bytes(bytes))});
  table.Add({"layers", std::to_string(c.num_layers)});
  table.Add({"hidden size", std::to_string(c.hidden_size)});
  table.Add({"intermediate size", std::to_string(c.intermediate_size)});
  table.Add({"heads", fmt::format("{} query, {} key/value, of {} dimensions", c.num_heads,
                                  c.num_kv_heads, c.head_dim)});
  table.Add({"vocabulary", fmt::format("{} tokens, embeddings {}", c.vocab_size,
                                       c.tie_word_embeddings ? "tied" : "separate")});
  table.Add({"context", fmt::format("{} tokens", c.max_position_embeddings)});
  table.Add({"window", WindowText(c)});
  table.Add({"rope", RopeText(c)});
  table.Add({"activation", c.hidden_act});
  table.Add({"norm epsilon", fmt::format("{:g}", c.rms_norm_eps)});
  if (c.attention_bias) table.Add({"attention bias", "yes"});
  if (c.query_pre_attn_scalar > 0) {
    table.Add({"query scale", fmt::format("1 / sqrt({:g})", c.query_pre_attn_scalar)});
  }
  if (c.attn_logit_softcap > 0)
    table.Add({"attention cap", fmt::format("{:g}", c.attn_logit_softcap)});
  if (c.final_logit_softcap > 0)
    table.Add({"logit cap", fmt::format("{:g}", c.final_logit_softcap)});
  table.Add({"end tokens", fmt::format("{}", fmt::join(c.eos_token_ids, ", "))});
  return "Model\n" + table.Text();
}

std::string QuantizationText(const Checkpoint& checkpoint) {
  struct Sum {
    double tensors = 0, elems = 0, bytes = 0;
  };
  std::map<std::string_view, Sum> sums;
  double total = 0;
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    Sum& s = sums[t.type_name()];
    s.tensors += 1;
    s.elems += Elems(t);
    s.bytes += static_cast<double>(t.bytes);
    total += static_cast<double>(t.bytes);
  }
  Table table({1, 2, 3, 4, 5});
  table.Add({"dtype", "tensors", "parameters", "bytes", "share", "bits each"});
  for (const auto& [dtype, s] : sums) {
    table.Add({std::string(dtype), fmt::format("{:.0f}", s.tensors), Count(s.elems), Bytes(s.bytes),
               fmt::format("{:.1f} %", 100 * s.bytes / total),
               fmt::format("{:.2f}", 8 * s.bytes / s.elems)});
  }
  return "Quantization\n" + table.Text();
}

std::string TensorText(const Checkpoint& checkpoint, bool full) {
  if (full) {
    Table table({3});
    table.Add({"tensor", "dtype", "shape", "bytes", "in the file"});
    for (const CheckpointTensor& t : checkpoint.tensors()) {
      table.Add({t.name, std::string(t.type_name()), ShapeText(t.shape), std::to_string(t.bytes),
                 t.file_name == t.name ? "" : t.file_name});
    }
    return fmt::format("Tensors ({})\n{}", checkpoint.tensors().size(), table.Text());
  }
  Table table({4});
  table.Add({"tensor", "layers", "dtype", "shape", "bytes in all"});
  for (const Group& g : GroupLayers(checkpoint)) {
    table.Add({std::string(g.part), Ranges(g.layers), std::string(g.first->type_name()),
               ShapeText(g.first->shape), Bytes(g.bytes)});
  }
  return fmt::format("Tensors ({}; layers that are alike share a line)\n{}",
                     checkpoint.tensors().size(), table.Text());
}

Warnings TensorWarnings(const Checkpoint& checkpoint) {
  Warnings out;
  std::unordered_set<std::string> known = {"rope_freqs.weight"};
  for (const CheckpointTensor& want : ExpectedTensors(checkpoint.config())) {
    known.insert(want.name);
    const CheckpointTensor* have = checkpoint.Find(want.name);
    if (have == nullptr) {
      out.push_back(fmt::format("tensor '{}' {} is missing", want.name, ShapeText(want.shape)));
    } else if (have->shape != want.shape) {
      out.push_back(fmt::format("tensor '{}' has shape {}, the configuration needs {}", want.name,
                                ShapeText(have->shape), ShapeText(want.shape)));
    }
  }
  std::vector<std::string> unused;
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    if (!known.contains(t.name)) unused.push_back(t.file_name);
  }
  if (!unused.empty()) {
    out.push_back(
        fmt::format("{} tensors are not used, the first is '{}'", unused.size(), unused.front()));
  }
  constexpr size_t kMost = 20;
  if (out.size() > kMost) {
    const size_t more = out.size() - kMost;
    out.resize(kMost);
    out.push_back(fmt::format("... {} more of this kind", more));
  }
  return out;
}

}  // namespace slipstream
