"""The keys of a run's parameters as experiment files and presets spell them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bayesgrid.errors import ConfigurationError, nearest_name
from bayesgrid.grid.parameters import flatten

__all__ = ["checked_keys"]


def checked_keys(values: Mapping[str, Any], known: Sequence[str], where: str) -> dict[str, Any]:
    """Return ``values``, parameters of a run as a file gives them, with dotted keys.

    Args:
        values: nested or dotted.
        known: the dotted keys of the study.
        where: the file and the key they stand under.

    Raises:
        ConfigurationError: for a key that the study does not have, with the nearest one and those of its group; or one
            that is there nested and dotted, with two values.
    """
    _refuse_two_values(values, where)
    flat = flatten(values)
    for key in flat:
        if key == "seeds":
            raise ConfigurationError("seeds are named by the experiment's own key 'seeds'", where=where)
        if key not in known:
            nearest = _nearest_key(key, known)
            raise ConfigurationError(
                f"unknown key {key!r}" + (f" (did you mean {nearest!r}?)" if nearest else ""),
                where=where,
                allowed=", ".join(_group_of(key, known) or _group_of(nearest or "", known) or _top(known)),
            )
    return flat


def _refuse_two_values(values: Mapping[str, Any], where: str) -> None:
    found: dict[str, tuple[str, Any]] = {}
    for key, spelling, value in _spellings(values):
        earlier, other = found.setdefault(key, (spelling, value))
        if other != value:
            raise ConfigurationError(
                f"the key {key!r} is there twice, with different values",
                where=where,
                given=f"'{earlier}' and '{spelling}'",
                remedy="keep one of them",
            )


def _spellings(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield the dotted key of every value, how the file spells key and value, and the value."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            for below, spelling, leaf in _spellings(value, f"{prefix}{key}."):
                yield below, f"{key}: {{{spelling}}}", leaf
        else:
            yield f"{prefix}{key}", f"{key}: {value}", value


def _nearest_key(key: str, known: Sequence[str]) -> str | None:
    """Return the key most like ``key``: in its own group if there is such a group, else by its last part too."""
    beside = _group_of(key, known)
    if not beside and (whole := nearest_name(key, known)):
        return whole
    names = {name.rpartition(".")[2]: name for name in reversed(beside or known)}
    nearest = nearest_name(key.rpartition(".")[2], names)
    return names[nearest] if nearest else None


def _group_of(key: str, known: Sequence[str]) -> list[str]:
    group = key.partition(".")[0]
    return [name for name in known if name.startswith(f"{group}.")]


def _top(known: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name if "." not in name else f"{name.partition('.')[0]}.*" for name in known))
