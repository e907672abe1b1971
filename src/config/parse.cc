#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "base/whole_file.h"
#include "config/option_table.h"

namespace slipstream {
namespace {

using Json = nlohmann::json;

template <typename T>
struct IsVector : std::false_type {};
template <typename T>
struct IsVector<std::vector<T>> : std::true_type {};

template <typename T>
bool AssignNumber(const Json& value, T* target) {
  if constexpr (std::is_same_v<T, double>) {
    if (!value.is_number()) return false;
    *target = value.get<double>();
    return true;
  } else {
    if (!value.is_number_integer()) return false;
    if (value.is_number_unsigned()) {
      const auto v = value.get<uint64_t>();
      if (v > static_cast<uint64_t>(std::numeric_limits<T>::max())) return false;
      *target = static_cast<T>(v);
      return true;
    }
    const auto v = value.get<int64_t>();
    if (std::is_unsigned_v<T> || v < static_cast<int64_t>(std::numeric_limits<T>::min())) {
      return false;
    }
    *target = static_cast<T>(v);
    return true;
  }
}

// Name of the expected type when `value` does not fit, else null.
const char* Assign(const Json& value, const Option::Target& target) {
  return std::visit(
      [&](auto* t) -> const char* {
        using T = std::remove_pointer_t<decltype(t)>;
        if constexpr (std::is_same_v<T, bool>) {
          if (!value.is_boolean()) return "true or false";
          *t = value.get<bool>();
        } else if constexpr (std::is_same_v<T, std::string>) {
          if (!value.is_string()) return "a string";
          *t = value.get<std::string>();
        } else if constexpr (IsVector<T>::value) {
          if (!value.is_array()) return "a list of strings";
          T list;
          for (const Json& v : value) {
            if (!v.is_string()) return "a list of strings";
            list.push_back(v.get<std::string>());
          }
          *t = std::move(list);
        } else if (!AssignNumber(value, t)) {
          return std::is_same_v<T, double> ? "a number" : "a whole number in range";
        }
        return nullptr;
      },
      target);
}

Status ApplySection(const std::string& path, const std::string& section, const Json& entries,
                    std::span<const Option> options) {
  if (!entries.is_object()) {
    return InvalidArgument(fmt::format("{}: \"{}\" must be an object", path, section), section);
  }
  for (const auto& [key, value] : entries.items()) {
    const auto it = std::find_if(options.begin(), options.end(), [&](const Option& o) {
      return o.section == section && o.key == key;
    });
    if (it == options.end()) {
      return InvalidArgument(fmt::format("{}: unknown key \"{}.{}\"", path, section, key), key);
    }
    if (const char* want = Assign(value, it->target)) {
      return InvalidArgument(fmt::format("{}: \"{}.{}\" must be {}, it is {}", path, section, key,
                                         want, value.dump().substr(0, 200)),
                             key);
    }
  }
  return {};
}

}  // namespace

std::string FlagOf(const Option& option) {
  std::string flag = "--" + option.key;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

Status ApplyConfigFile(const std::string& path, std::span<const Option> options) {
  constexpr size_t kMaxBytes = size_t{16} << 20;
  const auto text = ReadWholeFile(path, kMaxBytes, /*pipes=*/true);
  if (!text) return Fail(text.error().code, text.error().message, "config");
  Json root;
  try {
    // The library prints what is wrong by recursion, so it must not build what is too deep.
    const auto shallow = [](int depth, Json::parse_event_t, Json&) {
      constexpr int kMostLevels = 16;
      if (depth > kMostLevels) throw std::runtime_error("nested too deeply");
      return true;
    };
    root = Json::parse(*text, shallow, true, /*ignore_comments=*/true);
  } catch (const std::exception& e) {
    return InvalidArgument(fmt::format("{}: not valid JSON: {}", path, e.what()), "config");
  }
  if (!root.is_object()) {
    return InvalidArgument(fmt::format("{}: must hold one JSON object", path), "config");
  }
  for (const auto& [section, entries] : root.items()) {
    const bool known = std::any_of(options.begin(), options.end(),
                                   [&](const Option& o) { return o.section == section; });
    if (!known) {
      return InvalidArgument(fmt::format("{}: unknown section \"{}\"", path, section), section);
    }
    SLIP_RETURN_IF_ERROR(ApplySection(path, section, entries, options));
  }
  return CheckOptions(options);
}

Status CheckOptions(std::span<const Option> options) {
  for (const Option& o : options) {
    const std::string wrong = std::visit(
        [&](auto* t) -> std::string {
          using T = std::remove_pointer_t<decltype(t)>;
          if constexpr (std::is_same_v<T, std::string>) {
            if (o.choices.empty()) return {};
            if (std::find(o.choices.begin(), o.choices.end(), *t) != o.choices.end()) return {};
            std::string all;
            for (const std::string& c : o.choices) all += (all.empty() ? "" : ", ") + c;
            return fmt::format("\"{}\" is not one of {}", *t, all);
          } else if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
            const auto v = static_cast<double>(*t);
            if (v >= o.min && v <= o.max) return {};
            return fmt::format("{} is not between {} and {}", *t, o.min, o.max);
          } else {
            return {};
          }
        },
        o.target);
    if (!wrong.empty()) return InvalidArgument(fmt::format("{}: {}", FlagOf(o), wrong), o.key);
  }
  return {};
}

}  // namespace slipstream
