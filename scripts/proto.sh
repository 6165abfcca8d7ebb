#!/usr/bin/env bash
# Generates the Python stubs of protos/ into libs/dragoman (or into the folder given as $1).
set -euo pipefail
cd "$(dirname "$0")/.."
out="${1:-libs/dragoman/src}"
python="${PYTHON:-.venv/bin/python}"
mkdir -p "$out"
"$python" -m grpc_tools.protoc -I protos --python_out="$out" --pyi_out="$out" --grpc_python_out="$out" \
  $(cd protos && find dragoman -name '*.proto' | sort)
find "$out/dragoman" -mindepth 1 -type d -not -name __pycache__ | while read -r folder; do
  if compgen -G "$folder/*_pb2.py" > /dev/null || compgen -G "$folder/v1/*_pb2.py" > /dev/null; then touch "$folder/__init__.py"; fi
done
