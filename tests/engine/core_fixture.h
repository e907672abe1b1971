// An EngineCore over a FakeExecutor with a clock that stands still unless a test moves it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "engine/engine_core.h"
#include "engine/engine_limits.h"
#include "tests/engine/fake_executor.h"
#include "tests/engine/recording_sink.h"

namespace slipstream::testing {

inline thread_local int64_t fake_now_us = 0;
inline int64_t FakeNow() { return fake_now_us; }

inline ExecutorInfo SmallInfo() {
  ExecutorInfo info;
  info.vocab_size = 100000;
  info.hidden_size = 2;
  info.max_model_len = 200;
  info.num_blocks = 64;
  info.block_size_tokens = 4;
  info.max_num_seqs = 8;
  info.max_batch_tokens = 64;
  return info;
}

inline std::vector<int32_t> Count(int n, int first = 0) {
  std::vector<int32_t> tokens(n);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

// A request whose fields tests change before they send it.
struct Draft {
  Request request;
  std::shared_ptr<SamplingParams> params = std::make_shared<SamplingParams>();
  std::shared_ptr<RecordingSink> sink = std::make_shared<RecordingSink>();

  Draft(std::vector<int32_t> prompt, int max_tokens) {
    request.id = "r";
    request.prompt_ids = std::move(prompt);
    params->max_tokens = max_tokens;
    params->seed = 5;
    request.params = params;
    request.sink = sink;
  }
  ExpectedOutput Expected(const ExecutorInfo& info, int choice = 0) const {
    return Expect(request, choice, info);
  }
};

class CoreTest : public ::testing::Test {
 protected:
  void Make(int depth = 1) {
    device_ = std::make_shared<FakeDevice>();
    core_ = std::make_unique<EngineCore>(
        config_, std::make_unique<FakeExecutor>(info_, depth, device_), FakeNow);
  }

  void Send(const Draft& draft) {
    const Status status = ValidateRequest(draft.request, core_->info());
    ASSERT_TRUE(status) << status.error().message;
    ASSERT_TRUE(core_->ReservePlace());
    Request copy = draft.request;
    core_->Add(std::move(copy), fake_now_us);
  }

  void StepOnce() {
    core_->Step();
    const Status status = core_->CheckInvariants();
    ASSERT_TRUE(status) << status.error().message;
    ASSERT_EQ(device_->Violations(), std::vector<std::string>{});
  }

  void Finish() {
    for (int i = 0; core_->has_work(); ++i) {
      ASSERT_LT(i, 5000);
      ASSERT_NO_FATAL_FAILURE(StepOnce());
    }
    EXPECT_EQ(core_->pool().num_held(), 0);
  }

  void ExpectOutput(const Draft& draft, int choice = 0) {
    const ExpectedOutput want = draft.Expected(core_->info(), choice);
    EXPECT_EQ(draft.sink->choice(choice).tokens, want.tokens);
    EXPECT_EQ(draft.sink->choice(choice).finish, want.finish);
    EXPECT_EQ(draft.sink->choice(choice).num_terminal, 1);
  }

  ExecutorInfo info_ = SmallInfo();
  EngineConfig config_;
  std::shared_ptr<FakeDevice> device_;
  std::unique_ptr<EngineCore> core_;
};

}  // namespace slipstream::testing
