"""Specs of every kind that are accepted as such, with ids of inputs that are nowhere: what fuzzing starts from."""

from typing import Any


def _id(kind: str, digit: str = "1") -> str:
    return f"{kind}-{digit * 32}"


STREAMED = {
    "tokens_id": _id("tokens"),
    "model": {"source": "/models/small"},
    "split": "train",
    "batch_size": 4,
    "shuffle_tokens": 4096,
}
MODEL = {"source": "/models/small", "weights": "rerandomized_incl_emb", "weights_seed": 3, "dtype": "bfloat16"}

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "tokens": [
        {"source": "/data/corpus", "tokenizer": "/models/small", "ctx_len": 64, "bos": "always", "test_fraction": 0.4},
        {
            "source": "/data/chats.jsonl",
            "format": "jsonl",
            "messages_field": "messages",
            "tokenizer": "/models/small",
            "packing": "document",
            "max_documents": 1000,
            "seed": -7,
        },
        {"texts_id": _id("texts"), "tokenizer": "/models/small", "test_fraction": 0.0},
    ],
    "activations": [
        {
            "tokens_id": _id("tokens"),
            "model": MODEL,
            "hookpoints": ["layers.1", "layers.2.mlp"],
            "split": "train",
            "max_tokens": 6400,
            "dtype": "float16",
            "rows_per_task": 64,
        }
    ],
    "latents": [
        {
            "tokens_id": _id("tokens"),
            "model": MODEL,
            "coder_id": _id("coder"),
            "top_windows": 20,
            "activation_dtype": "float32",
            "neighbours": 10,
        }
    ],
    "effects": [
        {"latents_id": _id("latents"), "selection": {"ranks": [10, 20]}, "strengths": [1.0, -2.5], "prompt_count": 2},
        {"latents_id": _id("latents"), "intervention": "zero", "positions": "all", "temperature": 0.5},
    ],
    "fidelity": [
        {"tokens_id": _id("tokens"), "model": MODEL, "coder_ids": [_id("coder"), _id("coder", "2")], "max_tokens": 128}
    ],
    "coder": [
        {"activations_id": _id("activations"), "d_sae": 192, "k": 8, "batch_tokens": 256, "learning_rate": 1e-3},
        {"activations_id": _id("activations"), "architecture": "jumprelu", "expansion_factor": 4.0, "target_l0": 32.0},
        {"activations_id": _id("activations"), "architecture": "matryoshka_batch_topk", "k": 16, "widths": [64, 256]},
        {"imported": {"source": "/coders/one", "layout": "saelens", "model": {"source": "/models/small"}}},
        {"streamed": STREAMED, "hookpoint": "layers.1", "architecture": "gated", "expansion_factor": 2.0},
        {"taken": {"coders_id": _id("coders"), "number": 1}},
    ],
    "coders": [
        {
            "coders": [
                {"streamed": STREAMED, "hookpoint": "layers.1", "d_sae": 64, "k": 4, "seed": seed} for seed in (0, 1)
            ]
        }
    ],
    "sweep": [
        {"base": {"activations_id": _id("activations"), "d_sae": 64}, "ks": [4, 8], "seeds": [0, 1]},
        {
            "base": {"activations_id": _id("activations"), "d_sae": 64},
            "architectures": ["topk", "batch_topk"],
            "ks": [4],
            "hookpoints": ["layers.1"],
            "learning_rates": [1e-3, 1e-4],
        },
    ],
    "evaluation": [{"coder_id": _id("coder"), "activations_id": _id("activations"), "floor_tokens": 0, "seed": 5}],
    "overlap": [{"coder_id": _id("coder"), "other_coder_id": _id("coder", "2"), "threshold": 0.5, "null_count": 2}],
    "export": [{"coder_id": _id("coder"), "layout": "sparsify"}],
    "explanations": [
        {
            "latents_id": _id("latents"),
            "selection": {"ranks": [10, 20, 30]},
            "example_count": 4,
            "llm": {"model": "small", "max_tokens": 16},
            "latents_per_task": 2,
        },
        {"latents_id": _id("latents"), "explainer": "max_act"},
        {"latents_id": _id("latents"), "explainer": "oracle", "texts": [{"latent": 3, "explanation": "names of days"}]},
    ],
    "scores": [
        {
            "explanations_id": _id("explanations"),
            "latents_id": _id("latents"),
            "scorer": "fuzzing",
            "active_count": 3,
            "null_count": 2,
            "stop": {"threshold": 0.6, "batch_count": 4},
        },
        {"latents_id": _id("latents"), "scorer": "intruder", "latent_count": 50, "embedder": {"model": "small"}},
    ],
    "triage": [
        {
            "latents_id": _id("latents"),
            "scores_ids": [_id("scores"), _id("scores", "2")],
            "effects_id": _id("effects"),
            "quantile": 0.9,
            "kl_target": 0.5,
            "embedder": {"model": "small"},
        }
    ],
    "texts": [{"explanations_id": _id("explanations"), "text_count": 7, "llm": {"model": "judge", "temperature": 1.0}}],
    "scorecard": [
        {
            "trained": {"scores_ids": [_id("scores")], "explanations_id": _id("explanations")},
            "control": {"scores_ids": [_id("scores", "2")], "explanations_id": _id("explanations", "2")},
            "title": "small",
            "confidence": 0.9,
        }
    ],
}
