#include <fmt/core.h>

#include <cstdio>

#include "tools/commands.h"

namespace slipstream {
namespace {

void AddFlag(CLI::App& command, Option& option) {
  const std::string flag = FlagOf(option);
  std::visit(
      [&](auto* target) {
        using T = std::remove_pointer_t<decltype(target)>;
        CLI::Option* added = nullptr;
        if constexpr (std::is_same_v<T, bool>) {
          const std::string no = flag + ",!--no-" + flag.substr(2);
          added = command.add_flag(no, *target, option.help);
          added->default_str(*target ? "true" : "false");
        } else {
          added = command.add_option(flag, *target, option.help)->capture_default_str();
        }
        if (!option.choices.empty()) added->check(CLI::IsMember(option.choices));
        if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
          added->check([&option](const std::string& text) -> std::string {
            const double v = std::strtod(text.c_str(), nullptr);
            if (v >= option.min && v <= option.max) return {};
            return fmt::format("{} is not between {} and {}", text, option.min, option.max);
          });
        }
        added->group(option.section);
      },
      option.target);
}

}  // namespace

void AddOptions(CLI::App& command, std::vector<Option>* options) {
  command
      .add_option_function<std::string>(
          "--config",
          [options](const std::string& path) {
            if (auto ok = ApplyConfigFile(path, *options); !ok) {
              throw CLI::ValidationError("--config", ok.error().message);
            }
          },
          "JSON file of the options below, by section; flags win over it")
      ->type_name("FILE")
      ->trigger_on_parse();
  for (Option& option : *options) AddFlag(command, option);
}

int Report(const Error& error) {
  std::fprintf(stderr, "error: %s\n", error.message.c_str());
  return 1;
}

}  // namespace slipstream
