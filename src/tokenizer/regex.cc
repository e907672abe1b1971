#include "tokenizer/regex.h"

#include <pcre2.h>

#include <array>

namespace slipstream {
namespace {

constexpr size_t kMaxPatternBytes = 64 << 10;
constexpr size_t kJitStackBytes = 4 << 20;

std::string MessageOf(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

// What a search needs apart from the code: one per thread, because searches are frequent and short.
struct Scratch {
  pcre2_match_data* match = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr);

  Scratch() {
    if (context != nullptr) {
      pcre2_jit_stack_assign(context, nullptr, stack);
      pcre2_set_match_limit(context, 10'000'000);
    }
  }
  ~Scratch() {
    pcre2_match_data_free(match);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

}  // namespace

struct Regex::Code {
  pcre2_code* compiled = nullptr;
  std::string pattern;
  ~Code() { pcre2_code_free(compiled); }
};

Result<Regex> Regex::Compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return InvalidArgument("a pattern of " + std::to_string(pattern.size()) + " bytes is too long");
  }
  // Oniguruma intersects classes with &&, PCRE2 would silently read two ampersands.
  if (pattern.find("&&") != std::string_view::npos) {
    return InvalidArgument("the pattern \"" + std::string(pattern) +
                           "\" intersects character classes, which is not supported");
  }
  int error = 0;
  PCRE2_SIZE offset = 0;
  // In Ruby's syntax ^ and $ match at line borders.
  pcre2_code* compiled = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (compiled == nullptr) {
    return InvalidArgument("the pattern \"" + std::string(pattern) + "\" is wrong at byte " +
                           std::to_string(offset) + ": " + MessageOf(error));
  }
  // Without the just-in-time compiler the pattern is interpreted: slower, same result.
  (void)pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
  auto code = std::make_shared<Code>();
  code->compiled = compiled;
  code->pattern = pattern;
  return Regex(std::move(code));
}

Result<std::optional<Regex::Match>> Regex::Find(std::string_view text, size_t from) const {
  thread_local Scratch scratch;
  if (scratch.match == nullptr || scratch.context == nullptr) {
    return Fail(ErrorCode::kResourceExhausted, "no memory to search text");
  }
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  int rc = pcre2_match(code_->compiled, subject, text.size(), from, PCRE2_NO_UTF_CHECK,
                       scratch.match, scratch.context);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter keeps its state on the heap
    rc = pcre2_match(code_->compiled, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                     scratch.match, scratch.context);
  }
  if (rc == PCRE2_ERROR_NOMATCH) return std::optional<Match>();
  if (rc < 0) {
    // The same text fails again: no error to come back after.
    return InvalidArgument("splitting the text by \"" + code_->pattern +
                           "\" failed: " + MessageOf(rc));
  }
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(scratch.match);
  // \K in a look-around can put the start behind the end.
  if (bounds[0] > bounds[1] || bounds[0] < from) return std::optional<Match>();
  return std::optional<Match>(Match{bounds[0], bounds[1]});
}

}  // namespace slipstream
