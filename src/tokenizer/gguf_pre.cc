#include "tokenizer/gguf_pre.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "tokenizer/scanners.h"

namespace slipstream {
namespace {

// The steps a name stands for.
enum class Cut {
  kGpt2,
  kDigitsGpt2,  // every digit alone, then GPT-2
  kLlama3,
  kQwen2,
  kQwen35,
  kDigits3Llama3,  // MiniCPM 5
  kGpt4o,
  kTekken,
  kDeepseekLlm,
  kDeepseekCoder,
  kDeepseekV3,
  kFalcon,
  kBloom,
  kViking,
  kSeedCoder,
  kBailing,
  kDefault,
};

struct Row {
  std::string_view name;
  Cut cut;
  bool nfc = false;
  bool ignore_merges = false;
  bool add_bos = false;
};

constexpr std::array kRows = {
    Row{"gpt-2", Cut::kGpt2},
    Row{"phi-2", Cut::kGpt2},
    Row{"mpt", Cut::kGpt2, true},
    Row{"olmo", Cut::kGpt2, true},
    Row{"jais", Cut::kGpt2},
    Row{"trillion", Cut::kGpt2},
    Row{"gigachat", Cut::kGpt2},
    Row{"exaone4", Cut::kGpt2},
    Row{"mellum", Cut::kGpt2},
    Row{"a.x-4.0", Cut::kGpt2},
    Row{"granite-docling", Cut::kGpt2},
    Row{"smollm", Cut::kDigitsGpt2},
    Row{"starcoder", Cut::kDigitsGpt2},
    Row{"refact", Cut::kDigitsGpt2},
    Row{"command-r", Cut::kDigitsGpt2, true},
    Row{"codeshell", Cut::kDigitsGpt2},
    Row{"exaone", Cut::kDigitsGpt2},
    Row{"minerva-7b", Cut::kDigitsGpt2},
    Row{"mellum2", Cut::kDigitsGpt2},
    Row{"llama3", Cut::kLlama3, false, true, true},
    Row{"llama-v3", Cut::kLlama3, false, true, true},
    Row{"llama-bpe", Cut::kLlama3, false, true, true},
    Row{"falcon3", Cut::kLlama3, false, true, true},
    Row{"falcon-h1", Cut::kLlama3, false, true, true},
    Row{"pixtral", Cut::kLlama3, false, true, true},
    Row{"midm-2.0", Cut::kLlama3, false, true, true},
    Row{"lfm2", Cut::kLlama3, false, true, true},
    Row{"dbrx", Cut::kLlama3},
    Row{"smaug-bpe", Cut::kLlama3},
    Row{"chatglm-bpe", Cut::kLlama3},
    Row{"glm4", Cut::kLlama3, false, true},
    Row{"glm5", Cut::kLlama3, false, true},
    Row{"minicpm5", Cut::kDigits3Llama3, false, true},
    Row{"qwen2", Cut::kQwen2, true},
    Row{"deepseek-r1-qwen", Cut::kQwen2},
    Row{"megrez", Cut::kQwen2},
    Row{"stablelm2", Cut::kQwen2, true},
    Row{"hunyuan", Cut::kQwen2},
    Row{"solar-open", Cut::kQwen2},
    Row{"grok-2", Cut::kQwen2},
    Row{"qwen35", Cut::kQwen35},
    Row{"gpt-4o", Cut::kGpt4o},
    Row{"llama4", Cut::kGpt4o},
    Row{"kanana2", Cut::kGpt4o},
    Row{"minimax-m2", Cut::kGpt4o},
    Row{"tekken", Cut::kTekken, false, true, true},
    Row{"deepseek-llm", Cut::kDeepseekLlm},
    Row{"deepseek-coder", Cut::kDeepseekCoder},
    Row{"deepseek-v3", Cut::kDeepseekV3},
    Row{"hunyuan-dense", Cut::kDeepseekV3},
    Row{"joyai-llm", Cut::kDeepseekV3},
    Row{"falcon", Cut::kFalcon},
    Row{"bloom", Cut::kBloom},
    Row{"gpt3-finnish", Cut::kBloom},
    Row{"poro-chat", Cut::kBloom},
    Row{"viking", Cut::kViking},
    Row{"seed-coder", Cut::kSeedCoder},
    Row{"bailingmoe", Cut::kBailing},
    Row{"bailingmoe2", Cut::kBailing},
    Row{"default", Cut::kDefault},
    Row{"", Cut::kDefault},
};

constexpr const char* kContractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
constexpr const char* kTail = "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
// The letters, marks and signs that the tokenizer.json of deepseek-llm lists one by one.
constexpr const char* kDeepseekLetters =
    "\\s?[A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}"
    "\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}"
    "\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}"
    "\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}"
    "\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}"
    "\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}"
    "\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}"
    "\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}"
    "\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}"
    "\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}"
    "\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}"
    "\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}"
    "\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}"
    "\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}"
    "\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}"
    "\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}"
    "\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}]+";
constexpr const char* kDeepseekSigns =
    "\\s?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+";
constexpr const char* kDeepseekCjk = "[\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+";

std::string CasedWords(std::string_view contractions) {
  const std::string upper = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
  const std::string lower = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
  const std::string lead = "[^\\r\\n\\p{L}\\p{N}]?";
  return lead + upper + "*" + lower + "+" + std::string(contractions) + "|" + lead + upper + "+" +
         lower + "*" + std::string(contractions);
}

// Patterns of a cut, each isolated from what the one before left.
std::vector<std::string> PatternsOf(Cut cut) {
  const std::string contractions = kContractions, tail = kTail;
  const std::string others = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*";
  const std::string words = contractions + "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|";
  switch (cut) {
    case Cut::kLlama3:
      return {words + "\\p{N}{1,3}" + others + tail};
    case Cut::kQwen2:
      return {words + "\\p{N}" + others + tail};
    case Cut::kQwen35:
      return {contractions +
              "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" +
              tail};
    case Cut::kDigits3Llama3:
      return {"\\p{N}{1,3}", words + "\\p{N}+" + others + tail};
    case Cut::kGpt4o:
      return {CasedWords(contractions + "?") + "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" +
              tail};
    case Cut::kTekken:
      return {CasedWords("") + "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" + tail};
    case Cut::kDeepseekLlm:
      return {"[\\r\\n]", kDeepseekLetters, kDeepseekSigns, "\\s+$", kDeepseekCjk};
    case Cut::kDeepseekCoder:
      return {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", kDeepseekCjk};
    case Cut::kDeepseekV3:
      return {"\\p{N}{1,3}", "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+",
              "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
              "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*" +
                  tail};
    case Cut::kBloom:
    case Cut::kViking:
      return {" ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{FF0C}\\x{3001}\\x{964}\\x{6D4}\\x{60C})]+"};
    case Cut::kSeedCoder:
      return {words + "\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+" + tail};
    case Cut::kBailing:
      return {
          "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| "
          "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"};
    case Cut::kDefault:
      return {"[\\p{P}\\$\\+<=>\\^~\\|]+", std::string(kGpt2Pattern), "\\p{N}+", "[0-9]{3}"};
    case Cut::kGpt2:
    case Cut::kDigitsGpt2:
    case Cut::kFalcon:
      return {};
  }
  return {};
}

}  // namespace

Result<GgufPre> MakeGgufPre(std::string_view name) {
  const auto* row =
      std::find_if(kRows.begin(), kRows.end(), [&](const Row& r) { return r.name == name; });
  if (row == kRows.end()) {
    return Fail(ErrorCode::kUnimplemented,
                "tokenizer.ggml.pre: the pre-tokenizer \"" + std::string(name) + "\" is not known");
  }
  GgufPre pre;
  pre.ignore_merges = row->ignore_merges;
  pre.add_bos = row->add_bos;
  if (row->nfc) pre.normalizers.push_back(MakeUnicodeForm(unicode::Form::kNfc));
  const bool digits_first = row->cut == Cut::kDigitsGpt2;
  if (digits_first) {
    pre.pre_tokenizers.push_back(
        MakeCharacterSplit(CharacterKind::kDigit, SplitBehavior::kIsolated));
  }
  for (const std::string& pattern : PatternsOf(row->cut)) {
    SLIP_ASSIGN_OR_RETURN(auto step, MakePatternSplit(pattern, SplitBehavior::kIsolated, false));
    pre.pre_tokenizers.push_back(std::move(step));
  }
  if (row->cut == Cut::kDeepseekLlm || row->cut == Cut::kDeepseekCoder ||
      row->cut == Cut::kViking) {
    pre.pre_tokenizers.push_back(
        MakeCharacterSplit(CharacterKind::kDigit, SplitBehavior::kIsolated));
  }
  if (row->cut == Cut::kFalcon) {
    pre.pre_tokenizers.push_back(
        MakeCharacterSplit(CharacterKind::kPunctuation, SplitBehavior::kContiguous));
    pre.pre_tokenizers.push_back(MakeByteLevel(false, true, false));
    pre.pre_tokenizers.push_back(
        MakeCharacterSplit(CharacterKind::kDigit, SplitBehavior::kContiguous));
    SLIP_ASSIGN_OR_RETURN(auto step,
                          MakePatternSplit("[0-9][0-9][0-9]", SplitBehavior::kIsolated, false));
    pre.pre_tokenizers.push_back(std::move(step));
    return pre;
  }
  pre.pre_tokenizers.push_back(MakeByteLevel(false, digits_first || row->cut == Cut::kGpt2, true));
  return pre;
}

}  // namespace slipstream
