#include "server/openai/responder.h"

#include <utility>

#include "server/http/http_errors.h"
#include "server/json_text.h"

namespace slipstream {
namespace {

constexpr size_t kMaxIgnoredBytes = 512;  // of the header that names ignored fields

}  // namespace

Responder::Responder(Service& service, std::shared_ptr<Exchange> exchange, ResponseOptions options)
    : service_(service), options_(std::move(options)), exchange_(std::move(exchange)) {
  service_.metrics().ignored_fields_total.Add(options_.ignored_fields.size());
}

void Responder::Run(GenerateRequest request) {
  exchange_->SetHooks(shared_from_this());
  request.id = options_.id;
  request.record = exchange_->record();
  auto generation = service_.Generate(exchange_->loop(), std::move(request), shared_from_this());
  if (!done_) generation_ = std::move(generation);
}

HttpHeaders Responder::Headers() const {
  HttpHeaders headers;
  AddIgnoredFields(options_.ignored_fields, &headers);
  return headers;
}

void Responder::BeginStream() {
  if (begun_) return;
  begun_ = true;
  HttpHeaders headers = Headers();
  headers.emplace_back("cache-control", "no-cache");
  headers.emplace_back("x-accel-buffering", "no");  // nginx would hold events back
  exchange_->BeginStream("text/event-stream; charset=utf-8", headers);
}

void Responder::OnDelta(const ChoiceDelta& delta) {
  if (!options_.stream) return Collect(delta);
  BeginStream();
  AppendChunks(&exchange_->stream_buffer(), delta);
}

void Responder::OnFlush() {
  if (begun_ && !done_) exchange_->FlushStream();
}

void Responder::OnFinished(const GenerationUsage& usage) {
  if (const Status status = Verify(); !status) return OnError(status.error());
  done_ = true;
  if (!options_.stream) {
    HttpResponse response;
    response.headers = Headers();
    response.body = WholeBody(usage);
    exchange_->Respond(std::move(response));
  } else {
    std::string& out = exchange_->stream_buffer();
    AppendStreamEnd(&out, usage);
    exchange_->EndStream();
  }
  generation_.reset();
}

void Responder::OnError(const Error& error) {
  done_ = true;
  if (!begun_) {
    HttpResponse response = Refusal(error);
    AddIgnoredFields(options_.ignored_fields, &response.headers);
    exchange_->Respond(std::move(response));
  } else {
    AppendError(&exchange_->stream_buffer(), error);
    exchange_->EndStream();
  }
  generation_.reset();
}

void Responder::AppendStreamEnd(std::string* out, const GenerationUsage& usage) {
  if (options_.include_usage) {
    *out += chunk_head();
    *out += "[],\"usage\":";
    AppendUsage(out, usage, num_reasoning_tokens());
    *out += "}\n\n";
  }
  *out += "data: [DONE]\n\n";
}

void Responder::AppendError(std::string* out, const Error& error) {
  *out += "data: ";
  *out += ErrorJson(error);
  *out += "\n\ndata: [DONE]\n\n";
}

HttpResponse Responder::Refusal(const Error& error) const { return ErrorResponse(error); }

void Responder::OnDisconnect() {
  done_ = true;
  if (generation_) generation_->Cancel();
  generation_.reset();
}

void Responder::OnIdle() {
  // Before the request is accepted it may still turn out to be wrong, and get a real status.
  if (!options_.stream || done_ || !generation_ || !generation_->accepted()) return;
  BeginStream();
  exchange_->stream_buffer() += idle_text();
  exchange_->FlushStream();
}

void Responder::OnTick(int64_t now_us) {
  if (const auto generation = generation_) generation->Tick(now_us);
}

std::string Responder::ObjectHead(std::string_view object) const {
  std::string out = "{\"id\":";
  AppendJsonString(&out, options_.id);
  out.append(",\"object\":\"").append(object).append("\",\"created\":");
  AppendInt(&out, options_.created);
  out += ",\"model\":";
  AppendJsonString(&out, options_.model);
  return out + ",\"choices\":";
}

void Responder::CloseChunk(std::string* out) const {
  if (options_.continuous_usage && generation_) {
    out->append(",\"usage\":");
    AppendUsage(out, generation_->usage(), num_reasoning_tokens());
  }
  out->append("}\n\n");
}

void AppendUsage(std::string* out, const GenerationUsage& usage, int64_t num_reasoning_tokens) {
  out->append("{\"prompt_tokens\":");
  AppendInt(out, usage.prompt_tokens);
  out->append(",\"completion_tokens\":");
  AppendInt(out, usage.completion_tokens);
  out->append(",\"total_tokens\":");
  AppendInt(out, usage.prompt_tokens + usage.completion_tokens);
  out->append(",\"prompt_tokens_details\":{\"cached_tokens\":");
  AppendInt(out, usage.cached_tokens);
  out->append("},\"completion_tokens_details\":{\"reasoning_tokens\":");
  AppendInt(out, num_reasoning_tokens);
  out->append("}}");
}

void AppendFinishReason(std::string* out, FinishReason finish, bool called) {
  switch (finish) {
    case FinishReason::kStop:
      out->append(called ? "\"tool_calls\"" : "\"stop\"");
      return;
    case FinishReason::kLength:
      out->append("\"length\"");
      return;
    default:
      out->append("null");
  }
}

void AppendStopReason(std::string* out, const ChoiceDelta& delta) {
  if (delta.stop_string != nullptr) {
    AppendJsonString(out, *delta.stop_string);
  } else if (delta.stop_token >= 0) {
    AppendInt(out, delta.stop_token);
  } else {
    out->append("null");
  }
}

void AppendTokenId(std::string* out, const ChoiceDelta& delta) {
  out->append(",\"token_ids\":");
  AppendIds(
      out, delta.token != nullptr ? std::span(&delta.token->token, 1) : std::span<const int32_t>());
}

void AppendIds(std::string* out, std::span<const int32_t> ids) {
  out->push_back('[');
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out->push_back(',');
    AppendInt(out, ids[i]);
  }
  out->push_back(']');
}

void AddIgnoredFields(const std::vector<std::string>& names, HttpHeaders* headers) {
  if (names.empty()) return;
  std::string value;
  for (const std::string& name : names) {
    if (value.size() + name.size() > kMaxIgnoredBytes) {
      value += ", ...";
      break;
    }
    if (!value.empty()) value += ", ";
    for (const char c : name) value += c > 0x20 && c < 0x7F && c != ',' ? c : '?';
  }
  headers->emplace_back("x-slipstream-ignored-fields", value);
}

}  // namespace slipstream
