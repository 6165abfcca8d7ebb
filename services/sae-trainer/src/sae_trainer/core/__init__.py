"""Pure functions: the length of a run, the order of tokens, sums over a set, intervals."""
