// Tokens that are found in the text before anything else cuts it: special tokens and tokens added
// to a trained vocabulary. Const after construction, any thread. Cannot fail. Of tokens that start
// at the same place the longest wins. Source: HF `tokenizers`, added_vocabulary.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slipstream {

struct AddedToken {
  std::string text;
  int32_t id = 0;
  bool special = false;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the blanks before it
  bool rstrip = false;       // takes the blanks after it
  bool normalized = false;   // looked for in normalized text
};

class AddedTokens {
 public:
  struct Part {
    std::string_view text;  // into the text given to Split
    int32_t id = -1;        // -1: text
  };

  AddedTokens() = default;
  explicit AddedTokens(std::vector<AddedToken> tokens);

  // Appends the parts of `text`, empty texts left out. Special tokens are text unless
  // `parse_special`. REQUIRES: valid UTF-8.
  void Split(std::string_view text, bool parse_special, std::vector<Part>& parts) const;
  bool empty() const { return tokens_.empty(); }
  // The most bytes of text that become one token; 0: no limit, some take the blanks beside them.
  size_t max_bytes() const;

 private:
  struct Node {
    int32_t token = -1;
    std::vector<std::pair<uint8_t, int32_t>> next;  // sorted by byte
  };
  // The longest token at `pos`, as an index, or -1.
  int32_t LongestAt(std::string_view text, size_t pos) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::array<bool, 256> starts_{};  // bytes that some token starts with
};

}  // namespace slipstream
