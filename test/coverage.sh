#!/usr/bin/env bash
# Line coverage of src, measured on compiled output: over tsx, c8 has misreported lines.
set -eu
out=.coverage
bash test/compiled.sh npx c8 --all --include "$out/js/src/**" --exclude-after-remap=false \
  --temp-directory "$out/raw" --reports-dir "$out/report" \
  --reporter text --reporter lcovonly --check-coverage --lines 95
