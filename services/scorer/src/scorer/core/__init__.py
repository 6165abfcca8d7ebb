"""Pure scoring: windows, questions, prompts, metrics."""
