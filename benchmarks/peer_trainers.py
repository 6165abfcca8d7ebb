"""One step of a TopK coder as other libraries take it: their own code, our weights, Adam at one learning rate.

Each is None where the library is not installed: eai-sparsify==1.3.3, sae-lens==6.54.12, dictionary-learning==0.1.0.
SAELens and dictionary_learning pull in whole model zoos; a folder with their files on PYTHONPATH is enough.
"""

import contextlib
import io
from collections.abc import Callable

import sparse_coders
import torch
from torch import Tensor

Step = Callable[[Tensor], float]
"""Trains on a batch and returns its FVU, or NaN where the library does not give it."""


def sparsify(coder: sparse_coders.TopKCoder, learning_rate: float) -> Step | None:
    """What eai-sparsify's Trainer does for one hookpoint, with PyTorch's fused Adam, which its own trainer lacks."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import sparsify as peer
    except ImportError:
        return None
    sae = peer.SparseCoder(coder.d_model, peer.SparseCoderConfig(num_latents=coder.d_sae, k=coder.k))
    with torch.no_grad():
        sae.encoder.weight.copy_(coder.W_enc)
        sae.W_dec.copy_(coder.W_dec)
        sae.b_dec.copy_(coder.b_dec)
    adam = torch.optim.Adam(sae.parameters(), lr=learning_rate, fused=True)

    def step(x: Tensor) -> float:
        sae.set_decoder_norm_to_unit_norm()
        out = sae(x)
        out.fvu.backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        adam.step()
        adam.zero_grad()
        return out.fvu.item()

    return step


def sae_lens(coder: sparse_coders.TopKCoder, learning_rate: float) -> Step | None:
    """`SAETrainer.step` of SAELens, with its own start: its decoder's rows are scaled otherwise."""
    try:
        from sae_lens.config import LoggingConfig, SAETrainerConfig
        from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
        from sae_lens.training.sae_trainer import SAETrainer
    except ImportError:
        return None
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=coder.d_model, d_sae=coder.d_sae, k=coder.k, device="cpu"))
    config = SAETrainerConfig(
        n_checkpoints=0,
        checkpoint_path=None,
        save_final_checkpoint=False,
        total_training_samples=10**9,
        device="cpu",
        autocast=False,
        lr=learning_rate,
        lr_end=learning_rate,
        lr_scheduler_name="constant",
        lr_warm_up_steps=0,
        adam_beta1=0.9,
        adam_beta2=0.999,
        lr_decay_steps=0,
        n_restart_cycles=1,
        train_batch_size_samples=2048,
        dead_feature_window=1000,
        feature_sampling_window=2000,
        logger=LoggingConfig(log_to_wandb=False),
    )
    trainer = SAETrainer(config, sae, iter(()))

    def step(x: Tensor) -> float:
        trainer.step(x)
        trainer.n_training_steps += 1
        return float("nan")

    return step


def dictionary_learning(coder: sparse_coders.TopKCoder, learning_rate: float) -> Step | None:
    """`TopKTrainer.update` of dictionary_learning."""
    try:
        from dictionary_learning.trainers.top_k import TopKTrainer
    except ImportError:
        return None
    trainer = TopKTrainer(
        10**6, coder.d_model, coder.d_sae, coder.k, 0, "", lr=learning_rate, warmup_steps=0, device="cpu"
    )
    with torch.no_grad():
        trainer.ae.encoder.weight.copy_(coder.W_enc)
        trainer.ae.decoder.weight.copy_(coder.W_dec.T)
    count = iter(range(10**6))

    def step(x: Tensor) -> float:
        trainer.update(next(count), x)
        return float("nan")

    return step
