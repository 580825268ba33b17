"""Games whose preferences are known exactly and go in circles: items, payoffs, votes and features.

A payoff ``S [n, n]`` is skew-symmetric, and item i is preferred to j with probability ``sigmoid(S_ij / temperature)``.
A model sees features of the items alone, a random map of the coordinates that the payoff depends on, so that it can be
asked about items it has never seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from bayesgrid.data.preference_pairs import PreferencePairs
from bayesgrid.data.preference_texts import Message, Prompt, Response, prompt_id
from bayesgrid.grid.preference_sets import (
    Blotto,
    DiscGame,
    DominantCycle,
    EloCycle,
    Game,
    GameParameters,
    RockPaperScissors,
)
from bayesgrid.random_streams import random_stream

__all__ = ["PlayedGame", "allocations", "game_pairs", "lifted_features", "play"]

_STREAM = "preference game"


@dataclass(frozen=True, eq=False)
class PlayedGame:
    """The items of a game.

    Args:
        names: what each of n items is called, in words that differ.
        coordinates: what its payoffs depend on ``[n, c]``.
        payoff: ``S [n, n]``, positive where the row's item beats the column's.
    """

    names: tuple[str, ...]
    coordinates: NDArray[np.float64]
    payoff: NDArray[np.float64]


def play(game: Game, seed: int) -> PlayedGame:
    """Return items and payoffs of ``game``; ``seed`` draws the items of those that have random ones."""
    match game:
        case Blotto():
            coordinates = np.array(list(allocations(game.soldiers, game.fields)), dtype=np.float64)
            fields_won = np.sign(coordinates[:, None, :] - coordinates[None, :, :]).sum(axis=2)
            names = tuple(" ".join(str(int(soldiers)) for soldiers in row) for row in coordinates)
            return PlayedGame(names, coordinates, np.sign(fields_won))
        case RockPaperScissors():
            return PlayedGame(_numbered(game.items), _phases(game.items), _cycle(game.items))
        case DiscGame():
            generator = random_stream(seed, f"{_STREAM}: disc")
            angle = generator.uniform(0, 2 * np.pi, game.items)
            # The root makes the density uniform over the disc's area.
            radius = np.sqrt(generator.uniform(0, 1, game.items))
            points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
            return PlayedGame(_numbered(game.items), points, _area(points))
        case EloCycle():
            drawn = random_stream(seed, f"{_STREAM}: elo").standard_normal((game.items, 3))
            payoff = drawn[:, :1] - drawn[:, 0] + game.cyclic * _area(drawn[:, 1:])
            return PlayedGame(_numbered(game.items), drawn, payoff)
        case DominantCycle():
            payoff = np.zeros((game.items, game.items))
            payoff[0, 1:], payoff[1:, 0] = 1, -1
            payoff[1:, 1:] = _cycle(game.items - 1)
            coordinates = np.zeros((game.items, 3))
            coordinates[0, 0] = 1
            coordinates[1:, 1:] = _phases(game.items - 1)
            return PlayedGame(_numbered(game.items), coordinates, payoff)


def allocations(soldiers: int, fields: int) -> Iterator[tuple[int, ...]]:
    """Yield every way to send ``soldiers`` to ``fields``, some of them empty: C(soldiers + fields - 1, fields - 1)."""
    if fields == 1:
        yield (soldiers,)
        return
    for here in range(soldiers + 1):
        for rest in allocations(soldiers - here, fields - 1):
            yield (here, *rest)


def game_pairs(parameters: GameParameters) -> PreferencePairs:
    """Return all n (n - 1) / 2 pairs of the items of a game, without name and version, with features of the items."""
    played = play(parameters.game, parameters.seed)
    first, second = np.triu_indices(len(played.names), k=1)
    truth = expit(played.payoff[first, second] / parameters.temperature)
    votes, probability = np.zeros((first.size, 3), dtype=np.float32), truth
    if parameters.votes:
        for_first = random_stream(parameters.seed, f"{_STREAM}: votes").binomial(parameters.votes, truth)
        votes[:, 0], votes[:, 1] = for_first, parameters.votes - for_first
        probability = for_first / parameters.votes
    messages = (Message("user", f"Which strategy of the game {parameters.game.name!r} wins?"),)
    identity = prompt_id(messages)
    return PreferencePairs(
        "",
        "",
        (Prompt(identity, messages),),
        tuple(Response(f"{identity}-{number}", 0, name) for number, name in enumerate(played.names)),
        first=first.astype(np.int64),
        second=second.astype(np.int64),
        prompt=np.zeros(first.size, dtype=np.int64),
        votes=votes,
        probability=np.asarray(probability, dtype=np.float64),
        pair_ids=tuple(f"{one}-{other}" for one, other in zip(first.tolist(), second.tolist(), strict=True)),
        subsets=(None,) * first.size,
        item_features=lifted_features(played.coordinates, parameters),
    )


def lifted_features(coordinates: NDArray[np.float64], parameters: GameParameters) -> NDArray[np.float32]:
    """Return features ``[n, f]`` of items with ``coordinates [n, c]``, by the random map that ``parameters`` describe.

    Coordinates are standardised first. The map is a function of the seed alone, and keeps the scale of its input.
    """
    deviation = coordinates.std(axis=0)
    standard = (coordinates - coordinates.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    generator = random_stream(parameters.seed, f"{_STREAM}: {parameters.lift} lift")
    lifted = standard
    if parameters.lift == "mlp":
        hidden = _projected(standard, parameters.hidden, generator)
        lifted = np.tanh(hidden + generator.standard_normal(parameters.hidden))
    return _projected(lifted, parameters.features, generator).astype(np.float32)


def _projected(values: NDArray[np.float64], width: int, generator: np.random.Generator) -> NDArray[np.float64]:
    weights = generator.standard_normal((values.shape[1], width)) / np.sqrt(values.shape[1])
    projected: NDArray[np.float64] = values @ weights
    return projected


def _area(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the signed areas ``[n, n]`` that points ``[n, 2]`` span in pairs."""
    x, y = points[:, 0], points[:, 1]
    return np.outer(x, y) - np.outer(y, x)


def _cycle(items: int) -> NDArray[np.float64]:
    places = np.arange(items)
    ahead = (places[:, None] - places[None, :]) % items
    return np.where(ahead == 0, 0.0, np.where(ahead <= (items - 1) // 2, 1.0, -1.0))


def _phases(items: int) -> NDArray[np.float64]:
    angle = 2 * np.pi * np.arange(items) / items
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _numbered(items: int) -> tuple[str, ...]:
    return tuple(f"strategy {number}" for number in range(items))
