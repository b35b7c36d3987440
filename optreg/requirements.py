"""What a component requires beyond the dependencies of its distribution, and whether that is installed.

A distribution says it by an extra that has the component's name, `"torch.Muon" = ["torch>=2.9"]` among its optional
dependencies. So metadata alone tells, and `pip install 'optreg[torch.muon]'` is the remedy.
"""

import importlib.metadata
import re
from collections.abc import Iterable


def missing(stated: Iterable[str], component: str) -> str | None:
    """The first requirement of a component that is not met, and what is installed instead; None if all are met.

    Args:
        stated: the requirements that its distribution states.
        component: its name.
    """
    own = [text for text in stated if canonical(component) in map(canonical, _EXTRA.findall(text))]
    return next(filter(None, (_unmet(text, component) for text in own)), None)


_EXTRA = re.compile(r"extra *== *['\"]([^'\"]+)")


def _unmet(text: str, extra: str) -> str | None:
    from packaging.requirements import InvalidRequirement, Requirement  # slower to import than all that is asked of it

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return f"'{text}', which is not a valid requirement"
    if not requirement.marker or not requirement.marker.evaluate({"extra": extra}):
        return None
    needed = f"{requirement.name}{requirement.specifier}"
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{needed}, which is not installed"
    except Exception:  # damaged metadata
        return f"{needed}, whose version cannot be read"
    try:
        met = requirement.specifier.contains(version, prereleases=True)
    except (TypeError, ValueError):  # it states none, or what is not a version
        return f"{needed}, and {requirement.name} states no valid version"
    if met:
        return None
    return f"{needed}, and {requirement.name} {version} is installed"


def canonical(name: str) -> str:
    """The one spelling of the name of a distribution (PEP 503) or of an extra (PEP 685)."""
    return re.sub(r"[-_.]+", "-", name).lower()
