"""Prompts of the intruder scorers: five marked fragments, and the letter of the one that does not belong.

Few-shot, as all prompts here (see prompts.py); among the worked examples each letter is the answer once.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool
from latent_cache.render import marked

PLACES = ("A", "B", "C", "D", "E")

_INTRUDER_TASK = (
    "Each item has five fragments of text in which some tokens stand between << and >>. In four of them the marked "
    "tokens have something in common; in one they do not. Give the letter of the one that does not belong."
)
_INTRUDER_SHOTS: Sequence[tuple[Sequence[str], str]] = (
    (
        (
            " the meeting was moved from<< Monday>> to the second",
            " until the last week of<< November>>, when the rain",
            " a letter that the<< captain>> had left on the table",
            " every<< Thursday>> the market filled the square and",
            " was born on the ninth of<< March>> in a small town",
        ),
        "C",
    ),
    (
        (
            " the old<< roof>> had to be mended before the winter",
            " he could<< not>> say why he had come, and nobody",
            " she had<< never>> seen so many ships in the harbour",
            " there was<< no>> answer to the letter, and the",
            " they would hear<< nothing>> of it until the autumn",
        ),
        "A",
    ),
    (
        (
            " the<< horses>> were led out of the stable at six",
            " where the old<< dog>> slept beside the fire, and",
            " a flock of<< sheep>> came down from the hills",
            " two<< cats>> sat on the wall and watched the",
            " to raise the<< tax>> on imported steel, as the",
        ),
        "E",
    ),
    (
        (
            " studied law at the<< University>> of Vienna",
            " and the<< water>> rose over the lower fields",
            " became a governor of the<< Bank>> of England",
            " by order of the<< Ministry>> of Finance in",
            " joined the<< Academy>> of Sciences at thirty",
        ),
        "B",
    ),
    (
        (
            " bread,<< butter>>, and a jug of milk stood on",
            " cut the<< onions>> and let them brown slowly",
            " a pot of<< soup>> for the men who came home",
            " signed the<< treaty>> after a week of talks",
            " and a plate of cold<< beef>> with mustard was",
        ),
        "D",
    ),
)

_DECILE_TASK = (
    "Each item has five fragments of text in which some tokens stand between << and >>. In four of them what the "
    "marked tokens have in common is about equally strong; in one it is much stronger or weaker. Give the letter of "
    "that one."
)
_DECILE_SHOTS: Sequence[tuple[Sequence[str], str]] = (
    (
        (
            " it was<< rather>> cold for the time of year",
            " they were<< somewhat>> late, and said so",
            " the room was<< fairly>> full by then, though",
            " an<< utterly>> hopeless attempt, they all knew",
            " a<< slightly>> better price than the last one",
        ),
        "D",
    ),
    (
        (
            " a<< warm>> evening, with some cloud in the west",
            " the<< scorching>> sand, where nobody could stand",
            " the<< mild>> air of the valley did him good",
            " a<< tepid>> bath before he went to bed, and",
            " kept the milk<< lukewarm>> beside the stove",
        ),
        "B",
    ),
    (
        (
            " and she<< wept>> aloud for the whole night",
            " he<< smiled>> a little at the answer, and",
            " they were<< pleased>> with the new house",
            " a<< cheerful>> word to each of the children",
            " seemed<< content>> to wait for the others",
        ),
        "A",
    ),
    (
        (
            " a<< vast>> plain without a single tree or house",
            " the<< enormous>> gates were shut behind them",
            " under a<< gigantic>> dome of glass and iron",
            " an<< immense>> crowd had come to the harbour",
            " a<< fair-sized>> room with two windows",
        ),
        "E",
    ),
    (
        (
            " he<< murmured>> something that nobody heard",
            " she<< whispered>> the name to her sister",
            " the crowd<< roared>> as the gates went up",
            " they<< spoke softly>> beside the bed, and",
            " a<< quiet>> word with the clerk was enough",
        ),
        "C",
    ),
)


def intruder_prefix() -> str:
    """Returns what every intruder prompt begins with."""
    return _prefix(_INTRUDER_TASK, _INTRUDER_SHOTS)


def decile_intruder_prefix() -> str:
    """Returns what every decile-intruder prompt begins with."""
    return _prefix(_DECILE_TASK, _DECILE_SHOTS)


def odd_one_question(prefix: str, fragments: Sequence[tuple[Sequence[str], Bool[np.ndarray, " pos"]]]) -> str:
    """Returns a whole prompt, to be answered with one of PLACES.

    fragments: the text of each token of a window, and which tokens are marked.
    """
    texts = [marked(pieces, marks).replace("\r", "").replace("\n", "\\n") for pieces, marks in fragments]
    return f"{prefix}{_item(texts)}"


def _prefix(task: str, shots: Sequence[tuple[Sequence[str], str]]) -> str:
    worked = "".join(f"{_item(texts)} {answer}\n\n" for texts, answer in shots)
    return f"{task}\n\n{worked}"


def _item(texts: Sequence[str]) -> str:
    listed = "\n".join(f"{place}:{text}" for place, text in zip(PLACES, texts, strict=True))
    return f"{listed}\nDoes not belong:"
