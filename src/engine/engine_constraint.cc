// EngineCore's part that keeps sequences within their constraints.
#include <algorithm>
#include <thread>
#include <utility>

#include "engine/engine_core.h"

namespace slipstream {
namespace {

// Threads beside the engine's that fill masks: what a mask takes, 10 to 100 us, times half of a
// large batch is longer than a step.
int NumMaskHelpers() {
  constexpr int kMost = 7;
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()) - 1, 0, kMost);
}

}  // namespace

void EngineCore::StartConstraints(SequenceGroup* group) {
  const Request& request = group->request;
  for (const auto& seq : group->choices) {
    auto state = request.constraint->Start(group->stop_ids);
    if (!state) {
      Finish(seq.get(), FinishReason::kError, &state.error());
      continue;
    }
    seq->constraint = std::move(*state);
    if (request.constraint_after < 0 && seq->max_outputs > 0) {
      followed_.push_back({seq.get(), Followed::kNoToken});
    }
  }
  FillMasks();
}

// The sequence got `token`, and goes on: its next mask is filled with those of the others.
void EngineCore::FollowConstraint(Sequence* seq, int32_t token) {
  if (!seq->mask.empty()) {
    followed_.push_back({seq, token});
  } else if (token == seq->group->request.constraint_after) {
    followed_.push_back({seq, Followed::kNoToken});
  }
}

// The forced tokens of a span are behind it: they may hold the mark that the constraint waits for,
// and min_tokens may be reached.
void EngineCore::FollowForced(Sequence* seq) {
  const Request& request = seq->group->request;
  const std::vector<int32_t>& forced = request.span_budget->forced;
  if (!seq->mask.empty() ||
      std::find(forced.begin(), forced.end(), request.constraint_after) != forced.end()) {
    followed_.push_back({seq, Followed::kNoToken});
  }
}

// Any thread: of the engine's state it touches that of the sequence alone.
void EngineCore::FillMask(Followed* followed) {
  Sequence& seq = *followed->seq;
  if (followed->token != Followed::kNoToken) {
    followed->status = seq.constraint->Advance(followed->token);
  }
  if (followed->status) followed->status = seq.constraint->FillMask(seq.mask);
  if (!followed->status) return;
  const SequenceGroup& group = *seq.group;
  // The sampler masks stop tokens before min_tokens, too; a row without any token is an error.
  if (static_cast<int32_t>(seq.outputs.size()) < group.request.params->min_tokens) {
    for (const int32_t id : group.stop_ids) seq.mask[id / 32] &= ~(uint32_t{1} << id % 32);
  }
  followed->over =
      std::all_of(seq.mask.begin(), seq.mask.end(), [](uint32_t word) { return word == 0; });
}

// Brings the constraints of all of followed_ up to date, then ends the sequences where nothing may
// follow: neither text nor, before min_tokens, a stop token.
void EngineCore::FillMasks() {
  if (followed_.empty()) return;
  for (const Followed& f : followed_) {
    f.seq->mask.resize(static_cast<size_t>(TokenMaskWords(info_.vocab_size)));
  }
  if (followed_.size() > 1 && !mask_helpers_) {
    mask_helpers_ = std::make_unique<ForkJoin>(NumMaskHelpers());
  }
  if (followed_.size() == 1) {
    FillMask(&followed_[0]);
  } else {
    mask_helpers_->Run(static_cast<int>(followed_.size()),
                       [this](int i) { FillMask(&followed_[static_cast<size_t>(i)]); });
  }
  for (const Followed& f : followed_) {
    if (!f.status) {
      Finish(f.seq, FinishReason::kError, &f.status.error());
    } else if (f.over && f.seq->outputs.empty()) {
      f.seq->max_outputs = 0;  // ends when its prompt is computed
    } else if (f.over) {
      Finish(f.seq, FinishReason::kStop);
    }
  }
  followed_.clear();
}

}  // namespace slipstream
