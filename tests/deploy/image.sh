#!/usr/bin/env bash
# Builds the cpu image with no registry and no daemon, and runs it as it is meant to run: as user 10001,
# with a root that cannot be written. Needs root on a Debian; `make deploy-check` calls it.
#   BASE=IMAGE            another base than a Debian with Python, made on the spot
#   BUILD_OPTIONS="..."   more options for buildah: volumes for pip's settings, build arguments
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! { command -v buildah && command -v mmdebstrap; } >/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends buildah mmdebstrap
fi

work=$(mktemp -d)
container="" server=""
finish() {
    [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true
    umount --recursive --lazy "$work/image" 2>/dev/null || true
    [ -z "$container" ] || buildah rm "$container" >/dev/null
    rm -rf "$work"
}
trap finish EXIT

if [ -z "${BASE:-}" ]; then
    BASE=localhost/longmemory-base
    mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates \
        bookworm "$work/base.tar"
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$work/base.tar" / >/dev/null
    buildah commit --quiet --rm "$container" "$BASE" >/dev/null
    container=""
fi
# BUILD_OPTIONS are several: no quotes.
# shellcheck disable=SC2086
buildah bud --isolation chroot --layers --file deploy/Containerfile --build-arg BASE="$BASE" \
    --build-arg VARIANT=cpu ${BUILD_OPTIONS:-} --tag longmemory:cpu .

container=$(buildah from longmemory:cpu)
mkdir "$work/image" "$work/data"
chown 10001:10001 "$work/data"
mount --rbind "$(buildah mount "$container")" "$work/image"
mount -o remount,bind,ro "$work/image"
mount -t proc proc "$work/image/proc"
mount -t tmpfs tmpfs "$work/image/tmp"
mount -t tmpfs -o mode=755 tmpfs "$work/image/dev"
mkdir -m 1777 "$work/image/dev/shm"
mknod -m 666 "$work/image/dev/null" c 1 3
mknod -m 666 "$work/image/dev/urandom" c 1 9
mount --bind "$work/data" "$work/image/data"
# The image's own environment and user, as a runtime would give them.
mapfile -t given < <(buildah inspect --format '{{range .OCIv1.Config.Env}}{{println .}}{{end}}' \
    "$container" | grep '=')
user=$(buildah inspect --format '{{.OCIv1.Config.User}}' "$container")
inside=(env -i "${given[@]}" "$(command -v chroot)" --userspec="$user" "$work/image")
address=127.0.0.1:17420

"${inside[@]}" id
if "${inside[@]}" touch /opt/longmemory/mark 2>/dev/null; then
    echo "the root can be written" && exit 1
fi
"${inside[@]}" longmemory setup 2>/dev/null
"${inside[@]}" longmemory serve --listen "$address" 2>"$work/log" &
server=$!
for _ in $(seq 120); do
    "${inside[@]}" python3 /opt/longmemory/health.py longmemory.v1.QueryService --server "$address" \
        2>/dev/null && break
    kill -0 "$server" || { cat "$work/log" && exit 1; }
    sleep 1
done
"${inside[@]}" python3 /opt/longmemory/health.py --server "$address"
echo "The captain of the ferry Grey Petrel is Isolde Brackwater." >"$work/data/ferry.md"
"${inside[@]}" longmemory corpus add ferry /data/ferry.md --server "$address"
"${inside[@]}" longmemory ask ferry "Who is the captain of the Grey Petrel?" --server "$address" \
    | tee "$work/answer"
grep -q Brackwater "$work/answer"
kill -TERM "$server"
wait "$server"
server=""
echo "the image serves as $user with a read-only root, answers, and stops with code 0"
