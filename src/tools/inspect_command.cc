#include <memory>

#include "tools/commands.h"
#include "tools/inspect.h"

namespace slipstream {

void AddInspect(CLI::App& app, Action* action) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand(
      "inspect", "Show a checkpoint: architecture, tensors, quantization, tokenizer, template");
  command->add_option("MODEL", options->model, "A .gguf file or a Hugging Face folder")->required();
  command
      ->add_option("--load-format", options->load_format,
                   "How to read MODEL; dummy needs a config.json alone")
      ->check(CLI::IsMember({"auto", "safetensors", "gguf", "dummy"}))
      ->capture_default_str();
  command->add_flag("--full", options->full, "Every tensor and the whole chat template");
  command->callback([options, action] { *action = [options] { return RunInspect(*options); }; });
}

}  // namespace slipstream
