#include "backend/cuda/cublaslt_library.h"

#include <dlfcn.h>
#include <glob.h>

#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

namespace slipstream {
namespace {

constexpr const char* kName = "libcublasLt.so.13";

void AddMatches(const std::string& pattern, std::vector<std::string>& paths) {
  glob_t found{};
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    for (size_t i = 0; i < found.gl_pathc; ++i) paths.emplace_back(found.gl_pathv[i]);
  }
  globfree(&found);
}

// NVIDIA's Python packages put the library beside the interpreter's other packages.
void AddPythonPackages(const std::string& prefix, std::vector<std::string>& paths) {
  for (const char* packages : {"site-packages", "dist-packages"}) {
    AddMatches(prefix + "/lib/python3*/" + packages + "/nvidia/cu13/lib/" + kName, paths);
  }
}

std::vector<std::string> Places() {
  std::vector<std::string> paths = {kName};  // the loader's own search
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"}) {
    if (const char* home = std::getenv(variable)) {
      paths.push_back(std::string(home) + "/lib64/" + kName);
    }
  }
  paths.push_back(std::string("/usr/local/cuda/lib64/") + kName);
  if (const char* path = std::getenv("PATH")) {
    std::istringstream folders(path);
    for (std::string folder; std::getline(folders, folder, ':');) {
      if (folder.ends_with("/bin")) {
        AddPythonPackages(folder.substr(0, folder.size() - 4), paths);
      }
    }
  }
  return paths;
}

Result<CublasLtLibrary> Open() {
  void* handle = nullptr;
  std::string looked;
  for (const std::string& path : Places()) {
    handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle) break;
    looked += (looked.empty() ? "" : ", ") + path;
  }
  if (!handle) {
    return Fail(ErrorCode::kUnavailable,
                std::string(kName) + " (cuBLAS 13) was not found; looked for " + looked +
                    "; install CUDA 13 or put its folder into LD_LIBRARY_PATH");
  }
  CublasLtLibrary library;
#define SLIP_FIND(name)                                                         \
  library.name = reinterpret_cast<decltype(&::name)>(dlsym(handle, #name));     \
  if (!library.name) {                                                          \
    return Fail(ErrorCode::kUnavailable, std::string(kName) + " lacks " #name); \
  }
  SLIP_CUBLASLT_FUNCTIONS(SLIP_FIND)
#undef SLIP_FIND
  return library;
}

}  // namespace

Result<const CublasLtLibrary*> LoadCublasLt() {
  static const Result<CublasLtLibrary> library = Open();
  if (!library) return tl::unexpected(library.error());
  return &*library;
}

}  // namespace slipstream
