"""The images, by their Dockerfiles: nothing here needs a container engine."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("activation", "sae-trainer", "explainer", "scorer")


@pytest.mark.parametrize("service", SERVICES)
def test_images_are_slim_pinned_and_built_in_stages(service: str) -> None:
    text = (ROOT / "services" / service / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["python:3.11-slim"] * 2
    first, last = text.rsplit("\nFROM ", 1)
    assert "pip install" not in last
    for line in re.findall(r"pip install[^&\n]*", first):
        torch = "--index-url ${TORCH_INDEX}" in line and "grep ^torch== constraints.txt" in line
        assert torch or "-c constraints.txt" in line, line
    assert "libs/dragoman[oidc,otel]" in first
    assert ("ARG TORCH_INDEX" in text) == (service in {"activation", "sae-trainer"})


def test_make_images_builds_each_from_the_root() -> None:
    told = ["images", "DOCKER=echo", "REGISTRY=registry/team/", "TAG=1", "TORCH_INDEX=https://index/cu128"]
    done = subprocess.run(["make", "--silent", *told], cwd=ROOT, capture_output=True, text=True, check=True)
    built = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert built == [
        f"build -f services/{service}/Dockerfile -t registry/team/dragoman-{service}:1 "
        "--build-arg TORCH_INDEX=https://index/cu128 ."
        for service in SERVICES
    ]
