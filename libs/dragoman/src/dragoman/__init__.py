"""Automated interpretability as a service: contract, shell, client and command line."""

__version__ = "0.1.0"
