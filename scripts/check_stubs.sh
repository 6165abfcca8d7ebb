#!/usr/bin/env bash
# Fails when the committed stubs are not what protos/ generates.
set -euo pipefail
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
scripts/proto.sh "$fresh" > /dev/null
stale=0
while read -r file; do
  if ! cmp -s "$fresh/$file" "libs/dragoman/src/$file"; then echo "stale stub: libs/dragoman/src/$file (run: make proto)"; stale=1; fi
done < <(cd "$fresh" && find dragoman -name '*_pb2*' | sort)
exit $stale
