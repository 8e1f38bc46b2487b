"""A sentence split by rules of English: offline, the same every time.

The sentence is cut into phrases at the words that join them (`english.JOINS`). Then:

* The background is the phrase that says where ("on a sandy beach"), a known place before any other thing; what says when joins it
  ("a beach at sunset"). Where nothing says where, it is what is said to be in the background, or the time ("night"), or the one thing
  that a depth word puts behind all others ("a cat in front of a house").
* The other phrases are foregrounds, farther ones first, by "in front of", "behind", "on", and "in the background"; the order of the
  sentence decides the rest. A counted phrase gives that many foregrounds.
* A sentence without a background is an error: a neutral one would be a guess about the picture.
"""

from __future__ import annotations

from itertools import pairwise, product

from dreamlayer_jax.planner.english import Join, each
from dreamlayer_jax.planner.phrases import Phrase, phrases, setting
from dreamlayer_jax.planner.plan import Plan, PlanError, check_sentence


def plan_by_rules(sentence: str) -> Plan:
    """Splits an English sentence. Raises `PlanError` if it names no background or nothing in front of it."""
    line = check_sentence(sentence)
    found = phrases(line.rstrip(" .!"))
    background = _background(found)
    if background is None:
        raise PlanError(
            f"{line!r} does not say where it is; name a background, as in 'a dog and a red apple on a sandy beach', or give --background"
        )
    things = [phrase for phrase in found if phrase is not background and not phrase.says_when]
    if not things:
        raise PlanError(f"{line!r} names only a background, {background.text!r}; name what is in front of it too")
    when = [f"{phrase.word} {phrase.text}" for phrase in found if phrase is not background and phrase.says_when]
    return Plan(
        background=" ".join([background.text, *when]),
        foregrounds=tuple(text for phrase in _far_to_near(things) for text in each(phrase.text)),
    )


def _background(found: list[Phrase]) -> Phrase | None:
    said = setting(found)
    if said is not None:
        return said
    things = [phrase for phrase in found if not phrase.says_when]
    behind = _behind(things)
    at_the_back = [phrase for phrase in found if phrase.depth < 0]
    times = [phrase for phrase in found if phrase.says_when]
    behind_all = [far for far in things if len(things) > 1 and all(far is near or (far, near) in behind for near in things)]
    return next(iter([*at_the_back, *times, *behind_all]), None)


def _far_to_near(things: list[Phrase]) -> list[Phrase]:
    """Again and again the first in the sentence that has nothing left behind it."""
    behind, left, order = _behind(things), list(things), []
    while left:
        farthest = [near for near in left if not any((far, near) in behind for far in left)]
        order.append((farthest or left)[0])  # none is farthest where the sentence contradicts itself
        left.remove(order[-1])
    return order


def _behind(things: list[Phrase]) -> set[tuple[Phrase, Phrase]]:
    """Pairs (far, near). A depth word relates all that was listed before it to all that is listed after it."""
    groups: list[tuple[Join, list[Phrase]]] = []
    for thing in things:
        join = Join.BEFORE if thing.join is Join.PLACE else thing.join  # "a cup on a table": the cup is nearer
        if join in {Join.BEFORE, Join.BEHIND}:
            groups.append((join, [thing]))
        elif groups and not (len(groups) == 1 and groups[0][0] in {Join.BEFORE, Join.BEHIND}):
            groups[-1][1].append(thing)
        else:
            groups.insert(0, (Join.LIST, [thing]))  # the sentence began with the depth word: "in front of a house, a cat"
    pairs: set[tuple[Phrase, Phrase]] = set()
    for (_, first), (join, second) in pairwise(groups):
        pairs |= set(product(second, first) if join is Join.BEFORE else product(first, second))
    pairs |= {(thing, other) for thing in things for other in things if thing.depth < other.depth}
    return pairs
