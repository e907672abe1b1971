#include "model/decoder_weights.h"

#include <array>
#include <string>

#include "model/upload.h"

namespace slipstream {
namespace {

// Rows of a fused matrix that come from one checkpoint tensor.
struct Projection {
  std::string_view name;  // after the layer prefix, without ".weight" or ".bias"
  int64_t rows;
};

class WeightReader {
 public:
  WeightReader(const Checkpoint& checkpoint, const ArchSpec& spec, Backend& backend)
      : checkpoint_(checkpoint), config_(checkpoint.config()), spec_(spec), backend_(backend) {}

  Result<DecoderWeights> ReadAll();

 private:
  Result<LayerWeights> ReadLayer(const std::string& prefix);
  Status ReadProjections(const std::string& prefix, LayerWeights& out);
  Result<NormWeight> ReadNorm(const std::string& prefix, std::string_view name, int64_t size);
  // Stacks `parts` into one matrix; a part's bias is read where the checkpoint has one, and must
  // be there if `bias_required`. `gated`: the two parts are the gate and the up projection.
  Result<std::unique_ptr<Linear>> ReadLinear(const std::string& prefix,
                                             std::span<const Projection> parts, int64_t cols,
                                             bool bias_required, bool gated = false);

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  const ArchSpec& spec_;
  Backend& backend_;
};

Result<NormWeight> WeightReader::ReadNorm(const std::string& prefix, std::string_view name,
                                          int64_t size) {
  if (name.empty()) return NormWeight();
  const float add = config_.norm_weight_plus_one ? 1.0f : 0.0f;
  SLIP_ASSIGN_OR_RETURN(const std::vector<float> values,
                        checkpoint_.Vector(prefix + std::string(name), size, add));
  SLIP_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> memory, UploadFloats(backend_, values));
  return NormWeight(std::move(memory));
}

Result<std::unique_ptr<Linear>> WeightReader::ReadLinear(const std::string& prefix,
                                                         std::span<const Projection> parts,
                                                         int64_t cols, bool bias_required,
                                                         bool gated) {
  std::vector<WeightView> views;
  std::vector<float> bias;
  bool any_bias = false;
  for (const Projection& part : parts) {
    const std::string name = prefix + std::string(part.name);
    SLIP_ASSIGN_OR_RETURN(const WeightView view,
                          checkpoint_.Matrix(name + ".weight", part.rows, cols));
    views.push_back(view);
    if (bias_required || checkpoint_.Find(name + ".bias") != nullptr) {
      SLIP_ASSIGN_OR_RETURN(const std::vector<float> values,
                            checkpoint_.Vector(name + ".bias", part.rows));
      bias.insert(bias.end(), values.begin(), values.end());
      any_bias = true;
    } else {
      bias.insert(bias.end(), static_cast<size_t>(part.rows), 0.0f);
    }
  }
  if (!any_bias) bias.clear();
  auto linear =
      gated ? backend_.MakeGatedLinear(views[0], views[1], bias) : backend_.MakeLinear(views, bias);
  if (!linear) {
    return tl::unexpected(std::move(linear).error().With(prefix + std::string(parts[0].name)));
  }
  return linear;
}

Status WeightReader::ReadProjections(const std::string& prefix, LayerWeights& out) {
  const int64_t hidden = config_.hidden_size;
  const int64_t ffn = config_.intermediate_size;
  const int64_t q_rows = config_.num_heads * config_.head_dim;
  const int64_t kv_rows = config_.num_kv_heads * config_.head_dim;
  const std::array qkv = {Projection{"self_attn.q_proj", q_rows},
                          Projection{"self_attn.k_proj", kv_rows},
                          Projection{"self_attn.v_proj", kv_rows}};
  const std::array o = {Projection{"self_attn.o_proj", hidden}};
  const std::array gate_up = {Projection{"mlp.gate_proj", ffn}, Projection{"mlp.up_proj", ffn}};
  const std::array down = {Projection{"mlp.down_proj", hidden}};
  const bool qkv_bias = spec_.qkv_bias || config_.attention_bias;
  SLIP_ASSIGN_OR_RETURN(out.qkv, ReadLinear(prefix, qkv, hidden, qkv_bias));
  SLIP_ASSIGN_OR_RETURN(out.o, ReadLinear(prefix, o, q_rows, false));
  SLIP_ASSIGN_OR_RETURN(out.gate_up, ReadLinear(prefix, gate_up, hidden, config_.mlp_bias, true));
  SLIP_ASSIGN_OR_RETURN(out.down, ReadLinear(prefix, down, ffn, config_.mlp_bias));
  return {};
}

Result<LayerWeights> WeightReader::ReadLayer(const std::string& prefix) {
  const LayerTensorNames& names = spec_.tensors;
  const int64_t hidden = config_.hidden_size;
  LayerWeights out;
  SLIP_ASSIGN_OR_RETURN(out.attn_norm, ReadNorm(prefix, names.attn_norm, hidden));
  SLIP_ASSIGN_OR_RETURN(out.post_attn_norm, ReadNorm(prefix, names.post_attn_norm, hidden));
  SLIP_ASSIGN_OR_RETURN(out.ffn_norm, ReadNorm(prefix, names.ffn_norm, hidden));
  SLIP_ASSIGN_OR_RETURN(out.post_ffn_norm, ReadNorm(prefix, names.post_ffn_norm, hidden));
  SLIP_ASSIGN_OR_RETURN(out.q_norm, ReadNorm(prefix, names.q_norm, config_.head_dim));
  SLIP_ASSIGN_OR_RETURN(out.k_norm, ReadNorm(prefix, names.k_norm, config_.head_dim));
  SLIP_RETURN_IF_ERROR(ReadProjections(prefix, out));
  return out;
}

Result<DecoderWeights> WeightReader::ReadAll() {
  constexpr const char* kEmbedding = "model.embed_tokens.weight";
  DecoderWeights out;
  SLIP_ASSIGN_OR_RETURN(const WeightView table,
                        checkpoint_.Matrix(kEmbedding, config_.vocab_size, config_.hidden_size));
  out.embedding_dtype = table.dtype;
  SLIP_ASSIGN_OR_RETURN(out.embedding, backend_.MakeEmbedding(table));
  checkpoint_.ReleasePages();
  for (int64_t i = 0; i < config_.num_layers; ++i) {
    SLIP_ASSIGN_OR_RETURN(LayerWeights layer, ReadLayer("model.layers." + std::to_string(i) + "."));
    out.layers.push_back(std::move(layer));
    checkpoint_.ReleasePages();
  }
  SLIP_ASSIGN_OR_RETURN(out.final_norm, ReadNorm("model.", "norm.weight", config_.hidden_size));
  if (config_.tie_word_embeddings) {
    SLIP_ASSIGN_OR_RETURN(out.lm_head, backend_.MakeTiedLinear(*out.embedding));
    return out;
  }
  const std::array head = {Projection{"lm_head", config_.vocab_size}};
  SLIP_ASSIGN_OR_RETURN(out.lm_head, ReadLinear("", head, config_.hidden_size, false));
  return out;
}

}  // namespace

Result<DecoderWeights> LoadDecoderWeights(const Checkpoint& checkpoint, const ArchSpec& spec,
                                          Backend& backend) {
  return WeightReader(checkpoint, spec, backend).ReadAll();
}

}  // namespace slipstream
