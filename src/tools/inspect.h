// Prints what a checkpoint holds: architecture, hyperparameters, tensors, quantization, tokenizer,
// chat template and whatever looks wrong. One thread. Fails where the model could not be opened;
// what would only fail later (a missing tensor, a broken template) is a warning in the text.
#pragma once

#include <string>

#include "base/result.h"
#include "loader/checkpoint.h"

namespace slipstream {

struct InspectOptions {
  std::string model;                 // as for serve: a .gguf file or a Hugging Face folder
  std::string load_format = "auto";  // auto, safetensors, gguf, dummy
  bool full = false;                 // every tensor and the whole chat template
};

// The report as text, or why the model cannot be opened.
Result<std::string> InspectReport(const InspectOptions& options);

// Prints it; returns the exit code.
int RunInspect(const InspectOptions& options);

}  // namespace slipstream
