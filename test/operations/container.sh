#!/usr/bin/env bash
# The Dockerfile for real, with buildah: built, looked into, run without root on a root file system
# that cannot be written to, asked for its health, and a demo run streamed to its end; then SIGTERM.
# No registry is needed: both bases are made from this machine's own node and what it is linked
# with. Needs root, buildah (Debian's package) and curl.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { echo "container: $*" >&2; exit 1; }
command -v buildah > /dev/null || fail 'no buildah on the PATH (apt-get install buildah)'

work=$(mktemp -d)
pid=
# Its own processes by their ids, its own folder; a mount that is left would empty the store.
finish() {
  # Its child too: a process that has changed its user no longer dies with its parent.
  if [ -n "$pid" ]; then kill -KILL $(pgrep -P "$pid") "$pid" 2> /dev/null || true; fi
  bh umount --all > /dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT
bh() { buildah --storage-driver vfs --root "$work/store" --runroot "$work/run" "$@"; }

# --- Bases: what runs has node where distroless has it, and no shell.
root=$work/base/runtime
mkdir -p "$root/nodejs/bin" "$root/etc" "$root/tmp" "$root/proc"
node=$(node -p process.execPath)
cp "$node" "$root/nodejs/bin/node"
ldd "$node" | grep -o '/[^ )]*' | sort -u | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
echo 'nonroot:x:65532:65532::/tmp:/nonexistent' > "$root/etc/passwd"
printf 'FROM scratch\nCOPY runtime /\n' > "$work/base/Dockerfile"
bh bud -q --isolation chroot -t localhost/runtime-base "$work/base" > /dev/null

# --- What builds: no registry of packages either, so node_modules comes along as `npm ci`'s cache
# would. A stand-in `npm` runs the one script that the Dockerfile asks for.
build=$work/build
mkdir -p "$build/rootfs"/{bin,usr/bin,tmp,proc,build,lib,etc}
cp -a "$root/." "$build/rootfs/"
shell=$(command -v dash)
cp -L "$shell" "$build/rootfs/bin/sh"
ldd "$shell" | grep -o '/[^ )]*' | sort -u | while read -r library; do
  mkdir -p "$build/rootfs$(dirname "$library")"
  cp -L "$library" "$build/rootfs$library"
done
mkdir -p "$build/rootfs/modules/node_modules"
for name in typescript @typescript @types undici-types; do
  cp -a "node_modules/$name" "$build/rootfs/modules/node_modules/"
done
cat > "$build/rootfs/usr/bin/npm" << 'NPM'
#!/bin/sh
case "$1 $2" in
  'ci --ignore-scripts')
    exec /nodejs/bin/node -e 'fs.symlinkSync("/modules/node_modules", "node_modules")' ;;
  'run build') exec /nodejs/bin/node -e '
    const { scripts } = JSON.parse(fs.readFileSync("package.json"));
    const node = "/nodejs/bin/node ";
    const step = scripts.build.replace(/(^|&& )node /g, "$1" + node)
      .replace(/(^|&& )tsc /g, "$1" + node + "node_modules/typescript/bin/tsc ");
    child_process.execSync(step, { stdio: "inherit" });' ;;
  *) echo "npm stand-in: $*" >&2; exit 1 ;;
esac
NPM
chmod +x "$build/rootfs/usr/bin/npm"
printf 'FROM scratch\nCOPY rootfs /\nENV PATH=/nodejs/bin:/usr/bin:/bin\n' > "$build/Dockerfile"
bh bud -q --isolation chroot -t localhost/build-base "$build" > /dev/null

# --- The Dockerfile itself.
bh bud -q --isolation chroot --pull-never --format docker \
  --build-arg NODE_IMAGE=localhost/build-base --build-arg RUNTIME_IMAGE=localhost/runtime-base \
  -t localhost/runcast . > "$work/log" 2>&1 || { cat "$work/log" >&2; fail 'it was not built'; }

# --- What is in it.
config=$(bh inspect --type image localhost/runcast)
node -e '
  const { config } = JSON.parse(process.argv[1]).Docker;
  const { User, Entrypoint, Cmd, Healthcheck, StopSignal } = config;
  const got = JSON.stringify([User, Entrypoint, Cmd, Healthcheck.Test, StopSignal]);
  const want = JSON.stringify(["65532", ["node", "dist/cli.js"], ["serve"],
    ["CMD", "node", "dist/cli.js", "health"], "SIGTERM"]);
  if (got !== want) { console.error(`got ${got}\nnot ${want}`); process.exit(1); }' "$config"
container=$(bh from --pull-never localhost/runcast)
mount=$(bh mount "$container")
added=$(cd "$mount/app" && find . -maxdepth 1 -mindepth 1 | sort | tr '\n' ' ')
[ "$added" = './dist ./package.json ' ] || fail "in /app there is $added"
if [ -e "$mount/bin/sh" ]; then fail 'there is a shell in it'; fi

# --- Run: PID 1 of its own, user 65532, a root that is read-only.
port=$(node -e 's = net.createServer().listen(0, "127.0.0.1", () => {
  console.log(s.address().port); s.close(); })')
cat > "$work/pid1.sh" << 'PID1'
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc"
cd "$1"
exec chroot --userspec=65532:65532 "$1" /nodejs/bin/node -e '
  process.chdir("/app"); process.env.RUNCAST_PORT = process.argv[1];
  process.env.RUNCAST_HOST = "127.0.0.1";
  process.argv = [process.execPath, "/app/dist/cli.js", "serve"];
  import("/app/dist/cli.js")' "$2"
PID1
unshare --mount --pid --fork --kill-child sh "$work/pid1.sh" "$mount" "$port" \
  > "$work/out" 2> "$work/err" &
pid=$!
for _ in $(seq 100); do grep -q ' is at ' "$work/out" && break; sleep 0.1; done
grep -q ' is at ' "$work/out" || { cat "$work/err" >&2; fail 'it does not listen'; }

inside() { chroot --userspec=65532:65532 "$mount" /nodejs/bin/node /app/dist/cli.js "$@"; }
inside health "http://127.0.0.1:$port" || fail 'it is not healthy'
if inside health 'http://127.0.0.1:9' 2> /dev/null; then fail 'nobody is healthy'; fi
stream="http://127.0.0.1:$port/v1/runs/demo-c/stream"
curl -sN -m 60 -H 'x-api-key: lma_demo' "$stream" > "$work/stream"
grep -q '^event: complete$' "$work/stream" || fail 'the run was not streamed to its end'

# --- The end: the signal reaches PID 1 by itself.
node_pid=$(pgrep -P "$pid")
[ "$(awk '/^Uid:/ { print $2 }' "/proc/$node_pid/status")" = 65532 ] || fail 'it runs as root'
kill -TERM "$node_pid"
code=0
wait "$pid" || code=$?
pid=
[ "$code" = 0 ] || fail "SIGTERM ended it with $code"
echo "container: built, run, healthy, streamed, stopped"
