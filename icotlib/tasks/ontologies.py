"""Random ontologies by the published rule of ProntoQA (arXiv 2210.01240), and facts about them.

Drawn as by the authors' generator with relevant distractors and facts in random order. Levels of
concepts stand above each other. A concept is a kind of the one above it, and of another one that
leads no further; each of these two has a property or lacks it. A person is one of the concepts, and
is asked for a property that follows after some hops. Two distractors stand beside the levels: a
second concept of the person, with a property and a concept above it; and a rule that states the
opposite of the conclusion, about a concept that no other fact mentions.

A level takes two of the thirteen families of properties, the generator spends one below the last
level, and two must be left for the second concept: hence at most five levels.
"""

from typing import Any

import numpy as np

from icotlib.tasks.prose import permutations

PEOPLE = ("Alex", "Fae", "Max", "Polly", "Rex", "Sally", "Sam", "Stella", "Wren")
CONCEPTS = (
    *("brimpus", "dumpus", "gorpus", "grimpus", "impus", "jompus", "lempus", "lorpus", "numpus"),
    *("rompus", "shumpus", "sterpus", "tumpus", "vumpus", "wumpus", "yumpus", "zumpus"),
)
#: Properties by families, of which a question takes one property each.
FAMILIES = (
    ("blue", "brown", "orange", "red"),
    ("large", "small"),
    ("liquid", "luminous", "metallic", "wooden"),
    ("opaque", "transparent"),
    ("feisty", "happy", "nervous", "shy"),
    ("bright", "dull"),
    ("bitter", "sour", "spicy", "sweet"),
    ("earthy", "floral", "fruity"),
    ("cold", "hot", "temperate"),
    ("aggressive", "amenable", "angry", "kind", "mean"),
    ("discordant", "loud", "melodic", "muffled"),
    ("fast", "moderate", "slow"),
    ("overcast", "rainy", "snowy", "sunny", "windy"),
)
PROPERTIES = tuple(word for family in FAMILIES for word in family)

#: The most levels, which is the most hops too.
LEVELS = 5

#: How often a property is negated: in general, of a concept that the proof passes, and where the
#: proof ends. The generator negates one in three. Then it walks up, at each concept on with weight
#: 1, or to its property with weight 0.3 (0.7 where negated), and drops walks of another length.
NEGATED, PASSED, ENDED = (
    1 / 3,
    (1 / 3 / 1.7) / (1 / 3 / 1.7 + 2 / 3 / 1.3),
    (1 / 3 * 0.7 / 1.7) / (1 / 3 * 0.7 / 1.7 + 2 / 3 * 0.3 / 1.3),
)

#: Facts of a question with all levels: four for each, two about the second concept, the rule that
#: states the opposite, and two about the person.
FACTS = 4 * LEVELS + 5


def draw(rng: np.random.Generator, hops: np.ndarray) -> tuple[np.ndarray, ...]:
    """Facts, and whom and what is asked, for questions of so many hops `[n]`.

    Words are numbered from 1 in the order people, concepts, properties.

    Returns subjects, objects and negations of the facts `[3, n, FACTS]`, in random order, those
    about the person last, unused places 0 at the end; and person and property `[n]` each.
    """
    n, rows = len(hops), np.arange(len(hops))
    levels = _levels(rng, hops)
    start = hops + np.floor(rng.random(n) * (levels - hops + 1)).astype(int)
    end = start - hops + 1
    person = 1 + rng.integers(len(PEOPLE), size=(n, 1))
    names = 1 + len(PEOPLE) + permutations(rng, n, len(CONCEPTS))
    # Concepts from the top; for each but the first the other one that it is a kind of; the person's
    # second concept and the one above it; the concept of the rule that states the opposite.
    tower, other = names[:, : LEVELS + 1], names[:, LEVELS + 1 : 2 * LEVELS + 1]
    second, parent, opposed = (names[:, [i]] for i in range(2 * LEVELS + 1, 2 * LEVELS + 4))
    properties = _properties(rng, n)
    negated = rng.random((n, 2 * LEVELS + 1)) < NEGATED
    negated[:, :LEVELS] = _negated(rng, start, end)
    asked, opposite = properties[rows, end - 1, None], ~negated[rows, end - 1, None]
    there = np.arange(1, LEVELS + 1) <= levels[:, None]
    rules = [
        (tower[:, 1:], tower[:, :-1], False, there),
        (tower[:, 1:], other, False, there),
        (tower[:, 1:], properties[:, :LEVELS], negated[:, :LEVELS], there),
        (other, properties[:, LEVELS:-1], negated[:, LEVELS:-1], there),
        (second, parent, False, True),
        (second, properties[:, -1:], negated[:, -1:], True),
        (opposed, asked, opposite, True),
    ]
    about_person = [
        (person, tower[rows, start, None], False, True),
        (person, second, False, True),
    ]
    facts = np.concatenate(
        [_in_random_order(rng, rules), _in_random_order(rng, about_person)], axis=2
    )
    used_first = (facts[0] == 0).argsort(axis=1, kind="stable")
    facts = np.take_along_axis(facts, used_first[None], axis=2)
    return facts, person[:, 0], asked[:, 0]


def _levels(rng: np.random.Generator, hops: np.ndarray) -> np.ndarray:
    """The number of levels of each question, `[n]`: at least as many as hops.

    The generator ends below a level with probability `1 / (2 (hops + 2))`.
    """
    number = np.arange(1, LEVELS + 1)
    share = (1 - 1 / (2 * (hops[:, None] + 2))) ** number * (number >= hops[:, None])
    drawn = rng.random((len(hops), 1)) * share.sum(axis=1, keepdims=True)
    return number[(share.cumsum(axis=1) <= drawn).sum(axis=1)]


def _properties(rng: np.random.Generator, n: int) -> np.ndarray:
    """Properties of different families, `[n, 2 LEVELS + 1]`."""
    sizes = np.array([len(family) for family in FAMILIES])
    first = 1 + len(PEOPLE) + len(CONCEPTS) + sizes.cumsum() - sizes
    family = permutations(rng, n, len(FAMILIES))[:, : 2 * LEVELS + 1]
    return first[family] + np.floor(rng.random(family.shape) * sizes[family]).astype(int)


def _negated(rng: np.random.Generator, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Whether the property of each level is negated, `[n, LEVELS]`, for proofs that begin at one
    level `[n]` and end at another."""
    level, start, end = np.arange(1, LEVELS + 1), start[:, None], end[:, None]
    passed = (end < level) & (level <= start)
    often = np.where(level == end, ENDED, np.where(passed, PASSED, NEGATED))
    return rng.random(often.shape) < often


def _in_random_order(rng: np.random.Generator, blocks: list[tuple[Any, ...]]) -> np.ndarray:
    """Subjects, objects and negations `[3, n, facts]` of blocks of facts: subjects and objects
    `[n, some]`, whether they are negated, and whether they are there; 0 where they are not."""
    columns = [
        np.hstack([np.broadcast_to(block[part], block[0].shape) for block in blocks])
        for part in range(4)
    ]
    order = permutations(rng, *columns[0].shape)
    facts = [np.where(columns[3], part, 0) for part in columns[:3]]
    return np.stack([np.take_along_axis(part, order, axis=1) for part in facts])
