"""The explainer that tests its hypotheses: what is asked turn by turn, and which explanation comes out."""

from collections.abc import Sequence

import numpy as np
import pytest
from explainer.core.dialogue import Heard
from explainer.core.evidence import Evidence
from explainer.core.example import Example
from explainer.core.hypotheses import CALLS, assumed, dialogue, prompt
from explainer.core.prompt import Prompt
from explainer.core.reply import Reply

ANIMALS = ("cat", "dog", "cow", "hen", "pig", "fox")


def window(word: str, strength: float) -> Example:
    return Example([" the", f" {word}", " slept"], np.asarray([0, strength, 0], np.float32))


EVIDENCE = Evidence(
    examples=[window(word, 9.0 - i) for i, word in enumerate(ANIMALS)],
    counters=[window(word, 0.0) for word in ("king", "sea", "town")],
    seed=3,
)
HYPOTHESES = "[HYPOTHESIS]: royalty\n[HYPOTHESIS 2]: **animals**\n[HYPOTHESIS]: royalty\n[HYPOTHESIS]: sleep\n"


def description(asked: Prompt) -> str:
    return asked.question.splitlines()[0].removeprefix("Description: ")


def texts(asked: Prompt) -> list[str]:
    return [line.split(". ", 1)[1] for line in asked.question.splitlines()[1:]]


def fits(asked: Prompt, words: Sequence[str]) -> Heard:
    """Says which texts of a test have one of these words."""
    found = [str(n) for n, text in enumerate(texts(asked), start=1) if set(text.split()) & set(words)]
    return Heard(f"[FITS]: {', '.join(found) or 'none'}")


MEANINGS = {"royalty": ("king",), "animals": ANIMALS[:4], "sleep": ("slept",), "beasts": ANIMALS, "worse": ()}


def play(proposal: Heard, refined: str) -> tuple[list[Sequence[Prompt]], Reply]:
    """Answers every turn by what descriptions mean; returns the turns and the end."""
    talk, turns = dialogue(EVIDENCE), list[Sequence[Prompt]]()
    turn = next(talk)
    try:
        while True:
            turns.append(turn)
            if len(turns) == 1:
                said = [proposal]
            elif turn[0].instructions.startswith("A description says"):
                said = [Heard(refined)]
            else:
                said = [fits(asked, MEANINGS[description(asked)]) for asked in turn]
            turn = talk.send(said)
    except StopIteration as stop:
        return turns, stop.value


def test_hypotheses_are_tested_on_windows_that_were_not_shown() -> None:
    turns, reply = play(Heard(HYPOTHESES), "[EXPLANATION]: beasts")
    assert [len(turn) for turn in turns] == [1, 3, 1, 1]
    shown = turns[0][0].question
    assert all(word in shown for word in ANIMALS[::2])
    assert [description(asked) for asked in turns[1]] == ["royalty", "animals", "sleep"]
    for asked in (*turns[1], *turns[3]):
        held = {text.split()[1] for text in texts(asked)}
        assert held == {*ANIMALS[1::2], "king", "sea", "town"}
        assert not any(word in held for word in ANIMALS[::2])
        assert "<<" not in asked.question
    assert (reply.outcome, reply.explanation) == ("explained", "beasts")
    assert reply.reason == "balanced accuracy 1.00 in its own test on 6 train windows"


def test_the_refinement_sees_what_the_best_hypothesis_failed_on() -> None:
    turns, _ = play(Heard(HYPOTHESES), "[EXPLANATION]: beasts")
    [asked] = turns[2]
    assert description(asked) == "animals"
    assert asked.question.splitlines()[1:] == ["Active, but it does not fit:", "the<< fox>> slept"]


def test_a_refinement_that_does_worse_or_cannot_be_read_changes_nothing() -> None:
    for refined in ("[EXPLANATION]: worse", "no idea"):
        _, reply = play(Heard(HYPOTHESES), refined)
        assert reply.explanation == "animals"
        assert "balanced accuracy 0.83" in reply.reason


@pytest.mark.parametrize(
    ("proposal", "outcome", "words"),
    [
        (Heard("nothing comes to mind"), "unparsable", "[HYPOTHESIS]:"),
        (Heard("I'm sorry, I cannot help with that."), "refused", "declined"),
        (Heard("", failure="timeout", reason="no reply in time"), "timeout", "no reply in time"),
    ],
)
def test_a_dialogue_without_a_hypothesis_ends_by_name(proposal: Heard, outcome: str, words: str) -> None:
    turns, reply = play(proposal, "")
    assert (len(turns), reply.outcome, reply.explanation) == (1, outcome, None)
    assert words in reply.reason


def test_an_explanation_in_place_of_hypotheses_is_tested_as_one() -> None:
    turns, reply = play(Heard("[EXPLANATION]: animals"), "[EXPLANATION]: worse")
    assert [len(turn) for turn in turns] == [1, 1, 1, 1]
    assert reply.explanation == "animals"


def test_a_test_that_cannot_be_read_counts_as_chance() -> None:
    talk = dialogue(EVIDENCE)
    next(talk)
    tests = talk.send([Heard(HYPOTHESES)])
    unread = [Heard("well"), Heard("", failure="timeout", reason="late"), fits(tests[2], ("king",))]
    [refinement] = talk.send(unread)
    assert description(refinement) == "royalty"  # the third one is worse than chance
    assert len(refinement.question.splitlines()) == 1 + 2 + 6


def test_what_is_counted_beforehand_is_as_long_as_what_is_asked() -> None:
    planned = assumed(EVIDENCE)
    assert len(planned) == CALLS
    assert planned[0] == prompt(EVIDENCE)
    turns, _ = play(Heard(HYPOTHESES), "[EXPLANATION]: beasts")
    asked = [each for turn in turns for each in turn]
    assert sum(len(p.text()) for p in planned) > sum(len(p.text()) for p in asked)


def test_windows_of_a_test_are_in_an_order_of_the_latents_own() -> None:
    orders: set[tuple[str, ...]] = set()
    for seed in range(10):
        talk = dialogue(Evidence(EVIDENCE.examples, EVIDENCE.counters, seed=seed))
        next(talk)
        orders.add(tuple(texts(talk.send([Heard(HYPOTHESES)])[0])))
    assert len(orders) > 5
