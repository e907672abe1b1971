#include "tests/model/reference_backend.h"

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace slipstream::testing {
namespace {

class HostBuffer final : public Buffer {
 public:
  explicit HostBuffer(size_t bytes) : values_(bytes / 8 + 1) {}
  void* data() override { return values_.data(); }
  size_t bytes() const override { return values_.size() * 8; }

 private:
  std::vector<double> values_;
};

struct Matrix {
  int64_t rows = 0, cols = 0;
  std::vector<float> values;
};

float HalfToFloat(uint16_t h) {
  const int exponent = (h >> 10) & 31;
  const float mantissa = static_cast<float>(h & 1023);
  float magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024.0f + mantissa, exponent - 25);
  if (exponent == 31) magnitude = (h & 1023) ? NAN : INFINITY;
  return (h & 0x8000) ? -magnitude : magnitude;
}

Status AppendRows(const WeightView& w, std::vector<float>& out) {
  for (int64_t i = 0; i < w.rows * w.cols; ++i) {
    switch (w.dtype) {
      case DType::kF32:
        out.push_back(static_cast<const float*>(w.data)[i]);
        break;
      case DType::kF16:
        out.push_back(HalfToFloat(static_cast<const uint16_t*>(w.data)[i]));
        break;
      case DType::kBF16:
        out.push_back(std::bit_cast<float>(
            static_cast<uint32_t>(static_cast<const uint16_t*>(w.data)[i]) << 16));
        break;
      default:
        return Fail(ErrorCode::kUnimplemented, "reference backend: weights must be floats");
    }
  }
  return {};
}

class RefLinear final : public Linear {
 public:
  Matrix weight;
  std::vector<float> bias;
  int64_t in_features() const override { return weight.cols; }
  int64_t out_features() const override { return weight.rows; }
};

class RefTable final : public EmbeddingTable {
 public:
  Matrix table;
};

void NormRow(const float* x, const float* weight, int64_t n, float eps, float* out) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  const float scale = static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(n) + eps));
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] * scale * weight[i];
}

void RotateHead(float* head, const RopeTable& rope, int64_t position) {
  const int half = rope.rotary_dim / 2;
  const bool neox = rope.layout == RopeLayout::kNeox;
  for (int i = 0; i < half; ++i) {
    const float c = rope.cos[position * half + i], s = rope.sin[position * half + i];
    float& a = head[neox ? i : 2 * i];
    float& b = head[neox ? i + half : 2 * i + 1];
    const float x = a, y = b;
    a = x * c - y * s;
    b = y * c + x * s;
  }
}

class ReferenceBackend final : public Backend {
 public:
  std::string_view name() const override { return "reference"; }
  DType activation_dtype() const override { return DType::kF32; }
  size_t free_memory_bytes() const override { return size_t{1} << 30; }

  Result<std::unique_ptr<Buffer>> Allocate(size_t bytes) override {
    return std::make_unique<HostBuffer>(bytes);
  }

  Result<std::unique_ptr<Linear>> MakeLinear(std::span<const WeightView> parts,
                                             std::span<const float> bias) override {
    auto out = std::make_unique<RefLinear>();
    out->weight.cols = parts[0].cols;
    for (const WeightView& part : parts) {
      out->weight.rows += part.rows;
      SLIP_RETURN_IF_ERROR(AppendRows(part, out->weight.values));
    }
    out->bias.assign(bias.begin(), bias.end());
    return out;
  }

  Result<std::unique_ptr<EmbeddingTable>> MakeEmbedding(const WeightView& table) override {
    auto out = std::make_unique<RefTable>();
    out->table = {table.rows, table.cols, {}};
    SLIP_RETURN_IF_ERROR(AppendRows(table, out->table.values));
    return out;
  }

  Result<std::unique_ptr<Linear>> MakeTiedLinear(EmbeddingTable& table) override {
    auto out = std::make_unique<RefLinear>();
    out->weight = static_cast<RefTable&>(table).table;
    return out;
  }

  void Embed(const EmbeddingTable& table, std::span<const int32_t> ids, float scale,
             TensorView out) override {
    const Matrix& m = static_cast<const RefTable&>(table).table;
    for (size_t i = 0; i < ids.size(); ++i) {
      for (int64_t j = 0; j < m.cols; ++j) {
        out.as<float>()[i * m.cols + j] = m.values[ids[i] * m.cols + j] * scale;
      }
    }
  }

  void MatMul(const Linear& linear, TensorView x, TensorView y) override {
    const auto& w = static_cast<const RefLinear&>(linear);
    const int64_t n = w.weight.rows, k = w.weight.cols;
    for (int64_t m = 0; m < x.dim(0); ++m) {
      for (int64_t j = 0; j < n; ++j) {
        double sum = w.bias.empty() ? 0.0 : w.bias[j];
        for (int64_t i = 0; i < k; ++i) {
          sum += static_cast<double>(x.as<float>()[m * k + i]) * w.weight.values[j * k + i];
        }
        y.as<float>()[m * n + j] = static_cast<float>(sum);
      }
    }
  }

  void RmsNorm(TensorView x, const float* weight, float eps, TensorView out) override {
    const int64_t h = x.dim(1);
    for (int64_t m = 0; m < x.dim(0); ++m) {
      NormRow(x.as<float>() + m * h, weight, h, eps, out.as<float>() + m * h);
    }
  }

  void AddRmsNorm(TensorView residual, TensorView delta, const float* weight, float eps,
                  TensorView out) override {
    Add(residual, delta);
    RmsNorm(residual, weight, eps, out);
  }

  void Add(TensorView x, TensorView y) override {
    for (int64_t i = 0; i < x.shape.elems(); ++i) x.as<float>()[i] += y.as<float>()[i];
  }

  void RopeAndWriteKv(TensorView qkv, int num_heads, const float* q_norm, const float* k_norm,
                      float eps, const RopeTable* rope, const AttentionBatch& batch,
                      const KvLayerView& kv) override {
    const int d = kv.head_dim;
    for (int t = 0; t < batch.num_tokens; ++t) {
      float* row = qkv.as<float>() + t * qkv.dim(1);
      for (int h = 0; h < num_heads + kv.num_kv_heads; ++h) {
        float* head = row + h * d;
        const float* norm = h < num_heads ? q_norm : k_norm;
        if (norm != nullptr) NormRow(head, norm, d, eps, head);
        if (rope != nullptr) RotateHead(head, *rope, batch.positions[t]);
      }
      const int64_t slot = batch.slot_ids[t];
      const int64_t place =
          slot / kv.block_size * kv.block_stride + slot % kv.block_size * static_cast<int64_t>(d);
      for (int h = 0; h < kv.num_kv_heads; ++h) {
        const float* k = row + (num_heads + h) * d;
        const float* v = k + kv.num_kv_heads * d;
        for (int i = 0; i < d; ++i) {
          static_cast<float*>(kv.k)[place + h * kv.head_stride + i] = k[i];
          static_cast<float*>(kv.v)[place + h * kv.head_stride + i] = v[i];
        }
      }
    }
  }

  void Attention(TensorView qkv, const KvLayerView& kv, const AttentionBatch& batch,
                 const AttentionParams& params, TensorView out) override {
    for (int s = 0; s < batch.num_seqs; ++s) {
      for (int t = batch.query_start[s]; t < batch.query_start[s + 1]; ++t) {
        for (int h = 0; h < params.num_heads; ++h) {
          const float* q = qkv.as<float>() + t * qkv.dim(1) + h * kv.head_dim;
          float* o =
              out.as<float>() + (static_cast<int64_t>(t) * params.num_heads + h) * kv.head_dim;
          AttendHead(q, kv, batch.block_tables + static_cast<int64_t>(s) * batch.max_blocks,
                     batch.positions[t], h / (params.num_heads / kv.num_kv_heads), params, o);
        }
      }
    }
  }

  void GatedActivation(TensorView gate_up, ActivationKind kind, TensorView out) override {
    const int64_t f = out.dim(1);
    for (int64_t m = 0; m < out.dim(0); ++m) {
      for (int64_t i = 0; i < f; ++i) {
        const double g = gate_up.as<float>()[m * 2 * f + i];
        const double u = gate_up.as<float>()[m * 2 * f + f + i];
        const double gelu =
            0.5 * g * (1.0 + std::tanh(0.7978845608028654 * (g + 0.044715 * g * g * g)));
        const double act = kind == ActivationKind::kSilu ? g / (1.0 + std::exp(-g)) : gelu;
        out.as<float>()[m * f + i] = static_cast<float>(act * u);
      }
    }
  }

  void GatherRows(TensorView x, std::span<const int32_t> rows, TensorView out) override {
    const int64_t h = x.dim(1);
    for (size_t i = 0; i < rows.size(); ++i) {
      for (int64_t j = 0; j < h; ++j) {
        out.as<float>()[i * h + j] = x.as<float>()[rows[i] * h + j];
      }
    }
  }

  void SoftCap(TensorView x, float cap) override {
    for (int64_t i = 0; i < x.shape.elems(); ++i) {
      x.as<float>()[i] = cap * std::tanh(x.as<float>()[i] / cap);
    }
  }

  Status Synchronize() override { return {}; }

 private:
  static void AttendHead(const float* q, const KvLayerView& kv, const int32_t* table, int position,
                         int kv_head, const AttentionParams& params, float* out) {
    const int d = kv.head_dim;
    const int first =
        params.sliding_window > 0 ? std::max(0, position - params.sliding_window + 1) : 0;
    const auto place = [&](int p) {
      return table[p / kv.block_size] * kv.block_stride + kv_head * kv.head_stride +
             p % kv.block_size * static_cast<int64_t>(d);
    };
    std::vector<double> scores;
    double max = -std::numeric_limits<double>::infinity();
    for (int p = first; p <= position; ++p) {
      const float* k = static_cast<const float*>(kv.k) + place(p);
      double dot = 0;
      for (int i = 0; i < d; ++i) dot += static_cast<double>(q[i]) * k[i];
      dot *= params.scale;
      if (params.logit_softcap > 0) {
        dot = params.logit_softcap * std::tanh(dot / params.logit_softcap);
      }
      scores.push_back(dot);
      max = std::max(max, dot);
    }
    double total = 0;
    std::vector<double> sum(d, 0.0);
    for (int p = first; p <= position; ++p) {
      const double w = std::exp(scores[p - first] - max);
      const float* v = static_cast<const float*>(kv.v) + place(p);
      total += w;
      for (int i = 0; i < d; ++i) sum[i] += w * v[i];
    }
    for (int i = 0; i < d; ++i) out[i] = static_cast<float>(sum[i] / total);
  }
};

}  // namespace

std::unique_ptr<Backend> MakeReferenceBackend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace slipstream::testing
