#!/bin/sh
# Line coverage of src, measured on compiled output: over tsx, c8 has misreported lines.
set -eu
out=.coverage
rm -rf "$out"
npx tsc --noEmit false --outDir "$out/js" --rootDir . --sourceMap
npx c8 --all --include "$out/js/src/**" --exclude-after-remap=false \
  --temp-directory "$out/raw" --reports-dir "$out/report" \
  --reporter text --reporter lcovonly --check-coverage --lines 95 \
  node --test --test-concurrency=2 --test-reporter=spec \
  "$out"/js/test/*.test.js "$out"/js/test/*/*.test.js
