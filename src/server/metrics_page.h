// Writes families of the Prometheus text format, each under one prefix and with one set of labels.
// Used by metrics_text.cc and metrics_vllm.cc only; a plain value, any thread.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>

#include "base/metrics.h"
#include "server/metrics_text.h"

namespace slipstream {

class MetricsPage {
 public:
  MetricsPage(std::string prefix, std::string labels)
      : prefix_(std::move(prefix)), labels_(std::move(labels)) {}

  // name="value", escaped.
  static std::string Label(std::string_view name, std::string_view value) {
    std::string out = fmt::format("{}=\"", name);
    for (const char c : value) {
      if (c == '\\' || c == '"') out += '\\';
      if (c == '\n') {
        out += "\\n";
      } else {
        out += c;
      }
    }
    return out + '"';
  }

  void Head(std::string_view name, std::string_view type, std::string_view help) {
    text_ += fmt::format("# HELP {0}{1} {2}\n# TYPE {0}{1} {3}\n", prefix_, name, help, type);
  }
  template <typename T>
  void Sample(std::string_view name, T value, std::string_view more = {}) {
    text_ += fmt::format("{}{}{{{}{}{}}} {}\n", prefix_, name, labels_, more.empty() ? "" : ",",
                         more, value);
  }
  template <typename T>
  void Gauge(std::string_view name, std::string_view help, T value) {
    Head(name, "gauge", help);
    Sample(name, value);
  }
  void Count(std::string_view name, std::string_view help, const Counter& counter) {
    Head(name, "counter", help);
    Sample(name, counter.value());
  }
  // Bounds are written as Python's client writes them ("1.0", not "1"): servers of a mixed fleet
  // must agree in the label for histogram_quantile to add them up.
  void Add(std::string_view name, std::string_view help, const Histogram& histogram) {
    Head(name, "histogram", help);
    const Histogram::Snapshot snapshot = histogram.Read();
    const std::string bucket = fmt::format("{}_bucket", name);
    for (size_t i = 0; i < histogram.bounds().size(); ++i) {
      std::string bound = fmt::format("{}", histogram.bounds()[i]);
      if (bound.find_first_of(".e") == std::string::npos) bound += ".0";
      Sample(bucket, snapshot.cumulative[i], fmt::format("le=\"{}\"", bound));
    }
    Sample(bucket, snapshot.cumulative.back(), "le=\"+Inf\"");
    Sample(fmt::format("{}_sum", name), snapshot.sum);
    Sample(fmt::format("{}_count", name), snapshot.cumulative.back());
  }

  void Append(std::string_view text) { text_ += text; }
  std::string Take() { return std::move(text_); }

 private:
  const std::string prefix_, labels_;
  std::string text_;
};

// Appends the same figures under vLLM's names.
void AddVllmNames(const MetricsSources& sources, MetricsPage* page);

}  // namespace slipstream
