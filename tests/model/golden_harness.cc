#include "tests/model/golden_harness.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <random>

#include "loader/safetensors.h"

namespace slipstream::testing {
namespace {

// KV memory of all layers, all bits set, which is NaN in F32, F16 and BF16: a read of anything
// unwritten reaches the logits.
class PoisonedKv {
 public:
  PoisonedKv(const ModelConfig& config, Backend& backend, int num_blocks, DType dtype) {
    const int block_size = BlockSizeFor(backend);
    const int64_t head_stride = block_size * config.head_dim;
    const int64_t block_stride = head_stride * config.num_kv_heads;
    const size_t bytes = BytesOf(dtype, static_cast<size_t>(num_blocks * block_stride));
    const std::vector<std::byte> poison(2 * bytes * config.num_layers, std::byte{0xff});
    auto memory = backend.Allocate(poison.size());
    if (!memory || !backend.Upload((*memory)->data(), poison.data(), poison.size())) {
      ADD_FAILURE() << "no KV memory";
      return;
    }
    memory_ = std::move(*memory);
    auto* base = static_cast<std::byte*>(memory_->data());
    for (int64_t layer = 0; layer < config.num_layers; ++layer) {
      KvLayerView& view = views_.emplace_back();
      view.k = base + 2 * layer * bytes;
      view.v = base + (2 * layer + 1) * bytes;
      view.dtype = dtype;
      view.head_stride = head_stride;
      view.block_stride = block_stride;
      view.block_size = block_size;
      view.num_kv_heads = static_cast<int>(config.num_kv_heads);
      view.head_dim = static_cast<int>(config.head_dim);
    }
  }
  const std::vector<KvLayerView>& views() const { return views_; }

 private:
  std::unique_ptr<Buffer> memory_;
  std::vector<KvLayerView> views_;
};

struct StepArrays {
  std::vector<int32_t> tokens, positions, query_start{0}, kv_len, tables, logit_rows;
  std::vector<int64_t> slots;
  std::vector<size_t> members;  // sequence of each query
};

class Scheduler {
 public:
  Scheduler(const std::vector<ScheduledSequence>& sequences, int block_size)
      : sequences_(sequences), block_size_(block_size) {
    for (const auto& s : sequences) {
      max_blocks_ = std::max(max_blocks_, Blocks(static_cast<int>(s.token_ids.size())));
    }
    // Twice the blocks needed: half of them stay poisoned.
    num_blocks_ = 2 * max_blocks_ * static_cast<int>(sequences.size());
    order_.resize(num_blocks_);
    std::iota(order_.begin(), order_.end(), 0);
    std::shuffle(order_.begin(), order_.end(), std::mt19937(7));
    done_.resize(sequences.size());
  }

  int num_blocks() const { return num_blocks_; }
  int max_blocks() const { return max_blocks_; }

  bool Next(size_t step, bool last_only, StepArrays& out) {
    out = {};
    for (size_t s = 0; s < sequences_.size(); ++s) {
      if (step < sequences_[s].chunks.size()) AddChunk(s, step, last_only, out);
    }
    return !out.tokens.empty();
  }

 private:
  int Blocks(int tokens) const { return (tokens + block_size_ - 1) / block_size_; }
  void AddChunk(size_t s, size_t step, bool last_only, StepArrays& out) {
    const ScheduledSequence& seq = sequences_[s];
    const int32_t* table = order_.data() + s * max_blocks_;
    const int length = seq.chunks[step];
    for (int i = 0; i < length; ++i) {
      const int position = done_[s]++;
      const bool last = position + 1 == static_cast<int>(seq.token_ids.size());
      if (!last_only || last) out.logit_rows.push_back(static_cast<int32_t>(out.tokens.size()));
      out.tokens.push_back(seq.token_ids[position]);
      out.positions.push_back(position);
      out.slots.push_back(int64_t{table[position / block_size_]} * block_size_ +
                          position % block_size_);
    }
    out.query_start.push_back(static_cast<int32_t>(out.tokens.size()));
    out.kv_len.push_back(done_[s]);
    out.members.push_back(s);
    const int used = Blocks(done_[s]);
    for (int b = 0; b < max_blocks_; ++b) out.tables.push_back(b < used ? table[b] : 0);
  }

  const std::vector<ScheduledSequence>& sequences_;
  const int block_size_;
  int max_blocks_ = 0, num_blocks_ = 0;
  std::vector<int32_t> order_;
  std::vector<int> done_;
};

void ReadFloats(const SafetensorsFile& file, const std::string& name, std::vector<float>& out) {
  for (const Safetensor& t : file.tensors()) {
    if (t.name != name) continue;
    const auto* values = static_cast<const float*>(t.data);
    out.assign(values, values + t.bytes / sizeof(float));
  }
}

}  // namespace

std::string FixturePath(const std::string& name) {
  const char* root = std::getenv("SLIPSTREAM_SOURCE_DIR");
  return std::string(root != nullptr ? root : ".") + "/tests/fixtures/models/" + name;
}

GoldenFixture LoadFixture(const std::string& name) {
  GoldenFixture out;
  auto checkpoint = OpenCheckpoint(FixturePath(name));
  auto reference = SafetensorsFile::Open(FixturePath(name) + "/reference.safetensors");
  if (!checkpoint || !reference) {
    ADD_FAILURE() << (checkpoint ? reference.error().message : checkpoint.error().message);
    return out;
  }
  out.checkpoint = std::move(*checkpoint);
  std::vector<float> ids, scaling{1.0f};
  ReadFloats(*reference, "token_ids", ids);
  ReadFloats(*reference, "logits", out.logits);
  ReadFloats(*reference, "inv_freq", out.inv_freq);
  ReadFloats(*reference, "local_inv_freq", out.local_inv_freq);
  ReadFloats(*reference, "attention_scaling", scaling);
  out.token_ids.assign(ids.begin(), ids.end());
  out.attention_scaling = scaling[0];
  return out;
}

int BlockSizeFor(const Backend& backend) { return backend.name() == "cuda" ? 16 : 8; }

StepLimits LimitsFor(const Backend& backend, int max_tokens) {
  const int block_size = BlockSizeFor(backend);
  return {.max_tokens = max_tokens,
          .max_logit_rows = max_tokens,
          .max_seqs = 16,
          .max_blocks = max_tokens / block_size,
          .block_size = block_size,
          .kv_dtype = backend.default_kv_dtype(),
          .max_positions = max_tokens};
}

std::vector<int> RepeatChunks(int total, const std::vector<int>& pattern) {
  std::vector<int> out;
  for (size_t i = 0; total > 0; ++i) {
    out.push_back(std::min(total, pattern[i % pattern.size()]));
    total -= out.back();
  }
  return out;
}

std::vector<std::vector<float>> RunSchedule(DecoderModel& model, Backend& backend,
                                            const std::vector<ScheduledSequence>& sequences,
                                            bool last_only, DType kv_dtype) {
  Scheduler scheduler(sequences, BlockSizeFor(backend));
  PoisonedKv kv(model.config(), backend, scheduler.num_blocks(), kv_dtype);
  std::vector<std::vector<float>> out(sequences.size());
  StepArrays step;
  for (size_t n = 0; scheduler.Next(n, last_only, step); ++n) {
    const ModelInput input{step.tokens,
                           {.num_seqs = static_cast<int>(step.members.size()),
                            .num_tokens = static_cast<int>(step.tokens.size()),
                            .query_start = step.query_start.data(),
                            .kv_len = step.kv_len.data(),
                            .block_tables = step.tables.data(),
                            .max_blocks = scheduler.max_blocks(),
                            .positions = step.positions.data(),
                            .slot_ids = step.slots.data()},
                           step.logit_rows};
    const auto logits = model.Forward(input, kv.views());
    if (!logits) {
      ADD_FAILURE() << logits.error().message;
      return out;
    }
    const int64_t vocab = model.config().vocab_size;
    std::vector<float> host(step.logit_rows.size() * static_cast<size_t>(vocab));
    const Status read = backend.Download(host.data(), logits->data, host.size() * sizeof(float));
    if (!read) {
      ADD_FAILURE() << read.error().message;
      return out;
    }
    for (size_t i = 0; i < step.logit_rows.size(); ++i) {
      const int32_t row = step.logit_rows[i];
      const auto after = std::upper_bound(step.query_start.begin(), step.query_start.end(), row);
      const size_t member = step.members[after - step.query_start.begin() - 1];
      const float* values = host.data() + static_cast<int64_t>(i) * vocab;
      out[member].insert(out[member].end(), values, values + vocab);
    }
  }
  return out;
}

}  // namespace slipstream::testing
