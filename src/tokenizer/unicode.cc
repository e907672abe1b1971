#include "tokenizer/unicode.h"

#include <utf8proc.h>

#include <array>
#include <cstdlib>
#include <cstring>

namespace slipstream::unicode {
namespace {

bool IsWhiteSpace(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

uint16_t Classify(uint32_t c) {
  const uint16_t space = IsWhiteSpace(c) ? kSpace : 0;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
      return kUpper;
    case UTF8PROC_CATEGORY_LL:
      return kLower;
    case UTF8PROC_CATEGORY_LT:
      return kTitle;
    case UTF8PROC_CATEGORY_LM:
      return kModifier;
    case UTF8PROC_CATEGORY_LO:
      return kOtherLetter;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return kMark;
    case UTF8PROC_CATEGORY_ND:
      return kNumber | kDecimal;
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return kNumber;
    case UTF8PROC_CATEGORY_PC:
      return kPunctuation | kConnector;
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      return kPunctuation;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
      return kSymbol;
    default:
      return space;
  }
}

struct Range {
  uint32_t first, last;
};
// Punctuation that came with Unicode 9.0 to 15.0.
constexpr std::array<Range, 32> kLaterPunctuation = {
    {{0x61D, 0x61D},     {0x9FD, 0x9FD},     {0xA76, 0xA76},     {0xC77, 0xC77},
     {0xC84, 0xC84},     {0x1B7D, 0x1B7E},   {0x2E43, 0x2E4F},   {0x2E52, 0x2E5D},
     {0x10EAD, 0x10EAD}, {0x10F55, 0x10F59}, {0x10F86, 0x10F89}, {0x1144B, 0x1144F},
     {0x1145A, 0x1145B}, {0x1145D, 0x1145D}, {0x11660, 0x1166C}, {0x116B9, 0x116B9},
     {0x1183B, 0x1183B}, {0x11944, 0x11946}, {0x119E2, 0x119E2}, {0x11A3F, 0x11A46},
     {0x11A9A, 0x11A9C}, {0x11A9E, 0x11AA2}, {0x11B00, 0x11B09}, {0x11C41, 0x11C45},
     {0x11C70, 0x11C71}, {0x11EF7, 0x11EF8}, {0x11F43, 0x11F4F}, {0x11FFF, 0x11FFF},
     {0x12FF1, 0x12FF2}, {0x16E97, 0x16E9A}, {0x16FE2, 0x16FE2}, {0x1E95E, 0x1E95F}}};

// How many bytes a sequence that starts with `lead` has, 0 if none starts so, and the range of the
// second byte (Unicode 15, table 3-7).
struct Lead {
  uint8_t length, low, high;
};
Lead LeadOf(uint8_t lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead < 0xC2) return {0, 0, 0};
  if (lead < 0xE0) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead < 0xF0) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead < 0xF4) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

std::string Map(std::string_view text, int options) {
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                             static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                                             static_cast<utf8proc_option_t>(options));
  // Fails only on text that is not UTF-8 or for want of memory: then the text stays as it is.
  if (size < 0) return std::string(text);
  std::string result(reinterpret_cast<const char*>(mapped), static_cast<size_t>(size));
  std::free(mapped);
  return result;
}

bool IsAscii(std::string_view text) {
  for (const char c : text) {
    if (static_cast<uint8_t>(c) >= 0x80) return false;
  }
  return true;
}

}  // namespace

uint16_t ClassesOf(uint32_t code_point) {
  static const std::array<uint16_t, 0x800> kTable = [] {
    std::array<uint16_t, 0x800> table{};
    for (uint32_t c = 0; c < table.size(); ++c) table[c] = Classify(c);
    return table;
  }();
  return code_point < kTable.size() ? kTable[code_point] : Classify(code_point);
}

bool IsClassicPunctuation(uint32_t c) {
  const uint16_t classes = ClassesOf(c);
  if (c < 0x80) return (classes & (kPunctuation | kSymbol)) != 0;
  if (c == 0x166D || c == 0x111C9) return true;  // reclassified since
  if ((classes & kPunctuation) == 0) return false;
  for (const Range& range : kLaterPunctuation) {
    if (c >= range.first && c <= range.last) return false;
  }
  return true;
}

Decoded DecodeAt(std::string_view text, size_t pos) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(text[i])); };
  const uint32_t b0 = byte(pos);
  if (b0 < 0x80) return {b0, 1};
  if (b0 < 0xE0) return {(b0 & 0x1F) << 6 | (byte(pos + 1) & 0x3F), 2};
  if (b0 < 0xF0) {
    return {(b0 & 0x0F) << 12 | (byte(pos + 1) & 0x3F) << 6 | (byte(pos + 2) & 0x3F), 3};
  }
  return {(b0 & 0x07) << 18 | (byte(pos + 1) & 0x3F) << 12 | (byte(pos + 2) & 0x3F) << 6 |
              (byte(pos + 3) & 0x3F),
          4};
}

Decoded DecodeBefore(std::string_view text, size_t pos) {
  size_t start = pos - 1;
  while (start > 0 && (static_cast<uint8_t>(text[start]) & 0xC0) == 0x80) --start;
  return DecodeAt(text, start);
}

void Append(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xC0 | c >> 6));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | c >> 12));
    out.push_back(static_cast<char>(0x80 | (c >> 6 & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else {
    out.push_back(static_cast<char>(0xF0 | c >> 18));
    out.push_back(static_cast<char>(0x80 | (c >> 12 & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c >> 6 & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  }
}

Scanned ScanAt(std::string_view text, size_t pos) {
  const Lead lead = LeadOf(static_cast<uint8_t>(text[pos]));
  if (lead.length == 0) return {Unit::kBroken, 1};
  for (int i = 1; i < lead.length; ++i) {
    if (pos + i >= text.size()) return {Unit::kUnfinished, i};
    const uint8_t byte = static_cast<uint8_t>(text[pos + i]);
    const uint8_t low = i == 1 ? lead.low : 0x80;
    const uint8_t high = i == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) return {Unit::kBroken, i};
  }
  return {Unit::kCharacter, lead.length};
}

bool IsValid(std::string_view text) {
  size_t pos = 0;
  while (pos < text.size()) {
    uint64_t word;
    if (pos + sizeof(word) <= text.size()) {
      std::memcpy(&word, text.data() + pos, sizeof(word));
      if ((word & 0x8080808080808080ull) == 0) {
        pos += sizeof(word);
        continue;
      }
    }
    const Scanned scanned = ScanAt(text, pos);
    if (scanned.unit != Unit::kCharacter) return false;
    pos += scanned.length;
  }
  return true;
}

std::string ReplaceBroken(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const Scanned scanned = ScanAt(text, pos);
    out += scanned.unit == Unit::kCharacter ? text.substr(pos, scanned.length) : kReplacement;
    pos += scanned.length;
  }
  return out;
}

std::string Normalize(std::string_view text, Form form) {
  if (IsAscii(text)) return std::string(text);
  switch (form) {
    case Form::kNfc:
      return Map(text, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    case Form::kNfd:
      return Map(text, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
    case Form::kNfkc:
      return Map(text, UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
    case Form::kNfkd:
      return Map(text, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
  }
  return std::string(text);
}

std::string Lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const Decoded decoded = DecodeAt(text, pos);
    // The one character whose lower case is two (SpecialCasing.txt, unconditional).
    if (decoded.code_point == 0x130) {
      out += "i\xCC\x87";
    } else {
      Append(out, static_cast<uint32_t>(
                      utf8proc_tolower(static_cast<utf8proc_int32_t>(decoded.code_point))));
    }
    pos += decoded.length;
  }
  return out;
}

}  // namespace slipstream::unicode
