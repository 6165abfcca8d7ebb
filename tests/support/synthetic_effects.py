"""An effects artifact over planted latents, in the activation service's own schemas."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from activation.effects_tables import FILES, TABLES, table_bytes
from dragoman.artifacts import Manifest, PartInfo

from tests.support.synthetic_latents import Parts

EFFECTS_ID = "effects-" + "3" * 32
TARGETS = (0.1, 1.0, 3.0)


def effects_parts(
    latents: Sequence[int],
    words: Mapping[int, Sequence[str]],
    latents_id: str = "latents-" + "1" * 32,
    intervention: str = "add",
    targets: Sequence[float] = TARGETS,
    split: str = "train",
    raise_all: bool = False,
) -> Parts:
    """Latents that promote their words; each of them comes first at its own target in `raised_texts`, or all of them
    at every target."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    for latent in latents:
        own = [f" {word}" for word in words[latent]]
        rows["logits"].append(
            {"latent": latent, "outcome": "measured", "top_texts": own, "bottom_texts": [" the", " of"]}
        )
        for number, target in enumerate(targets):
            raised = own if raise_all else [own[number % len(own)], " and"]
            changed = {"raised_texts": raised, "lowered_texts": [" but"]}
            if intervention == "zero":
                changed = {"raised_texts": [" but"], "lowered_texts": raised}
            measured = {"latent": latent, "intervention": intervention, "kl_target": target, "kl": target}
            rows["effects"].append(measured | changed)
    data = {FILES[name]: table_bytes(rows[name], schema) for name, schema in TABLES.items()}
    infos = [
        PartInfo(name, f"memory/{name}", len(content), hashlib.sha256(content).hexdigest())
        for name, content in data.items()
    ]
    spec: dict[str, Any] = {"latents_id": latents_id, "split": split, "kl_targets": list(targets)}
    return Parts(Manifest(EFFECTS_ID, "effects", 1, spec, {"latents": latents_id}, infos, {}), data)
