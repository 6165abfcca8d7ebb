"""Pure functions: modules, tensors and names in, values out."""
