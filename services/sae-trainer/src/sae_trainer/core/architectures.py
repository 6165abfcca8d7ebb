"""Which fields of a coder's spec go together, and what those mean that were left out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

Architecture = Literal[
    "topk", "relu", "jumprelu", "gated", "batch_topk", "matryoshka_batch_topk", "frozen_decoder", "random"
]
Optimiser = Literal["adam", "signum", "muon", "schedule_free"]

BASELINES = ("frozen_decoder", "random")
"""TopK coders of which the decoder, or everything, stays as it was drawn (Korznikov et al., arXiv 2602.14111)."""
WITH_K = ("topk", "batch_topk", "matryoshka_batch_topk", *BASELINES)
"""Those that choose the strongest latents; the others fire by themselves, and how many is steered by a penalty."""

DEFAULT_EXPANSION_FACTOR = 8.0
DEFAULT_L0 = 32
_DEFAULT_AUXK_ALPHA = 1.0
"""In units of the FVU, as SAELens has it. Gao et al. give 1/32 of what is left over, which is this where a coder leaves
a 32nd; less brings too few dead latents back in a run of some hundred steps (docs/methods.md)."""
_DEFAULT_BANDWIDTH = 0.2
_DEFAULT_DECAY_FRACTION = 0.2
_OF: Mapping[str, Sequence[str]] = {
    "k": WITH_K,
    "target_l0": ("relu", "jumprelu", "gated"),
    "l1_coefficient": ("relu", "gated"),
    "l0_coefficient": ("jumprelu",),
    "jumprelu_bandwidth": ("jumprelu",),
    "multi_topk": ("topk",),
    "widths": ("matryoshka_batch_topk",),
    "auxk_alpha": ("topk", "batch_topk", "matryoshka_batch_topk", "jumprelu", "frozen_decoder"),
    "resample_tokens": ("relu", "gated"),
}
_INSTEAD = {"k": "target_l0", "target_l0": "k"}


def written_out(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a spec with the defaults that depend on other fields; wrong values are left for later checks."""
    values = dict(given)

    def default(name: str, value: object) -> None:
        if values.get(name) is None:
            values[name] = value

    architecture = str(values.get("architecture", "topk"))
    optimiser = str(values.get("optimiser", "adam"))
    transcoder = bool(values.get("output_hookpoint"))
    if values.get("d_sae") is None:
        default("expansion_factor", DEFAULT_EXPANSION_FACTOR)
    if architecture in WITH_K:
        default("k", DEFAULT_L0)
    elif values.get("l1_coefficient") is None and values.get("l0_coefficient") is None:
        default("target_l0", float(DEFAULT_L0))
    if architecture == "jumprelu":
        default("jumprelu_bandwidth", _DEFAULT_BANDWIDTH)
    if architecture in _OF["auxk_alpha"]:
        default("auxk_alpha", _DEFAULT_AUXK_ALPHA)
    default("decay_fraction", 0.0 if optimiser == "schedule_free" else _DEFAULT_DECAY_FRACTION)
    default("beta1", 0.95 if optimiser in ("signum", "muon") else 0.9)
    if optimiser != "signum":
        default("beta2", 0.999)
    default("decoder_norm", "free" if transcoder else "unit")
    default("tied_start", not transcoder)
    plain = architecture in ("topk", *BASELINES) and not transcoder
    default("input_normalisation", "none" if plain else "mean_norm")
    return values


def misfits(spec: Mapping[str, Any]) -> list[str]:
    """Returns what in a spec contradicts itself: field, reason and what to do, one text each."""
    found = [*_of_other_architectures(spec)]
    found.extend(rule.text.format(**spec) for rule in _RULES if rule.broken(spec))
    if spec["d_sae"] is not None:
        found.extend(width_misfits(spec, spec["d_sae"]))
    return found


def width_misfits(spec: Mapping[str, Any], d_sae: int) -> list[str]:
    """Returns what in a spec asks for more latents than there are."""
    found: list[str] = []
    if spec["k"] is not None and spec["k"] > d_sae:
        found.append(f"k is {spec['k']} but there are only {d_sae} latents; choose k <= d_sae")
    if spec["target_l0"] is not None and spec["target_l0"] >= d_sae:
        found.append(f"target_l0 is {spec['target_l0']:g} but there are {d_sae} latents; choose target_l0 < d_sae")
    if spec["parallel"] == "latents":
        found.extend(_indivisible(spec, d_sae))
    widths = list(spec["widths"])
    if widths and (widths != sorted(set(widths)) or widths[-1] != d_sae):
        found.append(f"widths is {widths}; they must rise, the last one to d_sae {d_sae}")
    return found


def _indivisible(spec: Mapping[str, Any], d_sae: int) -> list[str]:
    ranks, active = spec["ranks"], spec["k"] or spec["target_l0"] or 0
    if d_sae % ranks:
        return [f"ranks is {ranks}, which does not divide d_sae {d_sae}; choose one that does, or parallel data"]
    if active > d_sae // ranks:
        return [f"ranks is {ranks}: each has {d_sae // ranks} latents, fewer than the {active:g} that fire; lower it"]
    return []


def _of_other_architectures(spec: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for name, architectures in _OF.items():
        if not spec[name] or spec["architecture"] in architectures:
            continue
        instead = _INSTEAD.get(name)
        mend = f"give {instead} instead" if instead and spec["architecture"] in _OF[instead] else "leave it out"
        found.append(f"{name} is for {', '.join(architectures)}, not for {spec['architecture']}; {mend}")
    return found


class _Rule(NamedTuple):
    broken: Callable[[Mapping[str, Any]], object]
    text: str


_RULES = (
    _Rule(
        lambda spec: spec["parallel"] == "data" and spec["batch_tokens"] % spec["ranks"],
        "ranks is {ranks}, which does not divide batch_tokens {batch_tokens}; choose one that does",
    ),
    _Rule(
        lambda spec: spec["parallel"] == "latents" and spec["ranks"] > 1 and spec["optimiser"] == "muon",
        "parallel is latents, but muon orthogonalises whole matrices; choose parallel data or another optimiser",
    ),
    _Rule(
        lambda spec: spec["d_sae"] is not None and spec["expansion_factor"] is not None,
        "d_sae ({d_sae}) and expansion_factor ({expansion_factor:g}) are both given; give one of them",
    ),
    _Rule(
        lambda spec: spec["skip"] and not spec["output_hookpoint"],
        "skip is for a transcoder: an autoencoder would copy its input; give output_hookpoint, or leave skip out",
    ),
    _Rule(
        lambda spec: spec["output_hookpoint"] and spec["output_hookpoint"] == spec["hookpoint"],
        "output_hookpoint is the hookpoint that is read, {hookpoint!r}; leave it out for an autoencoder",
    ),
    _Rule(
        lambda spec: spec["output_hookpoint"] and spec["architecture"] in BASELINES,
        "{architecture} is a baseline for autoencoders: a transcoder's decoder starts at 0 and would stay there; "
        "leave output_hookpoint out",
    ),
    _Rule(
        lambda spec: spec["output_hookpoint"] and spec["decoder_norm"] == "unit",
        "decoder_norm is unit, but a transcoder's decoder starts at 0; leave it out or choose free",
    ),
    _Rule(
        lambda spec: spec["output_hookpoint"] and spec["tied_start"],
        "tied_start is true, but a transcoder's decoder starts at 0; leave it out",
    ),
    _Rule(
        lambda spec: spec["optimiser"] == "signum" and spec["beta2"] is not None,
        "beta2 is {beta2}, but signum has no second moment; leave it out",
    ),
    _Rule(
        lambda spec: spec["optimiser"] == "schedule_free" and spec["decay_fraction"],
        "decay_fraction is {decay_fraction}, but schedule_free takes the place of a decay; leave it out",
    ),
    _Rule(
        lambda spec: spec["optimiser"] == "schedule_free" and spec["ema_decay"] is not None,
        "ema_decay is {ema_decay}, but schedule_free averages the weights itself; leave one of them out",
    ),
)
