#!/usr/bin/env bash
# Line coverage of src, measured on compiled output: over tsx, c8 has misreported lines. What needs
# the built program, proxies or a compiler (operations, bench) has had its turn in `npm test`.
set -eu
out=.coverage
rm -rf "$out"
npx tsc --noEmit false --outDir "$out/js" --rootDir . --sourceMap
npx c8 --all --include "$out/js/src/**" --exclude-after-remap=false \
  --temp-directory "$out/raw" --reports-dir "$out/report" \
  --reporter text --reporter lcovonly --check-coverage --lines 95 \
  node --test --test-concurrency=2 --test-reporter=spec \
  "$out"/js/test/*.test.js \
  "$out"/js/test/{client,cluster,core,demo,doctor,http,hub,integration,source}/*.test.js
