// Builds groups by hand for tests below EngineCore.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "engine/sequence.h"

namespace slipstream::testing {

// One group with `n` choices, ready for Scheduler::Enqueue of its first.
inline std::unique_ptr<SequenceGroup> MakeGroup(BlockPool* pool, uint64_t arrival,
                                                std::vector<int32_t> prompt, int max_outputs,
                                                int priority = 0, int n = 1) {
  auto group = std::make_unique<SequenceGroup>();
  group->request.prompt_ids = std::move(prompt);
  group->request.params = std::make_shared<SamplingParams>();
  group->request.priority = priority;
  group->request.num_choices = n;
  group->arrival = arrival;
  group->num_live = group->num_unadmitted = n;
  for (int k = 0; k < n; ++k) {
    auto seq = std::make_unique<Sequence>();
    seq->group = group.get();
    seq->choice = k;
    seq->seed = 40 + static_cast<uint64_t>(k);
    seq->max_outputs = max_outputs;
    seq->table = BlockTable(pool);
    group->choices.push_back(std::move(seq));
  }
  return group;
}

}  // namespace slipstream::testing
