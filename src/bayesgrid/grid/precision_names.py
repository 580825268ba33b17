"""What other programs call a numerical precision, and what it is called here."""

from collections.abc import Collection, Mapping
from typing import Any

from bayesgrid.errors import ConfigurationError

__all__ = ["PRECISION_ALIASES", "own_precision_name"]

PRECISION_ALIASES: Mapping[str, str] = {
    **dict.fromkeys(("fp32", "f32", "float", "full", "single", "tf32", "32", "torch.float32"), "float32"),
    **dict.fromkeys(("bf16", "bfloat", "bf16-mixed", "torch.bfloat16"), "bfloat16"),
    **dict.fromkeys(("8bit", "8-bit", "int8bit", "i8", "8", "llm.int8", "load_in_8bit"), "int8"),
    **dict.fromkeys(("4bit", "4-bit", "int4", "fp4", "nf-4", "4", "qlora", "load_in_4bit"), "nf4"),
}
"""The name here of what is meant, by the name elsewhere, in small letters."""

_HALF = frozenset({"fp16", "f16", "float16", "half", "16", "torch.float16", "fp16-mixed"})
"""Half precision, which no study computes in: its range is too small for the gradients of adapters."""


def own_precision_name(value: Any, allowed: Collection[str]) -> Any:
    """Return ``value`` unless it is another program's name of a precision.

    Args:
        value: as a file gives it.
        allowed: the names that the key takes.

    Raises:
        ConfigurationError: for such a name, saying what it is called here.
    """
    given = str(value).lower()
    if value in allowed or isinstance(value, bool):
        return value
    named = ", ".join(allowed)
    if given in _HALF:
        raise ConfigurationError(
            "there is no 16-bit precision but bfloat16, which has the range of float32",
            given=repr(value),
            allowed=named,
            remedy="write 'bfloat16'",
        )
    own = PRECISION_ALIASES.get(given, given)
    if own in allowed:
        raise ConfigurationError(
            "the precision has another name here", given=repr(value), allowed=named, remedy=f"write {own!r}"
        )
    return value
