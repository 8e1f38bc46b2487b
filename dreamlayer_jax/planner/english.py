"""The English that the rules know: words that join phrases, name places, and count."""

from __future__ import annotations

import enum
import re


class Join(enum.Enum):
    """How a phrase meets the one before it."""

    LIST = "list"
    WITH = "with"
    PLACE = "place"
    NEAR = "near"
    """A place if the phrase names one, otherwise an object beside the other."""
    BEFORE = "before"
    """What comes first in the sentence is nearer to the viewer."""
    BEHIND = "behind"
    """What comes first in the sentence is farther from the viewer."""


JOINS: dict[str, Join] = {
    **dict.fromkeys((",", ";", "and", "&", "plus", "as well as", "along with", "together with"), Join.LIST),
    **dict.fromkeys(("with", "featuring", "containing"), Join.WITH),
    **dict.fromkeys(("on", "upon", "in", "inside", "within", "at", "against", "amid", "among", "during"), Join.PLACE),
    **dict.fromkeys(
        ("next to", "beside", "besides", "near", "by", "close to", "under", "underneath", "beneath", "below", "over", "above", "across",
         "along", "between", "around", "left of", "right of", "to the left of", "to the right of", "on the left of", "on the right of"),
        Join.NEAR,
    ),
    **dict.fromkeys(("in front of", "before", "on top of"), Join.BEFORE),
    **dict.fromkeys(("behind", "in back of", "at the back of"), Join.BEHIND),
}  # fmt: skip


def _words(lines: str) -> frozenset[str]:
    return frozenset(lines.split())


PLACES = _words("""
    alley bay beach bridge cave city cliff coast countryside desert dunes farm field floor forest garden grass harbor harbour hill hills
    island jungle kitchen lake lawn meadow moon moonlight mountain mountains night ocean park path pasture plain plaza pond rain river road
    room sand savanna sea seaside shore sky snow space square stage street studio sunlight sunrise sunset swamp town valley village water
    waterfall woods
""")
TIMES = _words("""
    afternoon autumn dawn daytime dusk evening fall fog midnight mist moonlight morning night noon rain spring storm summer sunlight
    sunrise sunset twilight winter
""")
BACK, FRONT = frozenset({"the background", "the distance", "the back"}), frozenset({"the foreground", "the front"})

DETERMINERS = _words("a an the one some several many this that his her their its my our your another")
NUMBERS = {word: count for count, words in ((2, "two 2 both"), (3, "three 3"), (4, "four 4"), (5, "five 5")) for word in words.split()}
ADJECTIVES = _words("""
    big black blue bright brown colorful colourful dark furry fluffy gold golden gray green grey happy large little long old orange pink
    purple red round shiny short silver small tall tiny violet white yellow young
""")
IRREGULAR = {
    "children": "child", "feet": "foot", "fish": "fish", "geese": "goose", "knives": "knife", "leaves": "leaf", "loaves": "loaf",
    "men": "man", "mice": "mouse", "oxen": "ox", "people": "person", "sheep": "sheep", "deer": "deer", "shelves": "shelf",
    "teeth": "tooth", "wolves": "wolf", "women": "woman", "buses": "bus", "vases": "vase", "houses": "house", "horses": "horse",
    "roses": "rose", "shoes": "shoe", "heroes": "hero", "potatoes": "potato", "tomatoes": "tomato",
}  # fmt: skip

_OPENING = re.compile(
    r"^(please )?((draw|paint|make|create|generate|show)( me)? )?"
    r"((an? |the )?(\w+ )?(photo|photograph|picture|image|painting|drawing) of )?"
    r"(there (is|are|stands?) )?",
    re.IGNORECASE,
)
_POSTURE = re.compile(
    r"( (is|are|that is|which is))?( (sits?|sitting|stands?|standing|lies|lying|rests?|resting|placed|located))?$", re.IGNORECASE
)


def without_opening(sentence: str) -> str:
    """ "Draw a picture of a dog" -> "a dog"."""
    return _OPENING.sub("", sentence, count=1)


def without_posture(phrase: str) -> str:
    """ "a dog is sitting" -> "a dog": before a place, the verb says nothing that the place does not."""
    return _POSTURE.sub("", phrase, count=1)


def head(phrase: str) -> str:
    """The noun that a phrase is about: "a cup of tea" -> "cup"."""
    return re.split(r" (?:of|with|in|on|at|from|who|that|which) ", phrase.lower())[0].split()[-1]


def is_place(phrase: str) -> bool:
    """ "a sandy beach", "a field of flowers"."""
    return head(phrase) in PLACES


def is_time(phrase: str) -> bool:
    """ "night", "the early morning"; not "a starry night", which is a place to be in."""
    words = phrase.lower().split()
    return words[-1] in TIMES and all(word in {"the", "early", "late", words[-1]} for word in words)


def each(phrase: str) -> list[str]:
    """A counted phrase as one phrase a thing: "two red apples" -> ["a red apple", "a red apple"]. Any other phrase as it is."""
    phrase = re.sub(r"^a (pair|couple) of ", "two ", phrase, flags=re.IGNORECASE)
    first, _, rest = phrase.partition(" ")
    count = NUMBERS.get(first.lower())
    if count is None or not rest:
        return [phrase]
    noun, rest = _counted(rest)
    one = re.sub(rf"\b{re.escape(noun)}\b", singular(noun), rest, count=1, flags=re.IGNORECASE)
    article = "an" if one[0].lower() in "aeiou" and not one.lower().startswith(("uni", "use", "eu", "one")) else "a"
    return [f"{article} {one}"] * count


def _counted(phrase: str) -> tuple[str, str]:
    """What is counted, and the phrase as far as it says what that is: of "cats sleeping" the posture is left out."""
    noun = head(phrase)
    words = phrase.split()
    if noun.endswith("ing") and len(words) > 1 and singular(noun) == noun:
        plurals = [i for i, word in enumerate(words) if singular(word.lower()) != word.lower() or word.lower() in IRREGULAR]
        if plurals:
            return words[plurals[-1]].lower(), " ".join(words[: plurals[-1] + 1])
    return noun, phrase


def singular(noun: str) -> str:
    """ "apples" -> "apple", "cherries" -> "cherry", "boxes" -> "box"."""
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    for ending, other in (
        ("ies", "y"),
        ("sses", "ss"),
        ("xes", "x"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("ss", "ss"),
        ("us", "us"),
        ("s", ""),
    ):
        if noun.endswith(ending) and len(noun) > len(ending) + 1:
            return noun.removesuffix(ending) + other
    return noun
