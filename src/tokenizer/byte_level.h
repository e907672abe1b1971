// GPT-2's spelling of bytes as printable characters, in which byte-level vocabularies are written.
// Pure functions, any thread. Source: openai/gpt-2, encoder.py (bytes_to_unicode).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace slipstream::byte_level {

// The character that stands for each byte, as a code point.
const std::array<uint16_t, 256>& CodePoints();
// The same as UTF-8.
const std::array<std::string, 256>& Spellings();

std::string Encode(std::string_view bytes);
// Nothing if some character of `spelling` stands for no byte. REQUIRES: valid UTF-8.
std::optional<std::string> Decode(std::string_view spelling);

}  // namespace slipstream::byte_level
