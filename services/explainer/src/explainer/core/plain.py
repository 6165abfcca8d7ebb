"""Explanations that need no language model: a baseline, nulls, and texts that were given."""

import re

from explainer.core.evidence import Evidence
from explainer.core.example import name
from explainer.core.max_act import excerpt
from explainer.core.reply import LONGEST

TOP_VERSION = "acts_top5-1"
GENERIC_VERSION = "generic-1"
RANDOM_VERSION = "random-1"
OTHER_VERSION = "other_latent-1"
ORACLE_VERSION = "oracle-1"

GENERIC = "various unrelated sentences"
"""Says nothing of any latent, as the neutral phrase of surprisal scoring does (Paulo et al. 2410.13928)."""

_AROUND = 6  # tokens on either side: five excerpts of this length fit into an explanation
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def strongest_texts(evidence: Evidence) -> str:
    """Returns the strongest tokens, each in its text: `Monday in "the meeting on Monday or"; ...`."""
    shown = [(name(e.texts[e.peak]), excerpt(e, _AROUND, _AROUND)) for e in evidence.examples]
    return "; ".join(f'{token} in "{text}"' for token, text in shown)[:LONGEST]


def generic(evidence: Evidence) -> str:
    """Returns the same sentence for every latent."""
    return GENERIC


def given(evidence: Evidence) -> str:
    """Returns the sentence that was found for this latent."""
    return evidence.sentence


def sentence_of(text: str) -> str:
    """Returns the longest sentence of a text, on one line, without what is cut off where there is a whole one."""
    pieces = [" ".join(piece.split()) for piece in _SENTENCE_END.split(text.strip())]
    return max(pieces, key=len)[:LONGEST]
