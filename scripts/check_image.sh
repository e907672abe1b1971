#!/usr/bin/env bash
# Makes the images of docker/ without a container engine, and serves from them in a chroot as their
# user. `cpu` and `cuda` run every RUN and COPY of the Dockerfile, each stage in a bare Debian 12 root
# (or an empty one, FROM scratch); with a binary of the CPU preset only the last stage of the CPU image
# is made, in a second. The CUDA image is served from on the CPU, and its cuBLASLt is loaded.
# Usage: scripts/check_image.sh BINARY | cpu | cuda
set -euo pipefail
source "$(dirname "$0")/lib/common.sh"
what=${1:?usage: check_image.sh BINARY | cpu | cuda}
[ "$(id -u)" -eq 0 ] || die "this needs root rights (chroot)"
image=$root/build/image_root
stage=$root/build/image_build
context=$root/build/image_context
port=18931
mkdir -p "$root/build"
# A server that was killed must not hold up what follows, nor a mount be deleted through.
unmount() { ! mountpoint -q "$1/proc" || umount "$1/proc"; }
for folder in "$image" "$stage"; do unmount "$folder"; done
rm -rf "$image" "$stage" "$context"

# bare_root FOLDER : what debian:12-slim holds, short of its slimming
bare_root() {
  local mirror file
  command -v debootstrap > /dev/null || die "debootstrap is missing" "apt-get install debootstrap"
  mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2> /dev/null | head -n 1 || true)
  debootstrap --variant=minbase bookworm "$1" ${mirror:+"$mirror"} > "$root/build/debootstrap.log" ||
    die "debootstrap failed" "Its log: $root/build/debootstrap.log"
  rm -rf "$1"/var/cache/apt/*.bin "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*
  cp /etc/resolv.conf "$1/etc/"
  for file in /etc/apt/apt.conf.d/*proxy* /etc/pip.conf; do
    [ ! -e "$file" ] || install -D "$file" "$1$file"
  done
}

# run_stage DOCKERFILE NUMBER FOLDER : one stage, line by line; lines that end in \ are joined
run_stage() {
  local key rest source target
  if [ "$(awk '/^FROM/ {print $2}' "$1" | sed -n "$2p")" = scratch ]; then mkdir -p "$3"; else bare_root "$3"; fi
  mkdir -p "$3/proc" "$3/src"
  mount -t proc proc "$3/proc"
  trap "umount '$3/proc'" EXIT
  sed -e ':join' -e '/\\$/{N;s/\\\n */ /;b join' -e '}' "$1" |
    awk -v stage="$2" '/^FROM/ {at += 1} at == stage && /^(RUN|COPY) /' |
    while read -r key rest; do
      step "$key $rest"
      if [ "$key" = RUN ]; then
        chroot "$3" sh -c "cd /src && $rest" < /dev/null
        continue
      fi
      read -r source target <<< "${rest#--from=build }"
      case $target in /*) ;; *) target=/src/$target ;; esac
      if [ "$source" = "${rest%% *}" ]; then source=$context/$source; else source=$stage$source; fi
      case $target in */) mkdir -p "$3$target" ;; *) mkdir -p "$3$(dirname "$target")" ;; esac
      if [ -d "$source" ]; then mkdir -p "$3$target" && cp -a "$source/." "$3$target"; else cp -a "$source" "$3$target"; fi
    done
  umount "$3/proc"
  trap - EXIT
  rmdir --ignore-fail-on-non-empty "$3/src" "$3/proc"
}

case $what in
  cpu | cuda)
    mkdir "$context"
    git -C "$root" archive HEAD | tar x -C "$context"
    run_stage "$root/docker/Dockerfile.$what" 1 "$stage"
    run_stage "$root/docker/Dockerfile.$what" 2 "$image"
    ;;
  *) "$root/docker/make_root.sh" "$what" "$image" ;;
esac
echo "the image's files: $(find "$image" -type f | wc -l), $(du -sb "$image" | cut -f1) bytes, $(du -sm "$image" | cut -f1) MB on disk"
find "$image" -type f -printf '%10s  /%P\n' | sort -rn | sed -n '1,10p'

if [ "$what" = cuda ]; then
  step "libraries of the image"
  for file in /usr/local/bin/slipstream /usr/local/cuda/lib64/libcublasLt.so.13; do
    chroot --userspec=10001:10001 "$image" ldd "$file" | tee "$root/build/image_ldd.log"
    ! grep -q 'not found' "$root/build/image_ldd.log" || die "$file lacks a library"
  done
else
  [ ! -e "$image/bin/sh" ] || die "there is a shell in the image"
fi

step "as uid 10001, with nothing else in sight"
mkdir -p "$image/models" "$image/proc"
cp "$model_file" "$image/models/model.gguf"
mount -t proc proc "$image/proc"
trap 'umount "$image/proc"' EXIT
log=$root/build/image_server.log
chroot --userspec=10001:10001 "$image" /usr/local/bin/slipstream serve /models/model.gguf --device cpu \
  --host 127.0.0.1 --port "$port" --model-name image > "$log" 2>&1 &
server=$!
trap 'kill "$server" 2> /dev/null || true; rm -f "$image/models/model.gguf"; umount "$image/proc"' EXIT
for _ in $(seq 300); do
  kill -0 "$server" 2> /dev/null || { cat "$log" >&2; die "the server stopped"; }
  curl -sf "http://127.0.0.1:$port/ready" > /dev/null 2>&1 && break
  sleep 0.1
done
owner=$(awk '/^Uid:/ {print $2}' "/proc/$server/status")
[ "$owner" = 10001 ] || die "the server runs as uid $owner"
curl -sf "http://127.0.0.1:$port/v1/completions" -H 'content-type: application/json' \
  -d '{"prompt": "The sky is", "max_tokens": 8}' | grep -q '"completion_tokens":8' ||
  die "no answer from the server" "Its log: $log"
kill -TERM "$server"
wait "$server" || die "the server did not end well" "Its log: $log"
echo "served, and drained on SIGTERM, as uid $owner"
