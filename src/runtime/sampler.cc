#include "runtime/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "base/rng.h"
#include "base/token_constraint.h"

namespace slipstream {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
// Below this temperature sampling is greedy: logits / temperature would overflow.
constexpr float kGreedyTemperature = 1e-5f;
// Top-p usually needs few tokens; the search for them starts with this many.
constexpr int64_t kFirstTopPCandidates = 64;

Error NotFinite(int32_t slot) {
  return Error{ErrorCode::kInternal,
               "logits of sampler slot " + std::to_string(slot) + " are not finite numbers",
               {}};
}

}  // namespace

bool HasPenalties(const SamplingParams& p) {
  return p.repetition_penalty != 1.0f || p.presence_penalty != 0.0f || p.frequency_penalty != 0.0f;
}

Status CheckSlotUpdate(const SamplerSlotUpdate& update, int num_slots, int64_t vocab_size) {
  if (update.slot < 0 || update.slot >= num_slots || !update.params) {
    return Internal("update of sampler slot " + std::to_string(update.slot) + " of " +
                    std::to_string(num_slots) + (update.params ? "" : " without parameters"));
  }
  const auto in_vocabulary = [&](int32_t id) { return id >= 0 && id < vocab_size; };
  const bool ids_ok =
      std::all_of(update.prompt_ids.begin(), update.prompt_ids.end(), in_vocabulary) &&
      std::all_of(update.output_ids.begin(), update.output_ids.end(), in_vocabulary) &&
      std::all_of(update.stop_ids.begin(), update.stop_ids.end(), in_vocabulary) &&
      std::all_of(update.params->logit_bias.begin(), update.params->logit_bias.end(),
                  [&](const auto& bias) { return in_vocabulary(bias.first); });
  if (!ids_ok) {
    return Internal("update of sampler slot " + std::to_string(update.slot) +
                    " names a token outside the vocabulary");
  }
  return {};
}

std::span<const uint32_t> MaskOf(const SampleRow& row, std::span<const uint32_t> masks,
                                 int64_t vocab_size) {
  if (row.mask < 0 || row.target >= 0) return {};
  const auto words = static_cast<size_t>(TokenMaskWords(vocab_size));
  return masks.subspan(static_cast<size_t>(row.mask) * words, words);
}

void Sampler::CountToken(Slot& slot, int32_t token, bool is_output) {
  const auto [it, is_new] = slot.use_index.try_emplace(token, slot.uses.size());
  if (is_new) slot.uses.push_back({token, 0});
  slot.uses[it->second].output_count += is_output;
}

Status Sampler::Update(const SamplerSlotUpdate& update) {
  SLIP_RETURN_IF_ERROR(CheckSlotUpdate(update, static_cast<int>(slots_.size()), vocab_size_));
  Slot& slot = slots_[update.slot];
  slot.params = update.params;
  slot.seed = update.seed;
  slot.num_output = update.output_ids.size();
  slot.last_token = update.output_ids.empty() ? -1 : update.output_ids.back();
  slot.stop_ids.assign(update.stop_ids.begin(), update.stop_ids.end());
  slot.uses.clear();
  slot.use_index.clear();
  if (HasPenalties(*slot.params)) {
    for (const int32_t id : update.prompt_ids) CountToken(slot, id, false);
    for (const int32_t id : update.output_ids) CountToken(slot, id, true);
  }
  return {};
}

Result<int32_t> Sampler::LastToken(int32_t slot) const {
  if (slot < 0 || slot >= static_cast<int32_t>(slots_.size()) || slots_[slot].last_token < 0) {
    return Internal("no token was sampled yet for slot " + std::to_string(slot));
  }
  return slots_[slot].last_token;
}

void Sampler::Override(std::span<float> logits, int32_t token, float value) {
  saved_.push_back({token, logits[token]});
  logits[token] = value;
}

// Everything that changes single logits; few entries, so the row is patched and restored.
void Sampler::ApplyOverrides(const Slot& slot, std::span<float> logits) {
  const SamplingParams& p = *slot.params;
  saved_.clear();
  for (const TokenUse& use : slot.uses) {
    float v = logits[use.token];
    v = v > 0 ? v / p.repetition_penalty : v * p.repetition_penalty;
    v -= p.frequency_penalty * static_cast<float>(use.output_count);
    if (use.output_count > 0) v -= p.presence_penalty;
    Override(logits, use.token, v);
  }
  for (const auto& [token, bias] : p.logit_bias) Override(logits, token, logits[token] + bias);
  if (slot.num_output < static_cast<uint64_t>(p.min_tokens)) {
    for (const int32_t id : slot.stop_ids) Override(logits, id, kMinusInfinity);
  }
}

void Sampler::Restore(std::span<float> logits) {
  // Backwards: an entry patched twice gets its first value back.
  for (auto it = saved_.rbegin(); it != saved_.rend(); ++it) logits[it->token] = it->value;
}

// Chooses from the row that scan_ holds.
Result<int32_t> Sampler::Choose(const Slot& slot) {
  const SamplingParams& p = *slot.params;
  if (p.temperature < kGreedyTemperature || p.top_k == 1) return scan_.Argmax();
  return Draw(p, UniformAt(slot.seed, slot.num_output));
}

int32_t Sampler::Draw(const SamplingParams& p, float uniform) {
  const bool use_top_k = p.top_k > 0 && p.top_k < vocab_size_;
  // exp((x - max) / T) >= min_p, said in logits.
  const float floor =
      p.min_p > 0 ? scan_.max() + p.temperature * std::log(p.min_p) : kMinusInfinity;
  if (use_top_k || p.top_p < 1.0f) return DrawFromLargest(p, floor, uniform);
  const double total = scan_.SumExp(1.0f / p.temperature, floor);
  return scan_.TokenAtSum(total * uniform);
}

// Draws among the top_k largest entries at or over `floor`, cut where top_p is reached.
int32_t Sampler::DrawFromLargest(const SamplingParams& p, float floor, float uniform) {
  const float inv_temperature = 1.0f / p.temperature;
  const bool use_top_k = p.top_k > 0 && p.top_k < vocab_size_;
  double total = use_top_k ? 0 : scan_.SumExp(inv_temperature, floor);
  int64_t k = use_top_k ? p.top_k : std::min(kFirstTopPCandidates, vocab_size_);
  while (true) {
    const std::vector<LogitCandidate>& best = scan_.Largest(k);
    weights_.clear();
    double sum = 0;
    for (const LogitCandidate& c : best) {
      if (c.value < floor) break;
      weights_.push_back(ExpOfNegative((c.value - scan_.max()) * inv_temperature));
      sum += weights_.back();
    }
    if (use_top_k) total = sum;
    const double wanted = total * p.top_p;
    const bool complete = use_top_k || k == vocab_size_ || weights_.size() < best.size();
    if (!complete && sum < wanted) {
      k = std::min(k * 8, vocab_size_);
      continue;
    }
    double kept = 0;
    size_t count = 0;
    while (count < weights_.size() && (count == 0 || kept < wanted)) kept += weights_[count++];
    double target = uniform * kept;
    for (size_t i = 0; i + 1 < count; ++i) {
      target -= weights_[i];
      if (target < 0) return best[i].token;
    }
    return best[count - 1].token;
  }
}

// Fills logprob, rank and the best tokens from the raw logits.
Status Sampler::Report(std::span<const float> logits, int num_top, SampledToken& out) {
  if (!scan_.Load(logits)) return tl::unexpected(NotFinite(out.slot));
  const double log_sum = std::log(scan_.SumExp(1.0f, kMinusInfinity));
  const auto logprob = [&](float logit) {
    return static_cast<float>(static_cast<double>(logit) - scan_.max() - log_sum);
  };
  out.logprob = logprob(logits[out.token]);
  out.rank = RankOf(logits, out.token);
  if (num_top <= 0) return {};
  for (const LogitCandidate& c : scan_.Largest(std::min<int64_t>(num_top, vocab_size_))) {
    out.top.push_back({c.token, logprob(c.value)});
  }
  return {};
}

std::span<const float> Sampler::Masked(std::span<const float> logits,
                                       std::span<const uint32_t> allowed) {
  if (allowed.empty()) return logits;
  masked_.assign(logits.size(), kMinusInfinity);
  for (size_t word = 0; word < allowed.size(); ++word) {
    for (uint32_t bits = allowed[word]; bits != 0; bits &= bits - 1) {
      const size_t token = word * 32 + static_cast<size_t>(std::countr_zero(bits));
      if (token < logits.size()) masked_[token] = logits[token];
    }
  }
  return masked_;
}

Result<SampledToken> Sampler::Sample(const SampleRow& row, std::span<float> logits,
                                     std::span<const uint32_t> allowed) {
  if (row.slot < 0 || row.slot >= static_cast<int32_t>(slots_.size()) || !slots_[row.slot].params ||
      row.target >= vocab_size_) {
    return Internal("sample row names slot " + std::to_string(row.slot) + " and target " +
                    std::to_string(row.target));
  }
  Slot& slot = slots_[row.slot];
  SampledToken out{.slot = row.slot};
  if (row.target >= 0) {
    out.token = row.target;
    SLIP_RETURN_IF_ERROR(Report(logits, slot.params->num_prompt_logprobs, out));
    return out;
  }
  ApplyOverrides(slot, logits);
  const bool finite = scan_.Load(Masked(logits, allowed));
  Result<int32_t> chosen = finite ? Choose(slot) : tl::unexpected(NotFinite(row.slot));
  Restore(logits);
  SLIP_ASSIGN_OR_RETURN(out.token, std::move(chosen));
  if (slot.params->num_logprobs >= 0) {
    SLIP_RETURN_IF_ERROR(Report(logits, slot.params->num_logprobs, out));
  }
  slot.last_token = out.token;
  slot.num_output++;
  if (HasPenalties(*slot.params)) CountToken(slot, out.token, true);
  return out;
}

}  // namespace slipstream
