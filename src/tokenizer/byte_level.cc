#include "tokenizer/byte_level.h"

#include "tokenizer/unicode.h"

namespace slipstream::byte_level {
namespace {

constexpr int kLastCodePoint = 0x143;  // 256 + 67: the 68 unprintable bytes follow U+00FF

bool IsPrintable(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

const std::array<int16_t, kLastCodePoint + 1>& Bytes() {
  static const auto kBytes = [] {
    std::array<int16_t, kLastCodePoint + 1> bytes{};
    bytes.fill(-1);
    for (int byte = 0; byte < 256; ++byte) bytes[CodePoints()[byte]] = static_cast<int16_t>(byte);
    return bytes;
  }();
  return kBytes;
}

}  // namespace

const std::array<uint16_t, 256>& CodePoints() {
  static const auto kCodePoints = [] {
    std::array<uint16_t, 256> points{};
    int next = 256;
    for (int byte = 0; byte < 256; ++byte) {
      points[byte] = static_cast<uint16_t>(IsPrintable(byte) ? byte : next++);
    }
    return points;
  }();
  return kCodePoints;
}

const std::array<std::string, 256>& Spellings() {
  static const auto kSpellings = [] {
    std::array<std::string, 256> spellings;
    for (int byte = 0; byte < 256; ++byte) unicode::Append(spellings[byte], CodePoints()[byte]);
    return spellings;
  }();
  return kSpellings;
}

std::string Encode(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) out += Spellings()[static_cast<uint8_t>(c)];
  return out;
}

std::optional<std::string> Decode(std::string_view spelling) {
  std::string out;
  out.reserve(spelling.size());
  for (size_t pos = 0; pos < spelling.size();) {
    const unicode::Decoded decoded = unicode::DecodeAt(spelling, pos);
    if (decoded.code_point > kLastCodePoint || Bytes()[decoded.code_point] < 0) return std::nullopt;
    out.push_back(static_cast<char>(Bytes()[decoded.code_point]));
    pos += decoded.length;
  }
  return out;
}

}  // namespace slipstream::byte_level
