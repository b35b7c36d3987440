"""Targets: what is to be judged, as it was requested. Nothing here imports torch or an implementation."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from optreg.conformance.results.verdict import CannotBeJudged
from optreg.errors import OptregError, UnknownPluginError
from optreg.records import OptimizerPlugin, Registration
from optreg.registry import default_registry


@dataclass(frozen=True)
class Target:
    """What is to be judged, as it was requested: plain data that can be sent to another process.

    Args:
        name: a registered plugin's name, or `package.module:Class`.
        like: the registered plugin by whose reference the class is judged.
        reference: the reference that is no plugin's, `package.module:Dataclass`, by which the class is judged. A class
            with neither is judged alone, by plain runs of itself.
        params: the class's names for the reference's hyperparameters: `(("beta", "momentum"), ("b1", "betas[0]"))`.
        settings: values of the reference's hyperparameters that the class does not have.
        traits: declarations that differ from the registered plugin's.
        device: the device of the parameters: `"cpu"`, `"cuda"`.
        found: what trials have found out about a class: of one that is judged alone, how it can be run at all; of one
            with a reference, the traits in place of those declared. None if nobody has looked.
        mistakes: the mistakes that were found in the formula of a class.
        strict: whether the class is judged by what was asked for, whatever variant of the algorithm it is.
    """

    name: str
    like: str | None = None
    params: tuple[tuple[str, str], ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()
    traits: tuple[tuple[str, Any], ...] = ()
    device: str = "cpu"
    reference: str | None = None
    found: Mapping[str, Any] | None = None
    mistakes: tuple[str, ...] = ()
    strict: bool = False

    @property
    def formula(self) -> str | None:
        """The plugin or the dataclass by whose formula a class is judged."""
        return self.like or self.reference

    @property
    def alone(self) -> bool:
        """Whether it is a class that is judged without a reference, by plain runs of itself."""
        return ":" in self.name and not self.formula

    def __str__(self) -> str:
        return self.name

    def as_dict(self) -> dict[str, Any]:
        """The target as plain data; the inverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Target":
        """A target from plain data; the inverse of `as_dict`."""
        pairs = {name: tuple(map(tuple, data[name])) for name in ("params", "settings", "traits")}
        return cls(**{**data, **pairs, "mistakes": tuple(data["mistakes"])})


def registered(target: Target) -> Registration[Any]:
    """The registered plugin that a target names, or by which it is judged.

    Raises:
        CannotBeJudged: there is no such plugin, or it is broken.
    """
    name = target.like or target.name
    registry = default_registry()
    errors: list[UnknownPluginError] = []
    for load in (registry.optimizer, registry.scheduler):
        try:
            return load(name)
        except UnknownPluginError as error:
            errors.append(error)
        except OptregError as error:
            raise CannotBeJudged(str(error)) from error
    raise CannotBeJudged(str(max(errors, key=lambda error: (bool(error.matches), error.closest is not None))))


def kind_of(target: Target) -> Literal["optimizer", "scheduler"]:
    """Whether an optimizer or a schedule is to be judged, by a plugin's record: no implementation is imported.

    Raises:
        CannotBeJudged: there is no such plugin.
    """
    plugin = registered(target).plugin
    return "optimizer" if isinstance(plugin, OptimizerPlugin) else "scheduler"
