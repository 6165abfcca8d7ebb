"""An explainer over the texts of an activation verbaliser (natural language autoencoders, 2026; the "baez" experiment).

For each of the latent's strongest windows a verbaliser, which is somebody else's model, says in words what the subject
model's activation at the strongest token holds. A language model then names what these texts share.
"""

from collections.abc import Sequence

from explainer.core.evidence import Evidence, Passage
from explainer.core.example import one_line
from explainer.core.prompt import Prompt, answer
from explainer.core.reply import TAG

VERSION = "nla-1"

LONGEST_TOKENS = 150
"""A verbaliser's text is at most about so long; what a dry run counts for it."""

_INSTRUCTIONS = (
    "Each text below describes, in somebody's words, one state of a language model in which the same unit was active. "
    "The number before it is how strongly, from 1 (weak) to 10 (strong). Descriptions may be wrong or say much that "
    "has nothing to do with the unit. Name in at most eight words what they share; strong ones matter more. Leave out "
    f"what only one says.\nYour reply is one line that begins with {TAG}"
)
_SHOTS: Sequence[tuple[Sequence[Passage], str]] = (
    (
        (
            Passage("A news story on a flood; the final token 'storm' names the cause, its damage follows.", 10),
            Passage("A letter from the coast. The final token 'fog' describes the morning; a boat is waited for.", 8),
        ),
        "weather",
    ),
    (
        (
            Passage("A biography; after 'University of' a city is expected, the place of his studies.", 9),
            Passage("Financial text. 'Bank of' begins the name of an institution, England or Japan.", 8),
        ),
        "'of' inside names of institutions",
    ),
)


def prompt(evidence: Evidence) -> Prompt:
    """Returns the prompt for the verbaliser's texts, in the order of the windows."""
    turns = [(_listed(passages), answer(label)) for passages, label in _SHOTS]
    return Prompt(_INSTRUCTIONS, turns, _listed(evidence.passages), ("\n- ",))


def last_paragraph(text: str) -> str:
    """Returns the last paragraph of a verbaliser's text, the one that speaks of the final token ("baez_last")."""
    paragraphs = [paragraph.strip() for paragraph in text.split("\n\n") if paragraph.strip()]
    return paragraphs[-1] if paragraphs else ""


def _listed(passages: Sequence[Passage]) -> str:
    return "\n".join(f"- {passage.strength}: {one_line(passage.text).strip()}" for passage in passages)
