"""Fails when a file imports across a wall of the house: see docs/adr/0001-the-house.md."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVICES = {"activation", "sae_trainer", "explainer", "scorer"}
TORCH = {"torch", "transformers", "dense_products", "sparse_coders", "hooked_models"}
OUTSIDE = {"grpc", "nats", "minio", "httpx", "os", "time", "logging", "socket", "subprocess", "asyncio", "random"}
PROTOBUF = (
    "google.protobuf",
    "dragoman.activation",
    "dragoman.training",
    "dragoman.explanation",
    "dragoman.scoring",
    "dragoman.job.",
    "dragoman.artifact.",
)


def imports(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Yields line, module and whether the import runs when the file is imported."""
    tree = ast.parse(path.read_text())
    top = {id(node) for node in ast.walk(tree) if isinstance(node, ast.stmt)} - {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
        if inner is not node
    }
    for node in ast.walk(tree):
        names = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom) and node.module
            else []
        )
        for name in names:
            yield node.lineno, name, id(node) in top


def complaints(path: Path) -> Iterator[str]:
    """Yields what is wrong with one file's imports."""
    place = path.relative_to(ROOT).parts
    library, service = place[0] == "libs", place[0] == "services"
    own = place[3] if len(place) > 3 else ""
    for line, module, at_import in imports(path):
        head = module.split(".")[0]
        where = f"{path.relative_to(ROOT)}:{line} imports {module}"
        if library and head in SERVICES:
            yield f"{where}: a library knows no service"
        if service and head in SERVICES - {own}:
            yield f"{where}: services share contracts and data, never code"
        if place[:2] in {("libs", "dragoman"), ("libs", "latent-cache")} and head in TORCH and at_import:
            yield f"{where}: this library has no torch"
        if own in {"explainer", "scorer"} and head in TORCH:
            yield f"{where}: this service has no torch"
        if "core" in place and head in OUTSIDE:
            yield f"{where}: core/ is pure"
        if service and path.name not in {"convert.py", "servicer.py", "__main__.py"} and module.startswith(PROTOBUF):
            yield f"{where}: protobuf stops at convert.py"


def main() -> int:
    """Prints every complaint; returns how the check ended."""
    files = [
        p
        for folder in ("libs", "services")
        for p in sorted((ROOT / folder).glob("*/src/**/*.py"))
        if "_pb2" not in p.name
    ]
    found = [complaint for path in files for complaint in complaints(path)]
    print("\n".join(found) if found else f"layers hold in {len(files)} files")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
