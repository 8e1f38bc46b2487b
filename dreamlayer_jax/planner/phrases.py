"""A sentence in phrases: one a thing, each with the word that joins it to the one before."""

from __future__ import annotations

import dataclasses
import re

from dreamlayer_jax.planner.english import (
    ADJECTIVES,
    BACK,
    DETERMINERS,
    FRONT,
    JOINS,
    NUMBERS,
    Join,
    is_place,
    is_time,
    without_opening,
    without_posture,
)

_WORDS = "|".join(map(re.escape, sorted(JOINS, key=len, reverse=True)))
_JOIN = re.compile(rf"\s*(?:([,;])(?:\s*(?:and|then)(?![\w-]))?|(?<![\w-])({_WORDS})(?![\w-]))\s*", re.IGNORECASE)


@dataclasses.dataclass(kw_only=True, eq=False)
class Phrase:
    """One thing that the sentence names."""

    text: str
    join: Join
    word: str
    """The joining word, as written."""
    depth: int = 0
    """-1 if the sentence says that it is at the back, 1 if at the front."""

    @property
    def says_when(self) -> bool:
        return self.join is Join.PLACE and is_time(self.text)


def phrases(sentence: str) -> list[Phrase]:
    """The phrases of a one-line sentence, in its order; "a black and white dog" and "a girl with a red hat" are one each."""
    found: list[Phrase] = []
    join, word = Join.LIST, ""
    for text, after in _pieces(without_opening(sentence)):
        if text:
            _add(found, Phrase(text=text, join=join, word=word))
            join, word = Join.LIST, ""
        if JOINS.get(after, Join.LIST) is not Join.LIST or not word:  # of ", on" and "and behind" the second word counts
            join, word = JOINS.get(after, Join.LIST), after
    for phrase in found:
        phrase.text = _plain(phrase.text)
    return _whole(found)


def setting(found: list[Phrase]) -> Phrase | None:
    """The phrase that says where: the last known place, or the last thing that something is on, in or at; None if there is none."""
    said = [phrase for phrase in found if phrase.join is Join.PLACE and not phrase.says_when]
    places = [phrase for phrase in found if phrase.join not in {Join.LIST, Join.WITH} and is_place(phrase.text) and not phrase.says_when]
    for candidates in ([phrase for phrase in said if phrase in places], places, said):
        if candidates:
            return candidates[-1]
    if found and found[0].join is Join.LIST and is_place(found[0].text):  # "a sandy beach with a dog"
        return found[0]
    return None


def _pieces(sentence: str) -> list[tuple[str, str]]:
    """Each piece of text with the joining word after it; the last has none."""
    parts = [*_JOIN.split(sentence), "", ""]
    return [(parts[i].strip(), (parts[i + 1] or parts[i + 2] or "").lower()) for i in range(0, len(parts) - 2, 3)]


def _add(found: list[Phrase], new: Phrase) -> None:
    """Appends a phrase, unless it is the rest of the one before or says how deep that one is."""
    last = found[-1] if found else None
    bare = new.text.split()[0].lower() not in DETERMINERS | NUMBERS.keys()
    if last and new.join is Join.LIST and bare and last.text.split()[-1].lower() in ADJECTIVES:
        last.text += f"{new.word if new.word in ',;' else ' ' + new.word} {new.text}"
    elif last and new.join is Join.PLACE and new.text.lower() in BACK | FRONT:
        last.depth = -1 if new.text.lower() in BACK else 1
    else:
        found.append(new)


def _whole(found: list[Phrase]) -> list[Phrase]:
    """Puts attributes back on what they belong to: "with" and "in", but for the place and for what a lone place is said to hold."""
    scene = setting(found)
    kept: list[Phrase] = []
    for phrase in found:
        inside = phrase.join is Join.PLACE and phrase.word not in {"on", "upon"} and phrase is not scene and not phrase.says_when
        with_it = phrase.join is Join.WITH and not (len(kept) == 1 and kept[0] is scene)
        if kept and (inside or with_it) and not kept[-1].says_when:
            kept[-1].text += f" {phrase.word} {phrase.text}"
        else:
            kept.append(phrase)
    return kept


def _plain(text: str) -> str:
    """Without "is sitting", and the first word's capital if it is "A" or "The"."""
    text = without_posture(text) or text
    first, _, rest = text.partition(" ")
    return f"{first.lower()} {rest}" if rest and first.lower() in DETERMINERS | NUMBERS.keys() else text
