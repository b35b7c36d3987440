"""Remedies: what people write who know other configuration languages, and what to write here instead."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from optreg.errors import closest, did_you_mean

CLASS_KEYS: Final = ("class_path", "_target_")
"""The keys that name a class in Lightning's and in Hydra's configurations."""

_NUMBER = re.compile(r"[0-9.]+")
"""A key that was meant as an item of a list: `{betas: 0.9, 0.95}`."""

_INTERPOLATION = re.compile(r"\$\{.*\}")
"""A reference to another value, in OmegaConf's language."""


def for_unknown_key(key: str, value: Any, choices: Sequence[str]) -> str:
    """What to do about a parameter that does not exist; it begins with a semicolon."""
    if isinstance(value, dict) and not closest(key, choices):
        return "; write what is in it one level higher, in its place"
    if _NUMBER.fullmatch(key):
        return "; write a list in brackets: [0.9, 0.95]"
    if key in CLASS_KEYS:
        return "; 'name' says which plugin it is, so remove it"
    return did_you_mean(key, choices)


def for_class(place: object, names: Sequence[str]) -> str:
    """What to write for a class, such as `torch.optim.AdamW`; `names` are those of the plugins."""
    parts = set(str(place).lower().split("."))
    same = max((name for name in names if set(name.split(".")) <= parts), key=len, default=None)
    return f"write 'name: {same}'" if same else f"write 'name: ...', one of {', '.join(names)},"


def placeholders(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The keys whose values are still to come, as OmegaConf marks them, each with what to do."""
    for key, value in data.items():
        if value == "???":
            yield key, "the value is missing ('???'); set it"
        elif isinstance(value, str) and _INTERPOLATION.search(value):
            remedy = "write the value, or pass the resolved configuration"
            yield key, f"the interpolation '{value}' is not resolved here; {remedy}"


def for_unreadable(error: Exception) -> str:
    """What to do about a value that its container does not give, as OmegaConf does not give a missing one."""
    kind, said = type(error).__name__, f"{error}".partition("\n")[0]
    if kind == "MissingMandatoryValue":
        return "the value is missing ('???'); set it"
    if kind.startswith("Interpolation"):
        return f"the interpolation leads to no value: {said}"
    return f"the value cannot be read: {kind}: {said}"
