// EngineCore's part that keeps sequences within their constraints.
#include <algorithm>
#include <utility>

#include "engine/engine_core.h"

namespace slipstream {

void EngineCore::StartConstraints(SequenceGroup* group) {
  const Request& request = group->request;
  for (const auto& seq : group->choices) {
    auto state = request.constraint->Start(group->stop_ids);
    if (!state) {
      Finish(seq.get(), FinishReason::kError, &state.error());
      continue;
    }
    seq->constraint = std::move(*state);
    if (request.constraint_after < 0 && seq->max_outputs > 0) FillNextMask(seq.get());
  }
}

// The sequence got `token`, and goes on.
void EngineCore::FollowConstraint(Sequence* seq, int32_t token) {
  if (seq->mask.empty()) {
    if (token == seq->group->request.constraint_after) FillNextMask(seq);
    return;
  }
  if (Status status = seq->constraint->Advance(token); !status) {
    return Finish(seq, FinishReason::kError, &status.error());
  }
  FillNextMask(seq);
}

// The forced tokens of a span are behind it: they may hold the mark that the constraint waits for,
// and min_tokens may be reached.
void EngineCore::FollowForced(Sequence* seq) {
  const Request& request = seq->group->request;
  const std::vector<int32_t>& forced = request.span_budget->forced;
  if (!seq->mask.empty() ||
      std::find(forced.begin(), forced.end(), request.constraint_after) != forced.end()) {
    FillNextMask(seq);
  }
}

// Ends the sequence where nothing may follow: neither text nor, before min_tokens, a stop token.
void EngineCore::FillNextMask(Sequence* seq) {
  seq->mask.resize(static_cast<size_t>(TokenMaskWords(info_.vocab_size)));
  if (Status status = seq->constraint->FillMask(seq->mask); !status) {
    return Finish(seq, FinishReason::kError, &status.error());
  }
  const SequenceGroup& group = *seq->group;
  // The sampler masks stop tokens before min_tokens, too; a row without any token is an error.
  if (static_cast<int32_t>(seq->outputs.size()) < group.request.params->min_tokens) {
    for (const int32_t id : group.stop_ids) seq->mask[id / 32] &= ~(uint32_t{1} << id % 32);
  }
  const bool over =
      std::all_of(seq->mask.begin(), seq->mask.end(), [](uint32_t word) { return word == 0; });
  if (over && seq->outputs.empty()) {
    seq->max_outputs = 0;  // ends when its prompt is computed
  } else if (over) {
    Finish(seq, FinishReason::kStop);
  }
}

}  // namespace slipstream
