#include "runtime/step_codec.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <type_traits>

#include "base/token_constraint.h"

namespace slipstream {
namespace {

// One visitor order serves both directions: Writer appends, Reader checks and fills.
class Writer {
 public:
  template <typename T>
  requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  void operator()(const T& v) {
    const auto* p = reinterpret_cast<const uint8_t*>(&v);
    bytes.insert(bytes.end(), p, p + sizeof v);
  }
  template <typename T>
  void Vector(const std::vector<T>& v) {
    (*this)(static_cast<uint32_t>(v.size()));
    if constexpr (std::is_arithmetic_v<T>) {
      const auto* p = reinterpret_cast<const uint8_t*>(v.data());
      bytes.insert(bytes.end(), p, p + v.size() * sizeof(T));
    } else {
      for (const T& x : v) Visit(*this, const_cast<T&>(x));
    }
  }
  void Text(const std::string& s) {
    (*this)(static_cast<uint32_t>(s.size()));
    bytes.insert(bytes.end(), s.begin(), s.end());
  }
  std::vector<uint8_t> bytes;
};

class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : rest_(bytes) {}
  template <typename T>
  requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  void operator()(T& v) {
    if (rest_.size() < sizeof v) return Break();
    std::memcpy(&v, rest_.data(), sizeof v);
    rest_ = rest_.subspan(sizeof v);
  }
  template <typename T>
  void Vector(std::vector<T>& v) {
    uint32_t count = 0;
    (*this)(count);
    if constexpr (std::is_arithmetic_v<T>) {
      if (count > rest_.size() / sizeof(T)) return Break();
      v.resize(count);
      std::memcpy(v.data(), rest_.data(), count * sizeof(T));
      rest_ = rest_.subspan(count * sizeof(T));
    } else {
      if (count > rest_.size()) return Break();
      for (uint32_t i = 0; i < count && ok_; ++i) Visit(*this, v.emplace_back());
    }
  }
  void Text(std::string& s) {
    uint32_t count = 0;
    (*this)(count);
    if (count > rest_.size()) return Break();
    s.assign(reinterpret_cast<const char*>(rest_.data()), count);
    rest_ = rest_.subspan(count);
  }
  Status Finish(const char* what) const {
    if (ok_ && rest_.empty()) return {};
    return DataLoss(std::string("a damaged ") + what + " came from the other rank");
  }

 private:
  void Break() {
    ok_ = false;
    rest_ = {};
  }
  std::span<const uint8_t> rest_;
  bool ok_ = true;
};

template <typename A>
void Visit(A& a, TokenLogprob& t) {
  a(t.token), a(t.logprob);
}
template <typename A>
void Visit(A& a, SampledToken& t) {
  a(t.slot), a(t.token), a(t.logprob), a(t.rank);
  a.Vector(t.top);
}
template <typename A>
void Visit(A& a, SampleRow& r) {
  a(r.row), a(r.slot), a(r.target), a(r.mask);
}
template <typename A>
void Visit(A& a, PoolRun& r) {
  a(r.row), a(r.count);
}
template <typename A>
void Visit(A& a, PooledStates& p) {
  a.Vector(p.sum);
}
template <typename A>
void Visit(A& a, std::pair<int32_t, float>& p) {
  a(p.first), a(p.second);
}
template <typename A>
void Visit(A& a, SamplingParams& p) {
  a(p.temperature), a(p.top_k), a(p.top_p), a(p.min_p);
  a(p.repetition_penalty), a(p.presence_penalty), a(p.frequency_penalty);
  a.Vector(p.logit_bias);
  a(p.max_tokens), a(p.min_tokens), a(p.ignore_eos);
  a(p.num_logprobs), a(p.num_prompt_logprobs);
}
template <typename A>
void Visit(A& a, SamplerSlotUpdate& u) {
  // The seed is resolved in the update and stop ids are listed there, so the parameters travel
  // without theirs.
  SamplingParams params = u.params ? *u.params : SamplingParams{};
  a(u.slot);
  Visit(a, params);
  if constexpr (std::is_same_v<A, Reader>) {
    u.params = std::make_shared<const SamplingParams>(std::move(params));
  }
  a(u.seed);
  a.Vector(u.prompt_ids), a.Vector(u.output_ids), a.Vector(u.stop_ids);
}
template <typename A>
void Visit(A& a, ForwardInput& f) {
  a(f.step);
  a.Vector(f.token_ids), a.Vector(f.positions), a.Vector(f.slot_ids), a.Vector(f.query_start);
  a.Vector(f.kv_len), a.Vector(f.block_tables);
  a(f.max_blocks);
  a.Vector(f.slot_updates), a.Vector(f.sample_rows), a.Vector(f.pool_runs);
  a.Vector(f.token_masks), a(f.num_masks);
}
template <typename A>
void Visit(A& a, StepOutput& s) {
  a(s.step);
  a.Vector(s.tokens), a.Vector(s.pooled);
}
template <typename A>
void Visit(A& a, ExecutorInfo& i) {
  a(i.vocab_size), a(i.hidden_size), a(i.max_model_len), a(i.num_blocks), a(i.block_size_tokens);
  a(i.max_num_seqs), a(i.max_batch_tokens), a(i.token_tile);
  a.Vector(i.eos_token_ids);
}

}  // namespace

std::vector<uint8_t> Encode(const ForwardInput& input) {
  Writer w;
  Visit(w, const_cast<ForwardInput&>(input));
  return std::move(w.bytes);
}

std::vector<uint8_t> Encode(const Result<StepOutput>& output) {
  Writer w;
  w(static_cast<uint8_t>(output.has_value()));
  if (output) {
    Visit(w, const_cast<StepOutput&>(*output));
  } else {
    w(static_cast<int32_t>(output.error().code));
    w.Text(output.error().message);
  }
  return std::move(w.bytes);
}

std::vector<uint8_t> Encode(const ExecutorInfo& info, int max_in_flight) {
  Writer w;
  Visit(w, const_cast<ExecutorInfo&>(info));
  w(static_cast<int32_t>(max_in_flight));
  return std::move(w.bytes);
}

Result<ForwardInput> DecodeForwardInput(std::span<const uint8_t> bytes) {
  Reader r(bytes);
  ForwardInput input;
  Visit(r, input);
  SLIP_RETURN_IF_ERROR(r.Finish("step"));
  return input;
}

Result<StepOutput> DecodeStepOutput(std::span<const uint8_t> bytes) {
  Reader r(bytes);
  uint8_t ok = 0;
  r(ok);
  StepOutput output;
  Error error;
  int32_t code = 0;
  if (ok != 0) {
    Visit(r, output);
  } else {
    r(code);
    r.Text(error.message);
    error.code = static_cast<ErrorCode>(code);
  }
  SLIP_RETURN_IF_ERROR(r.Finish("step output"));
  if (ok == 0) return tl::unexpected(std::move(error));
  return output;
}

Status CheckForwardInput(const ForwardInput& f, const ExecutorInfo& info) {
  const size_t tokens = f.token_ids.size(), seqs = f.kv_len.size();
  const int64_t num_slots = info.num_blocks * info.block_size_tokens;
  auto all = [](const auto& v, auto ok) { return std::all_of(v.begin(), v.end(), ok); };
  auto in = [](int64_t low, int64_t high) {
    return [=](int64_t x) { return x >= low && x < high; };
  };
  const bool sizes = f.positions.size() == tokens && f.slot_ids.size() == tokens &&
                     f.query_start.size() == seqs + 1 && f.max_blocks >= 0 &&
                     f.block_tables.size() == seqs * static_cast<size_t>(f.max_blocks) &&
                     f.query_start.front() == 0 &&
                     f.query_start.back() == static_cast<int64_t>(tokens) &&
                     std::is_sorted(f.query_start.begin(), f.query_start.end());
  const bool masks =
      f.num_masks >= 0 && f.num_masks <= info.max_num_seqs &&
      static_cast<int64_t>(f.token_masks.size()) == f.num_masks * TokenMaskWords(info.vocab_size);
  const int64_t max_kv =
      std::min<int64_t>(info.max_model_len, int64_t{f.max_blocks} * info.block_size_tokens);
  const bool ranges =
      sizes && masks && tokens <= static_cast<size_t>(info.max_batch_tokens) &&
      seqs <= static_cast<size_t>(info.max_num_seqs) &&
      all(f.token_ids, in(-info.max_num_seqs, info.vocab_size)) &&
      all(f.positions, in(0, info.max_model_len)) && all(f.slot_ids, in(0, num_slots)) &&
      all(f.kv_len, in(0, max_kv + 1)) && all(f.block_tables, in(-1, info.num_blocks)) &&
      all(f.slot_updates,
          [&](const auto& u) { return u.slot >= 0 && u.slot < info.max_num_seqs; }) &&
      all(f.sample_rows,
          [&](const SampleRow& r) {
            return r.row >= 0 && r.row < static_cast<int64_t>(tokens) && r.slot >= 0 &&
                   r.slot < info.max_num_seqs && r.target < info.vocab_size && r.mask >= -1 &&
                   r.mask < f.num_masks;
          }) &&
      all(f.pool_runs, [&](const PoolRun& r) {
        return r.row >= 0 && r.count > 0 && r.count <= static_cast<int64_t>(tokens) - r.row;
      });
  if (!ranges) return InvalidArgument("a step from the leader does not fit this worker's model");
  return {};
}

Status DecodeExecutorInfo(std::span<const uint8_t> bytes, ExecutorInfo* info, int* max_in_flight) {
  Reader r(bytes);
  int32_t depth = 1;
  Visit(r, *info);
  r(depth);
  *max_in_flight = depth;
  return r.Finish("greeting");
}

}  // namespace slipstream
