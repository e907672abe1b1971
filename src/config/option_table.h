// Settings as one table per program: every option has a key, a section in the configuration file, a
// unit and range in its help, and a place to store it. The command line (tools) and the file
// (ApplyConfigFile) are two readers of the same table, so neither can know an option the other
// does not. Plain values; used on the main thread before anything starts.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"

namespace slipstream {

struct Option {
  using Target = std::variant<bool*, int*, int64_t*, uint64_t*, double*, std::string*,
                              std::vector<std::string>*>;
  std::string section;  // "engine": {"<key>": ...} in the file
  std::string key;      // snake_case in the file, --kebab-case on the command line
  std::string help;     // what it is, with its unit; the default is shown from the target
  Target target;
  double min = std::numeric_limits<double>::lowest();
  double max = std::numeric_limits<double>::max();
  std::vector<std::string> choices;  // of a string; empty: any
};

// "--max-num-seqs" of "max_num_seqs".
std::string FlagOf(const Option& option);

// Reads a JSON object of sections. An unknown section or key, a wrong type and a value out of range
// are errors naming the file and the key.
Status ApplyConfigFile(const std::string& path, std::span<const Option> options);

// Checks ranges and choices of what the targets hold now; the error names the option.
Status CheckOptions(std::span<const Option> options);

}  // namespace slipstream
