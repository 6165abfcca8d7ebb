"""The command line: `dragoman`."""

from dragoman.cli._main import main

__all__ = ["main"]
