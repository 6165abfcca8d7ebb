"""What windows a latents artifact keeps, by its spec: what explainers and scorers may ask of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dragoman.artifacts import InputInfo
from dragoman.errors import InvalidSpec, Violation

from latent_cache.index import DECILES, LAYOUT_VERSION

_FIELDS = ("window_length", "top_windows", "quantile_windows")


@dataclass(frozen=True, slots=True)
class KeptWindows:
    """The windows that are kept of each latent."""

    artifact_id: str
    window_length: int
    """Tokens in a window."""
    top_windows: int
    """The strongest of each split."""
    quantile_windows: int
    """Drawn by seed from each split and activation decile."""

    @classmethod
    def of(cls, latents: InputInfo) -> "KeptWindows":
        """Raises InvalidSpec for an artifact of an older layout."""
        manifest = latents.manifest
        old = manifest is not None and manifest.semantics_version < LAYOUT_VERSION
        if old or any(name not in latents.spec for name in _FIELDS):
            raise InvalidSpec(
                f"{latents.id} is of an older layout, without stored windows; submit its spec again to make it anew",
                field="latents_id",
                reason="OLD_ARTIFACT",
            )
        return cls.of_spec(latents.id, latents.spec)

    @classmethod
    def of_spec(cls, artifact_id: str, spec: Mapping[str, Any]) -> "KeptWindows":
        """Reads the canonical spec of a latents artifact."""
        return cls(artifact_id, *(int(spec[name]) for name in _FIELDS))

    @property
    def sampled_windows(self) -> int:
        """The most windows of a split that are drawn over all deciles."""
        return DECILES * self.quantile_windows

    def length_violations(self, window_length: int) -> Iterator[Violation]:
        """Yields what is wrong with a spec's `window_length`."""
        if window_length != self.window_length:
            yield Violation(
                "window_length",
                f"{window_length} is not the window length of {self.artifact_id}; expected {self.window_length}, or "
                f"give latents made with window_length {window_length}",
            )

    def sampled_violations(self, field: str, count: int) -> Iterator[Violation]:
        """Yields what is wrong with asking for so many windows of a split, spread over deciles."""
        if count > self.sampled_windows:
            least = -(-count // DECILES)
            yield Violation(
                field,
                f"{count} windows are more than the {self.sampled_windows} of a split that {self.artifact_id} keeps, "
                f"{self.quantile_windows} of each activation decile; expected at most {self.sampled_windows}, or give "
                f"latents made with quantile_windows {least} or more",
            )

    def top_violations(self, field: str, count: int) -> Iterator[Violation]:
        """Yields what is wrong with asking for so many of the strongest windows of a split."""
        if count > self.top_windows:
            yield Violation(
                field,
                f"{count} windows are more than the {self.top_windows} strongest of a split that {self.artifact_id} "
                f"keeps; expected at most {self.top_windows}, or give latents made with top_windows {count} or more",
            )
