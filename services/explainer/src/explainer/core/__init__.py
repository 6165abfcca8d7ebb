"""What an explanation is made of: selection, samples, prompts, replies. Pure functions."""
