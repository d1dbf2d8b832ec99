#!/usr/bin/env bash
# Carry the steps of the Dockerfile out in a bare Debian, without Docker, and try what comes of it: does it get
# healthy, answer, and stop as it should, not as root and on a file system that it cannot write to?
# Needs root, debootstrap, some minutes and about 8 GB in $WORK, which is kept for the next time.
#
#   DEBIAN_MIRROR  where Debian comes from
#   BIND           folders and files that the steps can read as well (a local package index, certificates)
#   TORCH_INDEX    where PyTorch's builds without CUDA come from
#   PIP_*          pip's own settings, passed on
set -euo pipefail
cd "$(dirname "$0")/.."

work=${WORK:-build/image}
bare=$work/bare
suite=$(sed -n 's/^ARG DEBIAN=\(.*\)-slim$/\1/p' Dockerfile)
[ "$(id -u)" = 0 ] || { echo "image-check: a chroot needs root" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "image-check: needs debootstrap" >&2; exit 1; }

mkdir -p "$work"
if [ ! -e "$bare.done" ]; then
    rm -rf "$bare"
    debootstrap --variant=minbase "$suite" "$bare" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
    touch "$bare.done"
fi

options=()
for path in ${BIND:-}; do options+=(--bind "$path"); done
for name in "${!PIP_@}"; do options+=(--env "$name=${!name}"); done
[ -z "${TORCH_INDEX:-}" ] || options+=(--build-arg "TORCH_INDEX=$TORCH_INDEX")
rm -rf "$work/stages/project" "$work/stages/"{project,cpu,cuda}{,.done}  # the code changes, packages hardly ever
exec python3 scripts/image/run_dockerfile.py --bare "$bare" --work "$work" "${options[@]}" "$@"
