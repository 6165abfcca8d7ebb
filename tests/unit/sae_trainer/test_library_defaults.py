"""What a spec writes out by itself, since the service's API imports no torch, is what the library does by default."""

from dataclasses import asdict
from typing import get_args

import pytest
import torch
from sae_trainer.coder_setup import first_coder, form_of, options_of
from sae_trainer.config import Kernels
from sae_trainer.core.architectures import BASELINES, Architecture, Optimiser
from sae_trainer.core.run_length import run_of
from sae_trainer.spec import CoderSpec
from sparse_coders import TrainerOptions, initial_coder_of
from sparse_coders.initial import Initialisation
from sparse_coders.options import Optimiser as LibraryOptimiser
from sparse_coders.trainers import KernelChoice

D_MODEL, MANY_TOKENS = 16, 2**40
ASKED_FOR = {"k", "target_l0", "l0_coefficient", "l0_warmup_steps", "frozen", "optimiser", "beta1", "decoder_norm"}
"""Not defaults of the library, or compared by what they come to."""


@pytest.mark.parametrize(
    ("architecture", "output"),
    [(name, out) for name in get_args(Architecture) for out in ("", "out") if not (out and name in BASELINES)],
)
def test_a_spec_that_says_nothing_trains_as_the_library_does(architecture: str, output: str) -> None:
    fields = {"activations_id": "a", "architecture": architecture, "d_sae": 64, "output_hookpoint": output}
    spec = CoderSpec.model_validate(fields)
    run = run_of(spec, D_MODEL, MANY_TOKENS)
    said, library = options_of(spec, run, 0), TrainerOptions()
    unused = {"auxk_alpha"} if spec.auxk_alpha is None else set[str]()
    compared = asdict(library).keys() - ASKED_FOR - unused
    assert {name: getattr(said, name) for name in compared} == {name: getattr(library, name) for name in compared}
    x = torch.randn(100, D_MODEL, generator=torch.Generator().manual_seed(0))
    form = form_of(spec, run, D_MODEL, D_MODEL)
    ours, theirs = first_coder(spec, form, x, x, 3), initial_coder_of(form, x, x, 3, Initialisation(l0=spec.target_l0))
    assert all(torch.equal(value, theirs.get_parameter(name)) for name, value in ours.named_parameters())
    if said.frozen == "none":
        assert said.unit_decoder(ours) == library.unit_decoder(ours)


@pytest.mark.parametrize("optimiser", get_args(Optimiser))
def test_momenta(optimiser: LibraryOptimiser) -> None:
    spec = CoderSpec.model_validate({"activations_id": "a", "optimiser": optimiser, "d_sae": 64})
    said, library = options_of(spec, run_of(spec, D_MODEL, MANY_TOKENS), 0), TrainerOptions(optimiser=optimiser)
    assert (said.momentum, said.beta2) == (library.momentum, library.beta2)


def test_names() -> None:
    assert get_args(Kernels) == get_args(KernelChoice)
    assert get_args(Optimiser) == get_args(LibraryOptimiser)
