// GrammarCompiler: threads, cache, joined requests, bounds and deadlines.
#include "grammar/grammar_compiler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "tests/grammar/byte_tokenizer.h"

namespace slipstream {
namespace {

using testing::ByteTokenizer;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// Waits for one answer of a compiler.
class Answer {
 public:
  GrammarCompiler::Done done() {
    return [this](GrammarCompiler::Compiled result) {
      std::lock_guard lock(mutex_);
      result_ = std::move(result);
      thread_ = std::this_thread::get_id();
      ++count_;
      changed_.notify_all();
    };
  }
  GrammarCompiler::Compiled Get() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ > 0; });
    EXPECT_EQ(count_, 1);
    return result_;
  }
  std::thread::id thread() const { return thread_; }
  int count() {
    std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  GrammarCompiler::Compiled result_ = nullptr;
  std::thread::id thread_;
  int count_ = 0;
};

class GrammarCompilerTest : public ::testing::Test {
 protected:
  GrammarCompiler& Compiler(GrammarCompilerOptions options = {}) {
    auto tokenizer = std::make_shared<ByteTokenizer>();
    const int vocab_size = tokenizer->vocab_size();
    compiler_ = std::make_unique<GrammarCompiler>(std::move(tokenizer), vocab_size, options);
    return *compiler_;
  }
  GrammarCompiler::Compiled Ask(const GrammarSource& source) {
    Answer answer;
    compiler_->Compile(source, answer.done());
    return answer.Get();
  }
  // Again while no thread came to it within the deadline, as happens on a busy machine.
  GrammarCompiler::Compiled AskUntilTaken(const GrammarSource& source) {
    auto answer = Ask(source);
    while (!answer && answer.error().code == ErrorCode::kResourceExhausted) answer = Ask(source);
    return answer;
  }
  // A source that keeps the library busy for a second or so.
  static GrammarSource Heavy() {
    std::string rules = "root ::= a0{1,300}\n";
    for (int i = 0; i < 300; ++i) {
      rules += "a" + std::to_string(i) + " ::= [^\"]* a" + std::to_string((i * 7 + 1) % 300) +
               " | [a-z]+ a" + std::to_string((i * 13 + 5) % 300) + " | \"x\"\n";
    }
    return {GrammarKind::kEbnf, rules, true, "guided_grammar"};
  }

  std::unique_ptr<GrammarCompiler> compiler_;
  std::atomic<int> calls_{0};
};

TEST_F(GrammarCompilerTest, CompilesOnItsOwnThreadAndRemembers) {
  Compiler();
  const GrammarSource source{GrammarKind::kRegex, "[a-z]+", true, "guided_regex"};
  Answer first, second;
  compiler_->Compile(source, first.done());
  const auto compiled = first.Get();
  ASSERT_TRUE(compiled) << compiled.error().message;
  EXPECT_NE(first.thread(), std::this_thread::get_id());
  compiler_->Compile(source, second.done());
  EXPECT_EQ(second.count(), 1) << "a known grammar is there at once";
  EXPECT_EQ(*second.Get(), *compiled);
  // The same text as another kind is another grammar.
  EXPECT_FALSE(Ask({GrammarKind::kEbnf, "[a-z]+", true, "guided_grammar"}));
}

TEST_F(GrammarCompilerTest, ErrorsNameTheFieldOfEachRequest) {
  Compiler();
  for (const char* field : {"guided_regex", "structured_outputs.regex", "guided_regex"}) {
    const auto result = Ask({GrammarKind::kRegex, "(a", true, field});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(result.error().param, field);
    EXPECT_THAT(result.error().message, StartsWith(std::string(field) + " "));
  }
}

TEST_F(GrammarCompilerTest, ManyRequestsShareOneCompile) {
  Compiler();
  std::vector<std::unique_ptr<Answer>> answers;
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) answers.push_back(std::make_unique<Answer>());
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&, i] {
      compiler_->Compile({GrammarKind::kJsonObject, "", true, "response_format"},
                         answers[i]->done());
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto first = answers[0]->Get();
  ASSERT_TRUE(first);
  for (const auto& answer : answers) EXPECT_EQ(*answer->Get(), *first);
}

TEST_F(GrammarCompilerTest, SizeAndNestingAreBounded) {
  Compiler({.max_source_bytes = 2000});
  const auto too_long = Ask({GrammarKind::kRegex, std::string(2001, 'a'), true, "guided_regex"});
  ASSERT_FALSE(too_long);
  EXPECT_THAT(too_long.error().message, HasSubstr("2001 bytes"));
  for (const GrammarKind kind : {GrammarKind::kRegex, GrammarKind::kEbnf}) {
    const auto deep = Ask({kind, std::string(900, '(') + "a" + std::string(900, ')'), true, "x"});
    ASSERT_FALSE(deep);
    EXPECT_THAT(deep.error().message, HasSubstr("900 levels"));
  }
  EXPECT_FALSE(Ask({GrammarKind::kRegex, "", true, "guided_regex"}));
  // Brackets in strings of a schema do not nest.
  EXPECT_TRUE(Ask({GrammarKind::kJsonSchema,
                   R"({"description":")" + std::string(500, '{') + R"(","type":"null"})", true,
                   "response_format"}));
}

TEST_F(GrammarCompilerTest, OldGrammarsGiveWayToNewOnes) {
  Compiler({.max_cached_bytes = 1});  // one is kept
  const GrammarSource a{GrammarKind::kRegex, "a+", true, "x"},
      b{GrammarKind::kRegex, "b+", true, "x"};
  const auto first = Ask(a);
  ASSERT_TRUE(first);
  EXPECT_EQ(*Ask(a), *first);
  ASSERT_TRUE(Ask(b));
  EXPECT_NE(*Ask(a), *first);
}

TEST_F(GrammarCompilerTest, ADeadlineEndsTheWaitAndALateResultIsUsed) {
  Compiler({.deadline_seconds = 0.001});
  const auto late = AskUntilTaken(Heavy());
  if (late) GTEST_SKIP() << "this machine compiles it in time";
  EXPECT_EQ(late.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(late.error().param, "guided_grammar");
  EXPECT_THAT(late.error().message, HasSubstr("too complex"));
  // Until the thread is through, the answer is the same, at once.
  for (auto again = Ask(Heavy()); !again; again = Ask(Heavy())) {
    ASSERT_EQ(again.error().message, late.error().message);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

std::string Many(const std::string& piece, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += piece;
  return out;
}

GrammarSource Regex(const std::string& text) {
  return {GrammarKind::kRegex, text, true, "guided_regex"};
}

TEST_F(GrammarCompilerTest, ACompileThatGrowsWithoutEndIsRefused) {
  Compiler({.deadline_seconds = 100});
  const auto huge = Ask(Regex(Many("a?", 100'000)));
  ASSERT_FALSE(huge);
  EXPECT_EQ(huge.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(huge.error().message, HasSubstr("guided_regex is not usable: it is too complex"));
  EXPECT_TRUE(Ask(Regex("a?")));
}

TEST_F(GrammarCompilerTest, ThreadsOverTheirDeadlineComeBack) {
  Compiler(
      {.num_threads = 1, .deadline_seconds = 0.05, .late_seconds = 0.05, .max_late_threads = 1});
  // Each of a kind that the library spends minutes on, in another part of it.
  const std::string bombs[] = {Many("(a|b)", 40'000), Many("a*", 20'000),
                               Many("((a|bc*){3,7}d?)", 8000)};
  int asked = 0;
  for (const std::string& bomb : bombs) {
    const auto late = AskUntilTaken(Regex(bomb));
    ASSERT_FALSE(late);
    EXPECT_THAT(late.error().message, HasSubstr("too complex"));
    // There is one thread to be late, so nothing is compiled until it is back.
    bool served = false;
    for (int i = 0; !served && i < 20'000; ++i) {
      served = Ask(Regex("a{" + std::to_string(++asked) + "}")).has_value();  // a new one
      if (!served) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_TRUE(served);
    EXPECT_EQ(Ask(Regex(bomb)).error().message, late.error().message);
  }
}

TEST_F(GrammarCompilerTest, AfterAStopNothingIsCalled) {
  Answer answer;
  {
    Compiler();
    for (int i = 0; i < 20; ++i) {
      compiler_->Compile({GrammarKind::kRegex, "a{" + std::to_string(i + 1) + "}", true, "x"},
                         [&](auto) { ++calls_; });
    }
    compiler_.reset();
  }
  const int calls = calls_;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(calls_, calls);
}

}  // namespace
}  // namespace slipstream
