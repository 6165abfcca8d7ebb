"""Pure functions: tensors and dataclasses in, values out."""
