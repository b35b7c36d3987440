"""Resumption: an optimizer that optreg built, compared with every checkpoint that it loads."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from optreg.composite import Composite, places_of
from optreg.differences import Difference, as_setting, copied, plain, refusal
from optreg.driven import Driven, Groups
from optreg.drives import Drive
from optreg.errors import ResumeError
from optreg.foreign import Part, refuse_foreign
from optreg.named_state import Match, arranged, match
from optreg.on_resume import OnResume
from optreg.origins import Origin, restated
from optreg.records import OptimizerPlugin, names
from optreg.spec import FREEZE_STEPS, Component, Spec
from optreg.watching import Watch

_PLACE = "_optreg_resumption"


class Resumption:
    """What an optimizer was built from; `Resumption.of(optimizer)` finds it.

    Hooks of `load_state_dict` match state by name, refuse what belongs to another model or algorithm, and settle what
    differs from the spec. They are not part of the optimizer's state: a copy or a pickle of the optimizer alone has
    none.

    Args:
        origins: for each param group, where its settings come from, and the component that updates it.
        on_resume: what to do with differences.
        drives: for each param group, what follows a schedule of its own once a scheduler is made.
    """

    def __init__(
        self,
        origins: Sequence[Origin],
        on_resume: OnResume,
        drives: Sequence[Sequence[Drive]] = (),
    ) -> None:
        self.origins = tuple(origins)
        self.on_resume = on_resume
        self.drives = drives
        self.stated: list[dict[str, Any]] = []
        """For each group that was built, the settings that the spec states."""
        self.adopted: list[dict[str, Any]] = []
        """For each of them, the settings that were taken from a checkpoint."""
        self.driven = Driven()
        self._components: dict[int, Component] = {}
        """By the number of a member of the optimizer, what it was built from; a simple one is number 0."""

    @classmethod
    def of(cls, optimizer: Optimizer) -> "Resumption | None":
        """What an optimizer was built from; None if optreg did not build it, or it is a copy."""
        found = getattr(optimizer, _PLACE, None)
        return found if isinstance(found, cls) else None

    def attach(self, optimizer: Optimizer) -> None:
        """Let every `load_state_dict` of the optimizer pass through here."""
        setattr(optimizer, _PLACE, self)
        if not self.stated:
            of_groups = [origin.component for origin in self.origins]
            self._components = dict(zip(places_of(optimizer), of_groups, strict=True))
            self.stated = [
                {name: copied(group[name]) for name in _settings_of(component) if name in group}
                | {FREEZE_STEPS: group.get(FREEZE_STEPS, 0)}
                for group, component in zip(optimizer.param_groups, of_groups, strict=True)
            ]
            self.adopted = [{} for _ in self.stated]
        Watch.of(optimizer)
        optimizer.register_load_state_dict_pre_hook(self._settle)

    def scheduler_made(
        self,
        component: Component | None,
        groups: Groups,
        before: Sequence[Set[str]],
        scheduled: Sequence[Set[str]] = (),
    ) -> None:
        """A scheduler was made for the optimizer.

        Args:
            component: the schedule and its settings; None for phases.
            groups: the optimizer's param groups.
            before: the keys that each group had before.
            scheduled: for each group, the settings that follow schedules of their own.
        """
        self.driven = self.driven.after(component, groups, before, self.stated, scheduled)

    def spec(self, declared: Spec) -> Spec:
        """The spec with the values that were taken from a checkpoint."""
        if not any(self.adopted) and not self.driven.adopted:
            return declared
        settings = [{**own, **taken} for own, taken in zip(self.stated, self.adopted, strict=True)]
        values = {
            key: [
                (origin, as_setting(own[key])) for origin, own in zip(self.origins, settings, strict=True) if key in own
            ]
            for key in dict.fromkeys(key for taken in self.adopted for key in taken)
        }
        optimizer, groups = restated(declared.optimizer, declared.groups, values)
        scheduler = declared.scheduler
        if isinstance(scheduler, Component):
            scheduler = scheduler.changed(self.driven.adopted)
        return replace(declared, optimizer=optimizer, groups=groups, scheduler=scheduler)

    def _settle(self, optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any] | None:
        """The checkpoint as this optimizer can load it: its own order, names, execution options and choices.

        Raises:
            ResumeError: it belongs to another algorithm, or differs in a way that is refused.
        """
        groups = optimizer.param_groups
        components = [self._components[place] for place in places_of(optimizer)]
        if not isinstance(optimizer, Composite):
            numbered = [*enumerate(state_dict["param_groups"])]
            refuse_foreign([Part(components[0], optimizer, numbered, [*state_dict["state"].values()])])
        shaped = [_plugin(component).traits.elementwise for component in components]
        matched = match(groups, state_dict, shaped=shaped)
        if matched is None:
            return None  # torch tells that the groups have other sizes
        if isinstance(optimizer, Composite):
            refuse_foreign([*self._parts(optimizer, matched, state_dict)])
        sources = matched.sources(state_dict["param_groups"])
        changes, adopted, settings = self._settings(groups, components, sources)
        changed, values, schedule = self.driven.settle(self.on_resume.schedule, groups, sources)
        parameters = matched.complaints if self.on_resume.parameters == "refuse" else ()
        if parameters or settings or schedule:
            raise refusal({"parameters": parameters, "settings": settings, "schedule": schedule})
        self.adopted = adopted[: len(self.stated)]
        self.driven.adopt(values)
        changes = [{**one, **other} for one, other in zip(changes, changed, strict=True)]
        return arranged(matched, groups, optimizer.state, state_dict, changes)

    def _parts(self, optimizer: Composite, matched: Match, state_dict: Mapping[str, Any]) -> Iterator[Part]:
        """What of a checkpoint each member would load."""
        places = optimizer.places
        for number, member in enumerate(optimizer.members):
            own = [index for index, place in enumerate(places) if place == number]
            sources, states = matched.part(own)
            saved = [(source, state_dict["param_groups"][source]) for source in sources]
            yield Part(self._components[number], member, saved, states, whole=False)

    def _settings(
        self, groups: Groups, components: Sequence[Component], sources: Sequence[Groups]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[Difference]]:
        """For each group what changes in the checkpoint's entries, and what is adopted; and what is refused.

        Execution options stay as they are: a checkpoint says what is computed, not how.
        """
        changes = [
            {key: group[key] for key in names(_plugin(component).options) if key in group and key != "maximize"}
            for group, component in zip(groups, components, strict=True)
        ]
        adopted: list[dict[str, Any]] = [{} for _ in groups]
        differences: list[tuple[int, str, Any, Any]] = []
        of_groups = zip(groups, sources, self.stated, self.adopted, strict=False)
        for index, (group, of_group, stated, was) in enumerate(of_groups):  # added groups have no settings in the spec
            for key, ours in stated.items():
                values, differing = self._saved(key, ours, of_group, index)
                if not differing:
                    continue
                if values == [plain(_live(key, group))]:  # its own checkpoint, after a change by hand
                    adopted[index] |= {key: was[key]} if key in was else {}
                elif self.on_resume.settings == "spec":
                    changes[index] |= _with_rate(of_group[0], ours) if key == "lr" else {key: copied(ours)}
                elif self.on_resume.settings == "checkpoint" and len(values) == 1:
                    adopted[index][key] = values[0]
                else:
                    differences += [(index, key, theirs, plain(ours)) for theirs in differing]
        return changes, adopted, _told(differences, self.origins, len(groups))

    def _saved(self, key: str, ours: Any, sources: Groups, index: int) -> tuple[list[Any], list[Any]]:
        """The values of a setting in groups of the checkpoint, before a schedule changed it; and those that differ.

        The rate is the caller's unless a scheduler kept its `initial_lr`.
        """
        values: list[Any] = []
        differing: list[Any] = []
        name = "initial_lr" if key == "lr" else key
        scheduled = self.driven.scheduled_in(index)
        if key in scheduled:
            return values, differing
        moving = (
            [place for place in range(len(ours)) if f"{key}[{place}]" in scheduled] if isinstance(ours, tuple) else []
        )
        for source in sources:
            driven = self.driven.names_in(source)
            if key in driven or name in self.driven.of_group(index) or (name not in source and key != FREEZE_STEPS):
                continue
            theirs = plain(source.get(name, 0))
            if moving and isinstance(theirs, list):  # of the elements, those that follow schedules are the scheduler's
                theirs = [plain(ours)[place] if place in moving else value for place, value in enumerate(theirs)]
            if theirs not in values:
                values.append(theirs)
                first = 1 if key == "betas" and "momentum" in driven else 0  # of betas, the momentum is the first
                same = theirs[first:] == plain(ours)[first:] if first else theirs == plain(ours)
                differing += [] if same else [theirs]
        return values, differing

    def base_lrs(self, optimizer: Optimizer, own: Sequence[Any], saved: Sequence[Any]) -> list[float]:
        """The base learning rates that a scheduler's checkpoint leads to.

        Args:
            optimizer: the optimizer.
            own: the base learning rates of the scheduler, in the order of the optimizer's groups.
            saved: the base learning rates in the scheduler's checkpoint, in the order of its groups.

        Raises:
            ResumeError: they differ from the spec's.
        """
        ours, theirs = ([float(rate) for rate in rates] for rates in (own, saved))
        if not Watch.of(optimizer).optimizer_loaded and len(ours) != len(theirs):
            raise ResumeError(
                f"the checkpoint schedules {len(theirs)} param groups, but this optimizer has {len(ours)}; load the "
                "optimizer's state_dict before the scheduler's, which knows no names"
            )
        if Watch.of(optimizer).optimizer_loaded or sorted(ours) == sorted(theirs):
            return ours  # settled, or the same in another order
        if self.driven.sets_base_rates:
            return theirs if self.on_resume.schedule in {"refuse", "checkpoint"} else ours
        if self.on_resume.settings == "refuse":
            differences = [
                (index, "lr", saved_rate, rate)
                for index, (saved_rate, rate) in enumerate(zip(theirs, ours, strict=True))
                if saved_rate != rate
            ]
            raise refusal({"settings": _told(differences, self.origins, len(ours))})
        if self.on_resume.settings == "checkpoint":
            self.adopted = [{**taken, "lr": rate} for taken, rate in zip(self.adopted, theirs, strict=False)]
            return theirs
        return ours


def _plugin(component: Component) -> OptimizerPlugin:
    plugin = component.registration.plugin
    assert isinstance(plugin, OptimizerPlugin)
    return plugin


def _settings_of(component: Component) -> list[str]:
    """The names of what a spec settles of an optimizer."""
    return [*names(_plugin(component).reference), "maximize"]


def _live(key: str, group: Mapping[str, Any]) -> Any:
    """A setting of a group as it is now, before a schedule changed it."""
    return group.get("initial_lr", group["lr"]) if key == "lr" else group.get(key)


def _with_rate(source: Mapping[str, Any], base_lr: Any) -> dict[str, Any]:
    """The entries of a group for another base rate; the scheduler sets the rate itself."""
    if "initial_lr" not in source:
        return {"lr": copied(base_lr)}
    saved = float(source["initial_lr"])
    factor = float(source["lr"]) / saved if saved else 1.0
    rate = base_lr * factor
    return {"initial_lr": float(base_lr), "lr": rate if isinstance(source["lr"], Tensor) else float(rate)}


def _told(differences: Sequence[tuple[int, str, Any, Any]], origins: Sequence[Origin], groups: int) -> list[Difference]:
    """Differences of settings in words; one for all groups where it is the same in all."""
    told: list[Difference] = []
    for index, key, theirs, ours in differences:
        if key == "lr" and _follows(index, theirs, ours, differences, origins):
            continue
        everywhere = [other for other, name, *values in differences if name == key and values == [theirs, ours]]
        is_shared = not any("optimizer" in origin.rules for origin in origins) and key != FREEZE_STEPS
        is_general = index >= len(origins) or (is_shared and len(everywhere) == groups)
        difference = Difference(f"optimizer.{key}" if is_general else origins[index].told(key), theirs, ours)
        if difference not in told:
            told.append(difference)
    return told


def _follows(
    index: int, theirs: Any, ours: Any, differences: Sequence[tuple[int, str, Any, Any]], origins: Sequence[Origin]
) -> bool:
    """Whether a group's rate differs only because another rate, of which it is a multiple, does."""
    if index >= len(origins):
        return False
    return any(
        key == "lr"
        and other < len(origins)
        and origins[index].follows(origins[other])
        and (base * origins[index].scale, own_base * origins[index].scale) == (theirs, ours)
        for other, key, base, own_base in differences
    )
