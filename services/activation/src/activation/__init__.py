"""The activation service: text to tokens, tokens to activations, activations to latents."""
