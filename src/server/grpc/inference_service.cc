#include "server/grpc/inference_service.h"

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <exception>
#include <functional>
#include <utility>

#include "base/clock.h"
#include "server/grpc/embed_call.h"
#include "server/grpc/generate_call.h"
#include "server/openai/common_params.h"
#include "tokenizer/detokenizer.h"

namespace slipstream {
namespace {

std::string_view MetadataOf(const grpc::CallbackServerContext& context, const char* name) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(name);
  return found == metadata.end() ? std::string_view()
                                 : std::string_view(found->second.data(), found->second.size());
}

// The key that the call brings; null with success: none is needed.
Result<std::shared_ptr<KeyAccount>> CheckKey(const Service& service,
                                             const grpc::CallbackServerContext& context) {
  if (!service.keys()->required()) return nullptr;
  auto account = service.keys()->Find(MetadataOf(context, "authorization"));
  if (!account) return Fail(ErrorCode::kUnauthenticated, "an API key is needed");
  return account;
}

std::shared_ptr<RequestRecord> RecordOf(const grpc::CallbackServerContext& context,
                                        const char* method) {
  auto record = std::make_shared<RequestRecord>();
  record->request_id = NewId("grpc-");
  record->method = method;
  record->path = v1::Inference::service_full_name();
  record->start_us = NowUs();
  record->trace_id = TraceIdOf(MetadataOf(context, "traceparent"));
  return record;
}

// Finds out who calls and takes the key's place.
Status Admit(Service& service, const grpc::CallbackServerContext& context, RequestRecord* record) {
  SLIP_ASSIGN_OR_RETURN(record->key, CheckKey(service, context));
  if (!record->key) return {};
  if (const auto over = record->key->Enter(record->start_us)) {
    service.metrics().rejected_key_limit_total.Add();
    return Fail(ErrorCode::kResourceExhausted, over->message);
  }
  record->permit = std::make_shared<KeyPermit>(record->key);
  return {};
}

// `Service` alone would be the generated base's member class here.
class InferenceService final : public v1::Inference::CallbackService {
 public:
  InferenceService(slipstream::Service& service, std::vector<EventLoop*> loops)
      : service_(service), loops_(std::move(loops)) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* message) override {
    return Begin(context, "Generate", std::make_shared<GenerateCall>(service_, NextLoop()),
                 ParseGenerateRequest, *message);
  }

  grpc::ServerUnaryReactor* Embed(grpc::CallbackServerContext* context,
                                  const v1::EmbedRequest* message,
                                  v1::EmbedResponse* response) override {
    return Begin(context, "Embed", std::make_shared<EmbedCall>(service_, NextLoop(), response),
                 ParseEmbedRequest, *message);
  }

  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* message,
                                     v1::TokenizeResponse* response) override {
    return OnPool(context, "Tokenize", message->model(), [this, message, response]() -> Status {
      const bool special = !message->has_add_special_tokens() || message->add_special_tokens();
      SLIP_ASSIGN_OR_RETURN(
          const std::vector<int32_t> ids,
          service_.tokenizer()->Encode(message->text(),
                                       {.add_special_tokens = special, .parse_special = true}));
      response->mutable_token_ids()->Add(ids.begin(), ids.end());
      response->set_max_model_len(service_.model().max_model_len);
      return {};
    });
  }

  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* message,
                                       v1::DetokenizeResponse* response) override {
    return OnPool(context, "Detokenize", message->model(), [this, message, response]() -> Status {
      const std::vector<int32_t> ids(message->token_ids().begin(), message->token_ids().end());
      const int64_t vocab_size = service_.tokenizer()->vocab_size();
      for (const int32_t id : ids) {
        if (id >= 0 && id < vocab_size) continue;
        return InvalidArgument(fmt::format("token_ids must hold token ids, not {}", id),
                               "token_ids");
      }
      response->set_text(Decode(service_.tokenizer(), ids, {.skip_special_tokens = false}));
      return {};
    });
  }

  grpc::ServerUnaryReactor* GetLoad(grpc::CallbackServerContext* context, const v1::GetLoadRequest*,
                                    v1::GetLoadResponse* response) override {
    if (const auto key = CheckKey(service_, *context); !key) {
      return Reply(context, ToGrpcStatus(key.error()));
    }
    const ServerMetrics& server = service_.metrics();
    const EngineMetrics& engine = service_.engine().metrics();
    response->set_open_requests(service_.open_requests());
    response->set_queued_requests(server.queued_requests.load());
    response->set_queued_tokens(server.queued_tokens.load());
    response->set_running_sequences(static_cast<int64_t>(engine.running_sequences.value()));
    response->set_waiting_sequences(static_cast<int64_t>(engine.waiting_sequences.value()));
    response->set_kv_blocks_used(static_cast<int64_t>(engine.kv_blocks_used.value()));
    response->set_kv_blocks_total(static_cast<int64_t>(engine.kv_blocks_total.value()));
    response->set_draining(service_.draining());
    return Reply(context, grpc::Status::OK);
  }

  grpc::ServerUnaryReactor* Health(grpc::CallbackServerContext* context, const v1::HealthRequest*,
                                   v1::HealthResponse* response) override {
    const Status health = service_.Health(), ready = service_.Ready();
    response->set_healthy(health.has_value());
    response->set_ready(ready.has_value());
    if (!health) {
      response->set_reason(health.error().message);
    } else if (!ready) {
      response->set_reason(ready.error().message);
    }
    return Reply(context, grpc::Status::OK);
  }

  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const v1::GetModelInfoRequest*,
                                         v1::GetModelInfoResponse* response) override {
    if (const auto key = CheckKey(service_, *context); !key) {
      return Reply(context, ToGrpcStatus(key.error()));
    }
    const ModelInfo& model = service_.model();
    response->set_name(model.name);
    for (const std::string& alias : model.aliases) response->add_aliases(alias);
    response->set_max_model_len(model.max_model_len);
    const ExecutorInfo& info = service_.engine().info();
    response->set_vocab_size(static_cast<int32_t>(info.vocab_size));
    for (const int32_t id : info.eos_token_ids) response->add_eos_token_ids(id);
    response->set_version(SLIPSTREAM_VERSION);
    response->set_embedding_size(static_cast<int32_t>(info.hidden_size));
    return Reply(context, grpc::Status::OK);
  }

 private:
  EventLoop& NextLoop() { return *loops_[next_loop_.fetch_add(1) % loops_.size()]; }

  static GenerateRequest& RequestIn(GenerateRequest& parsed) { return parsed; }
  static GenerateRequest& RequestIn(ParsedEmbed& parsed) { return parsed.request; }

  // Starts a call or refuses it. A refused key is not told what is wrong with the message.
  template <typename Call, typename Parse, typename Message>
  Call* Begin(grpc::CallbackServerContext* context, const char* method,
              const std::shared_ptr<Call>& call, Parse parse, const Message& message) {
    auto record = RecordOf(*context, method);
    if (Status admitted = Admit(service_, *context, record.get()); !admitted) {
      call->Refuse(admitted.error(), std::move(record));
    } else if (auto parsed = parse(service_, message); !parsed) {
      call->Refuse(parsed.error(), std::move(record));
    } else {
      GenerateRequest& request = RequestIn(*parsed);
      record->request_id = request.id;
      request.record = std::move(record);
      call->set_deadline(context->deadline());
      call->Start(std::move(*parsed));
    }
    return call.get();  // it holds itself until OnDone
  }

  // Runs `work` on a tokenizer thread, then ends the call. Message and response live until then.
  grpc::ServerUnaryReactor* OnPool(grpc::CallbackServerContext* context, const char* method,
                                   const std::string& model, std::function<Status()> work) {
    auto record = RecordOf(*context, method);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const auto end = [this, reactor, record](const Status& status) {
      const grpc::Status answer = status ? grpc::Status::OK : ToGrpcStatus(status.error());
      if (!status) record->error = status.error().message;
      CloseRecord(service_, answer, record.get());
      reactor->Finish(answer);
    };
    Status begun = Admit(service_, *context, record.get());
    if (begun && !model.empty()) begun = CheckModel(service_, model);
    if (!begun) {
      end(begun);
      return reactor;
    }
    auto status = std::make_shared<Status>();
    const bool queued = service_.RunOnPool(
        NextLoop(),
        [status, work = std::move(work)] {
          try {
            *status = work();
          } catch (const std::exception& e) {
            *status = Internal(e.what());
          }
        },
        [status, end] { end(*status); });
    if (!queued) end(Fail(ErrorCode::kResourceExhausted, "the queue is full"));
    return reactor;
  }

  static grpc::ServerUnaryReactor* Reply(grpc::CallbackServerContext* context,
                                         const grpc::Status& status) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(status);
    return reactor;
  }

  slipstream::Service& service_;
  const std::vector<EventLoop*> loops_;
  std::atomic<size_t> next_loop_{0};
};

}  // namespace

std::unique_ptr<grpc::Service> MakeInferenceService(Service& service,
                                                    std::vector<EventLoop*> loops) {
  return std::make_unique<InferenceService>(service, std::move(loops));
}

}  // namespace slipstream
