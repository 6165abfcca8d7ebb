"""Language models by reference, with the weights that a spec asks for, and what their modules read and give."""
