"""The errors a user can meet, each saying what was wrong, where, what was given, what is allowed and what to do."""

import difflib
from collections.abc import Iterable

__all__ = [
    "BayesgridError",
    "ConfigurationError",
    "DataError",
    "NumericalError",
    "RunInUseError",
    "StateError",
    "did_you_mean",
    "nearest_name",
]


class BayesgridError(Exception):
    """Base of all errors that are the input's or the machine's fault rather than a defect of the program.

    Args:
        what: the fault, as a sentence without a full stop.
        where: the file, experiment, key or row it was found in.
        given: the offending value.
        allowed: what would have been accepted.
        remedy: what the user can do now.
    """

    kind = "error"

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        given: object = None,
        allowed: object = None,
        remedy: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.given = given
        self.allowed = allowed
        self.remedy = remedy
        super().__init__(self._message())

    def _message(self) -> str:
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.given is not None:
            parts.append(f"given: {self.given}")
        if self.allowed is not None:
            parts.append(f"allowed: {self.allowed}")
        if self.remedy is not None:
            parts.append(self.remedy)
        return "; ".join(parts)


class ConfigurationError(BayesgridError, ValueError):
    """An experiment, data-set, claim or profile file that cannot be used as it stands."""

    kind = "configuration"


class DataError(BayesgridError, ValueError):
    """A data file or row that is missing, altered or malformed."""

    kind = "data"


class StateError(BayesgridError, RuntimeError):
    """A checkpoint, result or run folder that cannot be read, or does not belong to the run that reads it."""

    kind = "state"


class RunInUseError(StateError):
    """Another process holds the run."""

    kind = "in_use"


class NumericalError(BayesgridError, ArithmeticError):
    """A computation that left the range in which its result means anything (NaN loss, singular matrix)."""

    kind = "numerical"


def did_you_mean(given: str, known: Iterable[str]) -> str | None:
    """Return ``did you mean 'name'?`` for the known name most like ``given``, or None when nothing comes close."""
    nearest = nearest_name(given, known)
    return f"did you mean {nearest!r}?" if nearest else None


def nearest_name(given: str, known: Iterable[str]) -> str | None:
    """Return the known name most like ``given``, or None when nothing comes close."""
    matches = difflib.get_close_matches(given, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None
