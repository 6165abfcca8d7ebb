"""How far a latent was turned up: scores of steered texts compare latents at the same KL only."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from dragoman.ids import Json

KL_TOLERANCE = 0.1
"""Largest relative distance of a KL from its target (2410.13928, appendix)."""
MATCHED, UNMATCHED, NOT_MEASURED = "matched", "unmatched", "not_measured"
STEERING_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("steering", pa.string()),
    ("kl_target", pa.float64()),
    ("kl", pa.float64()),
]


@dataclass(frozen=True, slots=True)
class Steering:
    """What an effects artifact says of a latent at one KL target."""

    kl_target: float
    kl: float | None = None
    """As measured, nats; None where it was not."""

    @property
    def outcome(self) -> str:
        """MATCHED: within KL_TOLERANCE of the target. UNMATCHED: no strength was found that is. NOT_MEASURED."""
        if self.kl is None:
            return NOT_MEASURED
        near = abs(self.kl - self.kl_target) <= KL_TOLERANCE * self.kl_target * (1 + 1e-6)
        return MATCHED if near else UNMATCHED

    @property
    def columns(self) -> Mapping[str, object]:
        """STEERING_COLUMNS."""
        return {"steering": self.outcome, "kl_target": self.kl_target, "kl": self.kl}


def steering_statistics(latents: Sequence[Mapping[str, Any]]) -> dict[str, Json]:
    """Returns the target and, of the rows of latents.parquet, how many reached it."""
    found = Counter(str(row["steering"]) for row in latents)
    target = float(latents[0]["kl_target"]) if latents else None
    return {"kl_target": target, "tolerance": KL_TOLERANCE, **{n: found[n] for n in (MATCHED, UNMATCHED, NOT_MEASURED)}}
