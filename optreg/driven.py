"""Driven: what a scheduler sets and keeps in the param groups of an optimizer, beside what a checkpoint has there."""

import itertools
from collections.abc import Mapping, Sequence, Set
from typing import Any

from optreg.differences import Difference, as_setting, copied, plain
from optreg.on_resume import Schedule
from optreg.records import SchedulePlugin
from optreg.spec import Component

Groups = Sequence[Mapping[str, Any]]


class Driven:
    """The part of the param groups that belongs to a scheduler; nothing of it before one is made.

    Args:
        component: the schedule and its settings.
        names: the keys that it sets, besides the rate.
        keys: for each group, the entries that came with the scheduler.
        scheduled: for each group, the settings that follow schedules of their own.
    """

    def __init__(
        self,
        component: Component | None = None,
        names: Set[str] = frozenset(),
        keys: Groups = (),
        scheduled: Sequence[Set[str]] = (),
    ) -> None:
        self.component = component
        self.names = names
        self.keys = keys
        self.scheduled = scheduled
        self.adopted: dict[str, Any] = {}
        """Settings of the schedule that were taken from a checkpoint."""

    def after(
        self,
        component: Component | None,
        groups: Groups,
        before: Sequence[Set[str]],
        stated: Groups,
        scheduled: Sequence[Set[str]] = (),
    ) -> "Driven":
        """What is driven once another scheduler was made.

        Args:
            component: the schedule and its settings; None for phases.
            groups: the optimizer's param groups.
            before: the keys that each group had before.
            stated: for each group, the settings that the spec states.
            scheduled: for each group, the settings that follow schedules of their own.
        """
        plugin = component.registration.plugin if component else None
        sets = {*plugin.traits.drives} if isinstance(plugin, SchedulePlugin) else set()
        keys = [
            {key: copied(group[key]) for key in group.keys() - had - {"initial_lr"}}
            for group, had in zip(groups, before, strict=True)
        ]
        for added, group, own in zip(keys, groups, stated, strict=False):
            if "lr" in own and plain(group.get("initial_lr", own["lr"])) != plain(own["lr"]):
                added["initial_lr"] = copied(group["initial_lr"])  # torch's OneCycleLR sets it, whatever lr is
        return Driven(component, self.names | sets, keys, scheduled)

    @property
    def sets_base_rates(self) -> bool:
        """Whether the scheduler has its own base rates, in any group."""
        return any("initial_lr" in added for added in self.keys)

    def of_group(self, index: int) -> Mapping[str, Any]:
        """The entries of a group that came with the scheduler; none if the group was added later."""
        return self.keys[index] if index < len(self.keys) else {}

    def scheduled_in(self, index: int) -> Set[str]:
        """The settings of a group that follow schedules of their own; none if the group was added later."""
        return self.scheduled[index] if index < len(self.scheduled) else frozenset()

    def names_in(self, saved: Mapping[str, Any]) -> Set[str]:
        """The settings of a group of a checkpoint that its schedule drove."""
        return self.names | ({"momentum"} if "max_momentum" in saved else set())  # torch's OneCycleLR and CyclicLR

    def adopt(self, values: Mapping[str, Any] | None) -> None:
        """The schedule goes on with values of a checkpoint."""
        known = {*self.component.settings, "warmup_steps"} if self.component else set()
        self.adopted |= {key: as_setting(value) for key, value in (values or {}).items() if key in known}

    def settle(
        self, choice: Schedule, groups: Groups, sources: Sequence[Groups]
    ) -> tuple[list[dict[str, Any]], dict[str, Any], list[Difference]]:
        """Compare the entries that came with the scheduler with a checkpoint's.

        Args:
            choice: the field `schedule` of `OnResume`.
            groups: the optimizer's param groups.
            sources: for each, the checkpoint's groups that it gets parameters from.

        Returns:
            For each group, what changes in the checkpoint's entries; the settings to adopt; what is refused.
        """
        known = self.component.settings if self.component else {}
        changes: list[dict[str, Any]] = [{} for _ in groups]
        taken: dict[str, Any] = {}
        differences: list[Difference] = []
        for index, group in enumerate(groups):
            for (key, ours), source in itertools.product(self.of_group(index).items(), sources[index]):
                theirs = source.get(key)
                if choice == "checkpoint" and key in known and theirs is not None:
                    taken[key] = theirs
                elif plain(theirs) not in (plain(ours), plain(group.get(key))):
                    if choice in {"follow", "branch"}:
                        changes[index][key] = copied(ours)
                    elif (difference := Difference(f"scheduler.{key}", theirs, ours)) not in differences:
                        differences.append(difference)
        follows = any(plain(taken[key]) != plain(known[key]) for key in taken)  # the others are made of these
        return changes, taken, [] if follows else differences
