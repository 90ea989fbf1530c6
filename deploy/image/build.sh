#!/bin/sh
# Builds the image without a daemon: `make image`. As root; on Debian: apt-get install buildah debootstrap podman runc
#
# BASE       base image by its digest; without one, Debian bookworm is made by debootstrap (MIRROR says where from)
# TARGET     cpu or gpu
# TAG        the image's name
# PIP_CONF   a pip.conf for the build alone: an index of yours, a certificate
# MOUNTS     further folders that the build may read, like "/etc/ssl/certs /opt/wheels"
# TORCH_INDEX, COMMIT: see the Dockerfile
set -eu
TARGET=${TARGET:-cpu} TAG=${TAG:-localhost/attune} OUT=${OUT:-out/image}
MIRROR=${MIRROR:-http://deb.debian.org/debian}
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}
here=$(dirname "$0")
mkdir -p "$OUT"

if [ -z "${BASE:-}" ]; then
    BASE=localhost/attune-base:bookworm
    if ! buildah images --quiet "$BASE" >/dev/null 2>&1; then
        root=$(mktemp -d)
        trap 'rm -rf "$root"' EXIT
        debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$root" "$MIRROR"
        rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
        made=$(buildah from scratch)
        buildah add --quiet "$made" "$root" /
        buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$made"
        buildah commit --quiet --rm "$made" "$BASE"
    fi
fi

set -- --build-arg "BASE=$BASE" --build-arg "TORCH_INDEX=${TORCH_INDEX:-}" --build-arg "ATTUNE_COMMIT=${COMMIT:-unknown}"
for folder in ${MOUNTS:-}; do set -- "$@" --volume "$folder:$folder:ro"; done
if [ -n "${PIP_CONF:-}" ]; then set -- "$@" --volume "$PIP_CONF:/etc/pip.conf:ro"; fi
# Docker's format: the other one has no HEALTHCHECK.
buildah bud --format docker --layers "$@" --target "$TARGET" --tag "$TAG" .

made=$(buildah from "$TAG")
buildah run --user root "$made" -- /app/.venv/bin/python - < "$here/sbom.py" > "$OUT/sbom.json"
buildah rm "$made" >/dev/null
buildah inspect --type image "$TAG" > "$OUT/inspect.json"
python3 "$here/report.py" "$TAG" "$OUT"
