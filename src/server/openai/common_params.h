// The fields that /v1/chat/completions and /v1/completions share, as native types. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/generation.h"
#include "server/openai/field_reader.h"
#include "server/service.h"

namespace slipstream {

constexpr int kMaxChoices = 64;  // of a prompt

// How the answer is to be shaped.
struct ResponseOptions {
  std::string id;
  std::string model;  // as the client named it
  int64_t created = 0;
  bool stream = false;
  bool include_usage = false;     // one more chunk, with no choices
  bool continuous_usage = false;  // in every chunk
  bool echo = false;              // the prompt is the beginning of the answer
  int num_logprobs = -1;          // -1: none
  int num_prompt_logprobs = -1;   // of the field of that name
  bool return_token_ids = false;  // of the prompt and of what was sampled
  std::vector<std::string> ignored_fields;
};

// Reads model, sampling, stop, stream and structured output fields into `request` and `options`;
// reader.status() tells of a wrong one. Does not read max_tokens, logprobs or prompts.
void ReadCommonFields(FieldReader& reader, const ModelInfo& model, GenerateRequest* request,
                      ResponseOptions* options);

// Reads priority, timeout_seconds and cache_salt; ReadCommonFields does too.
void ReadScheduling(FieldReader& reader, GenerateRequest* request);

// kNotFound when the server does not serve the name.
Status CheckModel(const Service& service, const std::string& name);

// Notes the fields that nobody has read, or refuses them where the server is strict.
Status TakeUnreadFields(const Service& service, const FieldReader& reader,
                        ResponseOptions* options);

// "chatcmpl-" and 32 hexadecimal digits.
std::string NewId(std::string_view prefix);
int64_t UnixSeconds();

}  // namespace slipstream
