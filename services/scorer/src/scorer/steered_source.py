"""The texts of an effects artifact for a score: what the model writes after a prompt, steered and as it is."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from dragoman.artifacts import Artifact
from dragoman.ids import derived_seed
from latent_cache import TokenRows, Window
from latent_cache.effects import CONTINUATIONS, EFFECTS, PROMPTS, Row, effect_rows, nearest_target
from latent_cache.render import pieces

from scorer.core.examples import CLEAN, STEERED
from scorer.core.scorers import Counts, Drawn, Method
from scorer.core.steering import MATCHED, Steering

_TEXTS = ["latent", "prompt", "arm", "kl_target", "tokens"]
_PLACES = ["latent", "prompt", "row", "start", "tokens"]

Texts = Mapping[str, Mapping[int, Window]]
"""By arm, then prompt."""


def read_steering(effects: Artifact, wanted: float | None, latents: Iterable[int]) -> dict[int, Steering]:
    """Returns how far latents were turned up, at the target wanted, or the artifact's nearest to 1 nat."""
    rows = effect_rows(effects, EFFECTS, ["latent", "kl_target", "kl"])
    targets: Any = effects.manifest.spec["kl_targets"]
    target = wanted if wanted is not None else nearest_target(targets)
    assert target is not None, "effects without targets are refused at submit"
    found = {int(row["latent"]): Steering(target, float(row["kl"])) for row in rows if row["kl_target"] == target}
    return {latent: found.get(latent, Steering(target)) for latent in {*latents, *found}}


class SteeredWindows:
    """The steered and clean texts of latents that are read together, as windows of prompt and continuation."""

    def __init__(
        self, effects: Artifact, tokens: Artifact, kl_target: float | None, seed: int, partners: Mapping[int, int]
    ) -> None:
        """`partners`: latent to the latent whose explanation is shown in its stead."""
        self._effects = effects
        self._rows = TokenRows(tokens)
        self._seed = seed
        self._partners = partners
        self._steering = read_steering(effects, kl_target, ())
        matched = sorted(latent for latent, found in self._steering.items() if found.outcome == MATCHED)
        order = np.random.Generator(np.random.PCG64(derived_seed("cycle", seed, effects.id))).permutation(matched)
        self._cycle: list[int] = order.tolist()
        self._written = int(str(effects.manifest.spec["new_tokens"]))
        self._texts: dict[int, Texts] = {}
        self._pieces: dict[bytes, Sequence[str]] = {}

    def draw(
        self, latent: int, method: Method, asked: Counts, null_count: int, rivals: Sequence[int] = ()
    ) -> tuple[Drawn, Counts]:
        """Returns a latent's texts; none where it does not reach the target. Which prompts is by a seed, the same for
        all latents, so that those of `random` prompts are after the same ones."""
        if latent not in self._cycle:
            return Drawn(latent, (), np.empty(0, np.int64)), asked
        count = method.active_needed(asked)
        beside = self._others(latent, asked.active // method.choices * method.rivals)
        self._read([latent, *beside])
        own = self._texts[latent]
        numbers = sorted(own[STEERED], key=lambda number: derived_seed("prompts", self._seed, self._effects.id, number))
        chosen = numbers[:count]
        others = {other: [self._texts[other][STEERED][n] for n in chosen] for other in beside}
        steered, clean = ([own[arm][n] for n in chosen] for arm in (STEERED, CLEAN))
        quantiles = np.full(len(chosen), -1)
        return Drawn(latent, steered, quantiles, {CLEAN: clean}, others, self._written), asked

    def _others(self, latent: int, count: int) -> list[int]:
        """The next latents of a seeded cycle, so that each stands beside as many; not the one whose explanation is
        shown in the null."""
        at = self._cycle.index(latent)
        after = [*self._cycle[at + 1 :], *self._cycle[:at]]
        return [other for other in after if other != self._partners.get(latent)][:count]

    def _read(self, latents: Sequence[int]) -> None:
        missing = [latent for latent in latents if latent not in self._texts]
        if not missing:
            return
        prompts = effect_rows(self._effects, PROMPTS, _PLACES, missing)
        documents = self._rows.documents(np.asarray([row["row"] for row in prompts], np.int64))
        by_place = {
            (int(row["latent"]), int(row["prompt"])): (row, int(own[row["start"]]))
            for row, own in zip(prompts, documents, strict=True)
        }
        found: dict[int, dict[str, dict[int, Window]]] = {latent: {STEERED: {}, CLEAN: {}} for latent in missing}
        for row in effect_rows(self._effects, CONTINUATIONS, _TEXTS, missing):
            latent, number, arm = int(row["latent"]), int(row["prompt"]), str(row["arm"])
            if arm == CLEAN or row["kl_target"] == self._steering[latent].kl_target:
                found[latent][arm][number] = self._window(*by_place[latent, number], row)
        self._texts |= found

    def _window(self, prompt: Row, document: int, continuation: Row) -> Window:
        tokens = np.asarray([*prompt["tokens"], *continuation["tokens"]], np.int32)
        row = int(prompt["row"])
        silent = np.zeros(len(tokens), np.float32)
        return Window(row, int(prompt["start"]), document, self._rows.split(row), tokens, silent)

    def pieces(self, window: Window) -> Sequence[str]:
        """Returns the text of each token of a window."""
        key = window.tokens.tobytes()
        if key not in self._pieces:
            self._pieces[key] = pieces(self._rows.tokenizer(), window.tokens)
        return self._pieces[key]
