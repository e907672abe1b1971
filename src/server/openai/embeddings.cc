// POST /v1/embeddings.
#include <openssl/evp.h>

#include <utility>
#include <vector>

#include "server/embedding.h"
#include "server/json_text.h"
#include "server/openai/json_endpoint.h"
#include "server/openai/prompt_input.h"
#include "server/openai/responder.h"
#include "server/openai/routes.h"

namespace slipstream {
namespace {

// The floats' bytes, little-endian as on every machine this builds for.
void AppendBase64(std::string* out, const std::vector<float>& values) {
  const size_t bytes = values.size() * sizeof(float);
  const size_t at = out->size(), length = (bytes + 2) / 3 * 4;
  out->resize(at + length + 1);  // EVP_EncodeBlock ends with a zero byte
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out->data() + at),
                  reinterpret_cast<const unsigned char*>(values.data()), static_cast<int>(bytes));
  out->resize(at + length);
}

class EmbeddingResponder final : public Responder {
 public:
  EmbeddingResponder(Service& service, std::shared_ptr<Exchange> exchange, ResponseOptions options,
                     EmbeddingOptions embedding, bool base64, size_t num_inputs)
      : Responder(service, std::move(exchange), std::move(options)),
        embedding_(embedding),
        base64_(base64),
        vectors_(num_inputs) {}

 private:
  // There are no streams of embeddings.
  void AppendChunks(std::string*, const ChoiceDelta&) override {}
  const std::string& chunk_head() const override { return options_.model; }

  void Collect(const ChoiceDelta& delta) override {
    auto vector = FinishEmbedding(*delta.embedding, embedding_);
    if (vector) {
      vectors_[delta.index] = std::move(*vector);
    } else if (status_) {
      status_ = tl::unexpected(std::move(vector).error());
    }
  }

  Status Verify() const override { return status_; }

  std::string WholeBody(const GenerationUsage& usage) const override {
    std::string out = "{\"object\":\"list\",\"data\":[";
    for (size_t i = 0; i < vectors_.size(); ++i) {
      out += i > 0 ? ",{" : "{";
      out += "\"object\":\"embedding\",\"index\":";
      AppendInt(&out, static_cast<long long>(i));
      out += ",\"embedding\":";
      AppendVector(&out, vectors_[i]);
      out += '}';
    }
    out += "],\"model\":";
    AppendJsonString(&out, options_.model);
    out += ",\"usage\":{\"prompt_tokens\":";
    AppendInt(&out, usage.prompt_tokens);
    out += ",\"total_tokens\":";
    AppendInt(&out, usage.prompt_tokens);
    return out + "}}";
  }

  void AppendVector(std::string* out, const std::vector<float>& vector) const {
    if (base64_) {
      *out += '"';
      AppendBase64(out, vector);
      *out += '"';
      return;
    }
    *out += '[';
    for (size_t i = 0; i < vector.size(); ++i) {
      if (i > 0) *out += ',';
      AppendJsonFloat(out, vector[i]);
    }
    *out += ']';
  }

  const EmbeddingOptions embedding_;
  const bool base64_;
  std::vector<std::vector<float>> vectors_;
  Status status_;
};

struct ParsedEmbedding {
  GenerateRequest request;
  ResponseOptions options;
  EmbeddingOptions embedding;
  bool base64 = false;
};

void ReadEmbedding(FieldReader& reader, const Service& service, ParsedEmbedding* parsed) {
  EmbeddingOptions& embedding = parsed->embedding;
  const auto format = reader.String("encoding_format").value_or("float");
  parsed->base64 = format == "base64";
  if (format != "float" && format != "base64") {
    reader.Reject("encoding_format", "must be \"float\" or \"base64\", not " + Shown(format));
  }
  const int64_t hidden_size = service.engine().info().hidden_size;
  if (auto v = reader.Integer("dimensions", 1, hidden_size)) embedding.dimensions = *v;
  if (auto v = reader.String("pooling")) {
    const auto pooling = ParsePooling(*v);
    if (pooling) embedding.pooling = *pooling;
    if (!pooling) reader.Reject("pooling", "must be \"last\" or \"mean\", not " + Shown(*v));
  }
  embedding.normalize = reader.Bool("normalize").value_or(true);
}

Result<ParsedEmbedding> ParseEmbedding(const Service& service, const Json& body) {
  ParsedEmbedding parsed;
  parsed.embedding = DefaultEmbedding(service);
  GenerateRequest& request = parsed.request;
  request.prompt_field = "input";
  FieldReader reader(body, "");
  parsed.options.model = reader.String("model").value_or(service.model().name);
  ReadPrompts(reader, "input", service.config().max_queued_requests, &request);
  ReadEmbedding(reader, service, &parsed);
  ReadScheduling(reader, &request);
  request.add_special_tokens = reader.Bool("add_special_tokens").value_or(true);
  reader.Any("user");
  SLIP_RETURN_IF_ERROR(reader.status());
  SLIP_RETURN_IF_ERROR(CheckModel(service, parsed.options.model));
  SLIP_RETURN_IF_ERROR(TakeUnreadFields(service, reader, &parsed.options));
  SLIP_RETURN_IF_ERROR(AskForEmbedding(service, parsed.embedding, &request));
  parsed.options.id = NewId("embd-");
  return parsed;
}

}  // namespace

void AddEmbeddingRoutes(Service& service, Router* router) {
  AddPost(
      router, "/v1/embeddings",
      [&service](const Json& body, const Exchange&) { return ParseEmbedding(service, body); },
      [&service](const std::shared_ptr<Exchange>& exchange, ParsedEmbedding parsed) {
        std::make_shared<EmbeddingResponder>(service, exchange, std::move(parsed.options),
                                             parsed.embedding, parsed.base64,
                                             parsed.request.prompts.size())
            ->Run(std::move(parsed.request));
      });
}

}  // namespace slipstream
