#include "tests/tokenizer/hf_json.h"

#include <algorithm>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace slipstream {
namespace {

using nlohmann::json;
using Cut = std::pair<std::string, std::string>;

// Every way to cut a piece into two pieces, best score first, as HF's converter writes them.
std::vector<Cut> ScoredMerges(const GgufVocab& vocab) {
  std::unordered_map<std::string, int32_t> ids;
  for (size_t i = 0; i < vocab.tokens.size(); ++i) {
    ids[vocab.tokens[i]] = static_cast<int32_t>(i);
  }
  std::vector<std::pair<float, Cut>> merges;
  for (size_t i = 0; i < vocab.tokens.size(); ++i) {
    if (vocab.token_types[i] != static_cast<int32_t>(GgufTokenType::kNormal)) continue;
    const std::string& piece = vocab.tokens[i];
    std::vector<std::tuple<int32_t, int32_t, Cut>> cuts;
    for (size_t k = 1; k < piece.size(); ++k) {
      const Cut cut{piece.substr(0, k), piece.substr(k)};
      if (ids.count(cut.first) != 0 && ids.count(cut.second) != 0) {
        cuts.emplace_back(ids[cut.first], ids[cut.second], cut);
      }
    }
    std::sort(cuts.begin(), cuts.end());
    for (const auto& [left, right, cut] : cuts) merges.emplace_back(vocab.scores[i], cut);
  }
  std::stable_sort(merges.begin(), merges.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<Cut> out;
  for (const auto& [score, cut] : merges) out.push_back(cut);
  return out;
}

json Or(const json& object, const char* key) {
  return object.contains(key) ? object.at(key) : json();
}

}  // namespace

std::string HfJson(const GgufVocab& vocab, const json& pipeline) {
  json added = json::array(), tokens = json::object(), model;
  for (size_t i = 0; i < vocab.tokens.size(); ++i) {
    tokens[vocab.tokens[i]] = i;
    const int32_t type = vocab.token_types[i];
    if (type != static_cast<int32_t>(GgufTokenType::kControl) &&
        type != static_cast<int32_t>(GgufTokenType::kUserDefined)) {
      continue;
    }
    added.push_back({{"id", i},
                     {"content", vocab.tokens[i]},
                     {"normalized", false},
                     {"special", type == static_cast<int32_t>(GgufTokenType::kControl)}});
  }
  model = {{"type", "BPE"}, {"vocab", std::move(tokens)}};
  if (vocab.merges.empty()) {
    model["merges"] = ScoredMerges(vocab);
  } else {
    model["merges"] = vocab.merges;
  }
  if (pipeline.contains("model")) model.update(pipeline.at("model"));
  const json root = {{"version", "1.0"},
                     {"added_tokens", std::move(added)},
                     {"normalizer", Or(pipeline, "normalizer")},
                     {"pre_tokenizer", Or(pipeline, "pre_tokenizer")},
                     {"post_processor", nullptr},
                     {"decoder", Or(pipeline, "decoder")},
                     {"model", std::move(model)}};
  return root.dump();
}

}  // namespace slipstream
