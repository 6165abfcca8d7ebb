"""Whether tokens can go through a model. Imports no torch."""

from dragoman.artifacts import InputInfo
from dragoman.errors import FailedPrecondition, InvalidSpec
from latent_cache.token_policy import TokenPolicy, token_policy

from hooked_models.description import ModelDescription


def check_tokens(tokens: InputInfo, model: ModelDescription) -> None:
    """Raises InvalidSpec when rows are too long for a model, or hold ids that it has no embedding for."""
    ctx_len = int(str(tokens.spec.get("ctx_len", 0)))
    if model.context_length is not None and ctx_len > model.context_length:
        raise InvalidSpec(
            f"the rows of {tokens.id} have {ctx_len} tokens; "
            f"{model.architecture} takes at most {model.context_length}; "
            f"make tokens with ctx_len <= {model.context_length}",
            field="tokens_id",
            reason="CONTEXT_TOO_LONG",
        )
    if tokens.manifest is None:
        return
    vocab_size = int(str(tokens.manifest.statistics["vocab_size"]))
    if vocab_size > model.vocab_size:
        raise InvalidSpec(
            f"the tokenizer of {tokens.id} has {vocab_size:,} tokens, "
            f"the model has embeddings for {model.vocab_size:,}; "
            "they do not belong together: make tokens with this model's tokenizer",
            field="tokens_id",
            reason="VOCABULARY_MISMATCH",
        )


def check_policy(tokens: InputInfo, field_name: str = "tokens_id") -> TokenPolicy | None:
    """Returns the policy of tokens, None when they are still to be made. Raises InvalidSpec for one not known here."""
    if tokens.manifest is None:
        return None
    try:
        return token_policy(tokens.manifest.statistics, tokens.id)
    except FailedPrecondition as error:
        raise InvalidSpec(error.message, field=field_name, reason=error.reason) from error
