#include "server/openai/common_params.h"

#include <fmt/core.h>

#include <chrono>
#include <limits>
#include <random>
#include <utility>

#include "server/json_text.h"
#include "server/openai/structured_output.h"

namespace slipstream {
namespace {

constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();
constexpr int kMaxPromptLogprobs = 20;

void ReadSampling(FieldReader& reader, SamplingParams* params) {
  if (auto v = reader.Number("temperature", 0, 2)) params->temperature = static_cast<float>(*v);
  if (auto v = reader.Integer("top_k", -1, kInt32Max)) params->top_k = static_cast<int>(*v);
  if (auto v = reader.Number("top_p", 0, 1)) {
    params->top_p = static_cast<float>(*v);
    if (!(params->top_p > 0)) reader.Reject("top_p", "must be over 0");
  }
  if (auto v = reader.Number("min_p", 0, 1)) params->min_p = static_cast<float>(*v);
  if (auto v = reader.Number("repetition_penalty", 0.001, 100)) {
    params->repetition_penalty = static_cast<float>(*v);
  }
  if (auto v = reader.Number("presence_penalty", -2, 2)) {
    params->presence_penalty = static_cast<float>(*v);
  }
  if (auto v = reader.Number("frequency_penalty", -2, 2)) {
    params->frequency_penalty = static_cast<float>(*v);
  }
  params->seed = reader.Integer("seed", std::numeric_limits<int64_t>::min(),
                                std::numeric_limits<int64_t>::max());
  if (auto v = reader.Integer("min_tokens", 0, kInt32Max))
    params->min_tokens = static_cast<int>(*v);
  if (auto v = reader.Bool("ignore_eos")) params->ignore_eos = *v;
}

void ReadLogitBias(FieldReader& reader, SamplingParams* params) {
  const Json* object = reader.Object("logit_bias");
  if (object == nullptr) return;
  for (const auto& [key, value] : object->items()) {
    int64_t id = -1;
    const bool is_id = !key.empty() && key.size() <= 10 &&
                       key.find_first_not_of("0123456789") == std::string::npos;
    if (is_id) id = std::stoll(key);
    if (!is_id || id > kInt32Max) {
      return reader.Reject("logit_bias",
                           fmt::format("has the key {}, not a token id", Shown(Json(key))));
    }
    if (!value.is_number() || !(value.get<double>() >= -100 && value.get<double>() <= 100)) {
      return reader.Reject("logit_bias", fmt::format("of token {} must be a number between -100 "
                                                     "and 100, not {}",
                                                     id, Shown(value)));
    }
    params->logit_bias.emplace_back(static_cast<int32_t>(id), value.get<float>());
  }
}

void ReadStops(FieldReader& reader, GenerateRequest* request) {
  if (const Json* stop = reader.Any("stop")) {
    const Json list = stop->is_array() ? *stop : Json::array({*stop});
    if (list.size() > kMaxStops) {
      return reader.Reject("stop",
                           fmt::format("has {} strings, the most is {}", list.size(), kMaxStops));
    }
    for (const Json& text : list) {
      if (!text.is_string()) {
        return reader.Reject("stop", "must be a string or an array of strings, not " + Shown(text));
      }
      if (text.get_ref<const std::string&>().size() > kMaxStopBytes) {
        return reader.Reject("stop", fmt::format("is longer than {} bytes", kMaxStopBytes));
      }
      if (!text.get_ref<const std::string&>().empty()) request->stop.push_back(text);
    }
  }
  if (const Json* ids = reader.Array("stop_token_ids")) {
    for (const Json& id : *ids) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > kInt32Max) {
        return reader.Reject("stop_token_ids", "must hold token ids, not " + Shown(id));
      }
      request->params.stop_token_ids.push_back(id.get<int32_t>());
    }
  }
  if (auto v = reader.Bool("include_stop_str_in_output")) request->include_stop_str_in_output = *v;
}

void ReadStreamOptions(FieldReader& reader, ResponseOptions* options) {
  if (auto v = reader.Bool("stream")) options->stream = *v;
  const Json* object = reader.Object("stream_options");
  if (object == nullptr) return;
  if (!options->stream) return reader.Reject("stream_options", "is allowed only with stream: true");
  FieldReader inner(*object, "stream_options.");
  options->include_usage = inner.Bool("include_usage").value_or(false);
  options->continuous_usage = inner.Bool("continuous_usage_stats").value_or(false);
  inner.Any("include_obfuscation");  // padding against traffic analysis: there is none to turn off
  if (!inner.ok()) {
    const std::string name = inner.status().error().param;
    return reader.Reject(name, inner.status().error().message.substr(name.size() + 1));
  }
  for (std::string& name : inner.Unread()) options->ignored_fields.push_back(std::move(name));
}

void ReadPromptLogprobs(FieldReader& reader, GenerateRequest* request, ResponseOptions* options) {
  const auto wanted = reader.Integer("prompt_logprobs", 0, kMaxPromptLogprobs);
  if (!wanted) return;
  if (options->stream)
    return reader.Reject("prompt_logprobs", "is not available with stream: true");
  options->num_prompt_logprobs = request->params.num_prompt_logprobs = static_cast<int>(*wanted);
  request->return_prompt_ids = true;
}

}  // namespace

void ReadScheduling(FieldReader& reader, GenerateRequest* request) {
  if (auto v = reader.Integer("priority", -1'000'000'000, 1'000'000'000)) {
    request->priority = static_cast<int>(*v);
  }
  if (auto v = reader.Number("timeout_seconds", 0, 86400)) {
    if (!(*v > 0)) reader.Reject("timeout_seconds", "must be over 0");
    request->max_seconds = *v;
  }
  request->cache_salt = reader.String("cache_salt").value_or("");
}

void ReadCommonFields(FieldReader& reader, const ModelInfo& model, GenerateRequest* request,
                      ResponseOptions* options) {
  options->model = reader.String("model").value_or(model.name);
  options->created = UnixSeconds();
  ReadStreamOptions(reader, options);
  if (auto v = reader.Integer("n", 1, kMaxChoices)) request->num_choices = static_cast<int>(*v);
  ReadSampling(reader, &request->params);
  ReadLogitBias(reader, &request->params);
  ReadStops(reader, request);
  if (auto v = reader.Bool("skip_special_tokens")) request->skip_special_tokens = *v;
  ReadScheduling(reader, request);
  options->return_token_ids = reader.Bool("return_token_ids").value_or(false);
  request->return_prompt_ids = options->return_token_ids;
  ReadPromptLogprobs(reader, request, options);
  request->grammar = ReadStructuredOutput(reader);
  // Without effect on the answer, here or anywhere: not worth a warning.
  for (const char* name : {"user", "metadata", "store", "service_tier", "safety_identifier",
                           "prompt_cache_key", "prompt_cache_retention"}) {
    reader.Any(name);
  }
}

Status TakeUnreadFields(const Service& service, const FieldReader& reader,
                        ResponseOptions* options) {
  for (std::string& name : reader.Unread()) options->ignored_fields.push_back(std::move(name));
  if (!service.config().strict_fields || options->ignored_fields.empty()) return {};
  const std::string& name = options->ignored_fields.front();
  return InvalidArgument(
      fmt::format("{} has no effect on this server, which was told to refuse such fields",
                  Clip(name, 128)),
      name);
}

Status CheckModel(const Service& service, const std::string& name) {
  if (service.KnowsModel(name)) return {};
  return Fail(ErrorCode::kNotFound,
              fmt::format("The model `{}` does not exist; this server has `{}`.",
                          name.substr(0, 200), service.model().name),
              "model");
}

std::string NewId(std::string_view prefix) {
  thread_local std::mt19937_64 random{(uint64_t{std::random_device{}()} << 32) |
                                      std::random_device{}()};
  return fmt::format("{}{:016x}{:016x}", prefix, random(), random());
}

int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace slipstream
