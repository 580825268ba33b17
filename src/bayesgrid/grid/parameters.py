"""Typed groups of parameters, their dotted keys, and one-line errors when a file does not fit them."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Any, TypeVar, Union, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from bayesgrid.errors import ConfigurationError, did_you_mean, nearest_name

__all__ = [
    "Parameters",
    "counted",
    "flatten",
    "leaf_keys",
    "listed",
    "located",
    "nest",
    "unknown",
    "validate_parameters",
]

Model = TypeVar("Model", bound=BaseModel)

_LISTED = 10
"""Names that a message gives of a long list."""


class Parameters(BaseModel):
    """A group of named values: no unknown keys, no silent conversions (``"3"`` is not 3), immutable."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def validate_parameters(model: type[Model], values: object, *, where: str) -> Model:
    """Return ``values``, plain data as read from YAML or JSON, as an instance of ``model``.

    Raises:
        ConfigurationError: naming ``where``, the key, what was given, what is allowed and the nearest valid name.
    """
    try:
        # Through JSON, because strict validation accepts a list for a tuple only there.
        return model.model_validate_json(json.dumps(values))
    except TypeError as error:
        raise ConfigurationError(f"not plain data: {error}", where=where) from None
    except ValidationError as error:
        raise _configuration_error(model, error, where) from None


def located(error: ConfigurationError, place: str) -> ConfigurationError:
    """Return ``error`` as one found at ``place``, with the place that it names itself, such as a file, in brackets."""
    where = f"{place} ({error.where})" if error.where else place
    return ConfigurationError(error.what, where=where, given=error.given, allowed=error.allowed, remedy=error.remedy)


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return ``unknown <what> '<name>'``, and right behind it the known name that is nearest, if one comes close."""
    question = did_you_mean(name, known)
    return f"unknown {what} {name!r} ({question})" if question else f"unknown {what} {name!r}"


def listed(names: Iterable[str], near: str) -> str:
    """Return ``names`` with commas between; of many only the ten most like ``near``, in their order, and how many more.

    Two that are left out take as much room as the words that say so, so twelve are given in full.
    """
    known = list(dict.fromkeys(names))
    if len(known) <= _LISTED + 2:
        return ", ".join(known)
    likeness = {name: difflib.SequenceMatcher(None, name, near).ratio() for name in known}
    nearest = set(sorted(known, key=lambda name: -likeness[name])[:_LISTED])
    return f"{', '.join(name for name in known if name in nearest)} and {len(known) - len(nearest)} more"


def counted(count: int, name: str) -> str:
    """Return ``1 run`` or ``2 runs`` for the name of one."""
    return f"{count} {name if count == 1 else f'{name}s'}"


def leaf_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the dotted key of every value of ``model``, groups taken apart: ``training.learning_rate``."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaf_keys(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one mapping with dotted keys; keys that are dotted already are kept."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with dotted keys as nested mappings; the inverse of :func:`flatten`."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *groups, last = key.split(".")
        target = nested
        for group in groups:
            target = target.setdefault(group, {})
        target[last] = value
    return nested


def _configuration_error(model: type[BaseModel], error: ValidationError, where: str) -> ConfigurationError:
    faults = error.errors(include_url=False, include_context=True)
    # A misspelt required key is unknown and missing at once; the spelling is what helps.
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    key = _key_at(model, fault["loc"])
    # A value that fits no member of a union has a fault for each; together they say what is allowed.
    own = [f for f in faults if _key_at(model, f["loc"]) == key] if fault["type"] != "extra_forbidden" else [fault]
    further = len(faults) - len(own)
    more = f" ({counted(further, 'further fault')})" if further else ""
    if fault["type"] == "extra_forbidden":
        known = _fields_at(model, fault["loc"][:-1])
        group, separator, last = key.rpartition(".")
        nearest = nearest_name(last, known)
        return ConfigurationError(
            f"unknown key {key!r}" + (f" (did you mean {group + separator + nearest!r}?)" if nearest else "") + more,
            where=where,
            allowed=", ".join(known),
        )
    if fault["type"] == "missing":
        return ConfigurationError(f"the key {key!r} is missing{more}", where=where)
    cause = fault.get("ctx", {}).get("error")
    if isinstance(cause, ConfigurationError):
        given = repr(fault["input"]) if cause.given is None else cause.given
        return ConfigurationError(
            f"key {key!r}: {cause.what}{more}", where=where, given=given, allowed=cause.allowed, remedy=cause.remedy
        )
    words = _words_of(own)
    if words is not None:
        given = fault["input"]
        question = did_you_mean(given, words) if isinstance(given, str) else None
        return ConfigurationError(
            f"key {key!r}: not a value it can have" + (f" ({question})" if question else "") + more,
            where=where,
            given=repr(given),
            allowed=listed(map(repr, words), repr(given)),
        )
    message = " or ".join(dict.fromkeys(f["msg"].removeprefix("Value error, ") for f in own))
    message = message.replace(" or Input should be", " or")
    return ConfigurationError(
        f"key {key!r}: {message}{more}", where=where, given=repr(fault["input"]), remedy=_nearest_word(own)
    )


def _words_of(faults: Sequence[Any]) -> list[str] | None:
    """Return the words a key allows; None if it allows anything else."""
    # Pydantic lists the values of a literal in one string, words in quotes.
    if any(fault["type"] != "literal_error" for fault in faults):
        return None
    lists = [str(fault["ctx"]["expected"]) for fault in faults]
    unquoted = "".join(re.sub(r"'[^']*'", "", text) for text in lists)
    if re.sub(r"\bor\b|[,\s]", "", unquoted):
        return None
    return [word for text in lists for word in re.findall(r"'([^']*)'", text)]


def _nearest_word(faults: Sequence[Any]) -> str | None:
    """Return which of the words that a key allows is most like the one it was given, as a question."""
    given = faults[0]["input"]
    # Pydantic lists the values of a literal in one string, words in quotes.
    lists = [str(fault["ctx"]["expected"]) for fault in faults if fault["type"] == "literal_error"]
    words = [word for listed in lists for word in re.findall(r"'([^']*)'", listed)]
    return did_you_mean(given, words) if isinstance(given, str) else None


def _key_at(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """Return the dotted key of a fault, without the names that pydantic gives to the members of a union."""
    parts: list[str] = []
    annotation: Any = model
    for part in location:
        if isinstance(part, str) and get_origin(annotation) in (Union, UnionType):
            annotation = None
            continue
        parts.append(str(part))
        known = annotation.model_fields if isinstance(annotation, type) and issubclass(annotation, BaseModel) else {}
        annotation = known[str(part)].annotation if str(part) in known else None
    return ".".join(parts)


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    current: type[BaseModel] = model
    for part in location:
        field = current.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            break
        current = field.annotation
    return list(current.model_fields)
