#!/usr/bin/env bash
# The suites on compiled output, which needs no loader: `bash test/compiled.sh`, with a command in
# front of node's as arguments; `ROOMS='core hub'` are folders to go through, without it all. What
# needs the built program, proxies or a compiler (operations, bench) is left to `npm test`; of the
# page there is only what its tests load.
set -eu
rooms=${ROOMS:-client cluster core demo doctor http hub integration page source}
out=.coverage
rm -rf "$out"
npx tsc --noEmit false --outDir "$out/js" --rootDir . --sourceMap
npx tsc -p test/page --noEmit false --outDir "$out/js" --rootDir . --sourceMap
files=("$out"/js/test/*.test.js)
for room in $rooms; do files+=("$out/js/test/$room"/*.test.js); done
"$@" node --test --test-concurrency=4 --test-reporter=dot "${files[@]}"
