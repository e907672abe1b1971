#!/usr/bin/env bash
# Makes the file system of the CPU image: the stripped binary, the glibc it needs, two users' names, an
# empty /tmp. Used by Dockerfile.cpu and by scripts/check_image.sh, so that what is checked is what is
# shipped.
# Usage: make_root.sh BINARY ROOT
set -euo pipefail
binary=${1:?usage: make_root.sh BINARY ROOT}
root=${2:?usage: make_root.sh BINARY ROOT}
mkdir -p "$root"/{usr/local/bin,etc,tmp,models,lib64,lib/x86_64-linux-gnu}
chmod 1777 "$root/tmp"
strip -o "$root/usr/local/bin/slipstream" "$binary"

# The loader names what the binary asks for; names of hosts are resolved by libraries opened later.
ldd "$binary" | awk '/=> \//{print $3}' | while read -r library; do
  cp -L "$library" "$root/lib/x86_64-linux-gnu/"
done
cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
for library in libnss_dns.so.2 libnss_files.so.2 libresolv.so.2; do
  cp -L "/lib/x86_64-linux-gnu/$library" "$root/lib/x86_64-linux-gnu/"
done

cat > "$root/etc/passwd" <<'EOF'
root:x:0:0:root:/:/nonexistent
slipstream:x:10001:10001:slipstream:/tmp:/nonexistent
EOF
cat > "$root/etc/group" <<'EOF'
root:x:0:
slipstream:x:10001:
EOF
echo "hosts: files dns" > "$root/etc/nsswitch.conf"
