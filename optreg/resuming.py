"""Resumption: an optimizer that optreg built, compared with every checkpoint that it loads."""

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from optreg.differences import Difference, listed, plain
from optreg.errors import ResumeError
from optreg.foreign import Kept, States, signs_in_groups, signs_in_states
from optreg.named_state import Match, Saved, match
from optreg.on_resume import OnResume
from optreg.records import OptimizerPlugin, SchedulePlugin
from optreg.spec import Component, Rule, Spec
from optreg.watching import Watch

_PLACE = "_optreg_resumption"

REMEDIES = {
    "parameters": "on_resume: {parameters: fresh} gives new parameters fresh state and drops state without a parameter",
    "settings": "on_resume: {settings: spec} takes the spec's, {settings: checkpoint} the checkpoint's",
    "schedule": "on_resume: {schedule: ...} takes follow, stretch, branch or checkpoint",
}
"""What to write where a checkpoint differs."""


def refusal(found: Mapping[str, Sequence[object]], reason: str = "") -> ResumeError:
    """One error that tells all differences, by the field of `OnResume` that decides about them.

    `reason`, a line of its own, says why a choice that was made does not help.
    """
    lines = listed(str(difference) for differences in found.values() for difference in differences)
    remedies = listed(REMEDIES[field] for field, differences in found.items() if differences)
    return ResumeError(
        f"the checkpoint differs from this run:{lines}{reason}\nsay what is meant, in the spec or in "
        f"optreg.build(..., on_resume={{...}}):{remedies}\n(docs/resuming.md)"
    )


class Resumption:
    """What an optimizer was built from; `Resumption.of(optimizer)` finds it.

    Hooks of `load_state_dict` match state by name, refuse what belongs to another model or algorithm, and settle what
    differs from the spec. They are not part of the optimizer's state: a copy or a pickle of the optimizer alone has
    none.

    Args:
        component: the optimizer and its settings.
        rules: for each param group, the rule that made it; None for the group of the others.
        on_resume: what to do with differences.
        scheduled: whether a scheduler, or else the caller, sets the rate. Otherwise it is a setting like others.
    """

    def __init__(
        self, component: Component, rules: Sequence[Rule | None], on_resume: OnResume, *, scheduled: bool = True
    ) -> None:
        self.component = component
        self.rules = tuple(rules)
        self.on_resume = on_resume
        self.scheduled = scheduled
        self.stated: list[dict[str, Any]] = []
        self.adopted: list[dict[str, Any]] = []
        self.schedule_keys: list[dict[str, Any]] = []
        self.driven: frozenset[str] = frozenset()
        self.schedule: Component | None = None
        self.schedule_settings: dict[str, Any] = {}

    @classmethod
    def of(cls, optimizer: Optimizer) -> "Resumption | None":
        """What an optimizer was built from; None if optreg did not build it, or it is a copy."""
        found = getattr(optimizer, _PLACE, None)
        return found if isinstance(found, cls) else None

    def attach(self, optimizer: Optimizer) -> None:
        """Let every `load_state_dict` of the optimizer pass through here."""
        if Resumption.of(optimizer) is self:
            return
        setattr(optimizer, _PLACE, self)
        if not self.stated:
            names = [*_names(self._plugin.reference), "maximize"]
            self.stated = [
                {name: _copy(group[name]) for name in names if name in group} for group in _groups(optimizer)
            ]
            self.adopted = [{} for _ in self.stated]
        Watch.of(optimizer)
        optimizer.register_load_state_dict_pre_hook(self._settle)

    def scheduler_made(self, component: Component, optimizer: Optimizer, keys: Sequence[frozenset[str]]) -> None:
        """A scheduler was made for the optimizer.

        Args:
            component: the schedule and its settings.
            optimizer: the optimizer.
            keys: the keys that each group had before.
        """
        plugin = component.registration.plugin
        assert isinstance(plugin, SchedulePlugin)
        groups = _groups(optimizer)
        self.schedule = component
        self.driven |= {*plugin.traits.drives}
        self.schedule_keys = [
            {key: _copy(group[key]) for key in group.keys() - before - {"initial_lr"}}
            for group, before in zip(groups, keys, strict=True)
        ]
        for added, group, stated in zip(self.schedule_keys, groups, self.stated, strict=False):
            if "lr" in stated and plain(group.get("initial_lr", stated["lr"])) != plain(stated["lr"]):
                added["initial_lr"] = _copy(group["initial_lr"])  # torch's OneCycleLR sets it, whatever lr is

    def adopt_schedule(self, values: Mapping[str, Any] | None) -> None:
        """The schedule goes on with values of a checkpoint."""
        known = {*self.schedule.settings, "warmup_steps"} if self.schedule else set()
        own = {key: value for key, value in (values or {}).items() if key in known}
        self.schedule_settings = {**self.schedule_settings, **{key: _setting(value) for key, value in own.items()}}

    def spec(self, declared: Spec) -> Spec:
        """The spec with the values that were taken from a checkpoint."""
        if not any(self.adopted) and not self.schedule_settings:
            return declared
        optimizer, groups = _truth(declared.optimizer, declared.groups, self.rules, self.stated, self.adopted)
        scheduler = declared.scheduler and declared.scheduler.changed(self.schedule_settings)
        return replace(declared, optimizer=optimizer, groups=groups, scheduler=scheduler)

    @property
    def _plugin(self) -> OptimizerPlugin:
        plugin = self.component.registration.plugin
        assert isinstance(plugin, OptimizerPlugin)
        return plugin

    def _settle(self, optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any] | None:
        """The checkpoint as this optimizer can load it: its own order, names, execution options and choices.

        Raises:
            ResumeError: it belongs to another algorithm, or differs in a way that is refused.
        """
        self._refuse_foreign(optimizer, state_dict)
        elementwise = self._plugin.traits.elementwise
        matched = match(optimizer.param_groups, state_dict, shaped=elementwise)
        if matched is None:
            return None  # torch tells that the groups have other sizes
        found: dict[str, list[object]] = {"parameters": [], "settings": [], "schedule": []}
        if self.on_resume.parameters == "refuse":
            found["parameters"] += matched.complaints
        changes, adopted = self._settings(optimizer, state_dict, matched, found)
        changed, schedule = self._schedule(optimizer, state_dict, matched, found)
        if any(found.values()):
            raise refusal(found)
        self.adopted = adopted[: len(self.stated)]
        self.adopt_schedule(schedule)
        changes = [{**one, **other} for one, other in zip(changes, changed, strict=True)]
        return _arranged(optimizer, state_dict, matched, changes)

    def _refuse_foreign(self, optimizer: Optimizer, state_dict: Mapping[str, Any]) -> None:
        hyperparameters, options = frozenset(_names(self._plugin.reference)), frozenset(_names(self._plugin.options))
        kept = Kept(hyperparameters, options, lenient=hasattr(optimizer, "state_names"))
        signs = [*signs_in_groups(kept, optimizer.param_groups, state_dict["param_groups"])]
        states = state_dict["state"].values()
        if not signs and any(states):
            signs = [*signs_in_states(self._states(optimizer, state_dict["param_groups"]), states)]
        if signs:
            raise ResumeError(
                f"another optimizer than {self.component.name} wrote the checkpoint:{listed(signs)}\n"
                "build the optimizer that wrote it, or load the model alone and begin with fresh state. If a key of a "
                "group is your own, add it to the optimizer's param_groups before you load"
            )

    def _states(self, optimizer: Optimizer, saved_groups: Sequence[Mapping[str, Any]]) -> States:
        """The keys of a parameter's state under the checkpoint's settings, from the declaration or from a trial."""
        declared = getattr(optimizer, "state_names", None)
        if declared is not None:
            counted = {"step"} if getattr(optimizer, "counts_steps", False) else set()
            return States({*declared} | counted, {*declared, "step"})
        try:
            trials = [*self._trial(optimizer, saved_groups)]
        except Exception:  # a class that cannot be tried out on small tensors
            return States(frozenset(), None)
        possible = set().union(*trials)
        return States(set.intersection(*trials), possible if self._plugin.traits.elementwise else None)

    def _trial(self, optimizer: Optimizer, saved_groups: Sequence[Mapping[str, Any]]) -> Iterator[set[str]]:
        """The keys of the states of small parameters after one update."""
        implementation = self.component.registration.implementation()
        settings = self.component.settings
        kinds = {
            f"{ndim} {kind}": (ndim, kind)
            for group, saved in zip(_groups(optimizer), saved_groups, strict=False)
            for kind in [{key: saved[key] for key in settings.keys() & saved.keys()}]
            for ndim in {param.ndim for param in group["params"]}
        }
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            for ndim, kind in kinds.values():
                param = torch.nn.Parameter(torch.ones((2,) * ndim))
                param.grad = torch.ones_like(param)
                twin = implementation([{"params": [param], **kind}], **settings)
                twin.step()
                yield {key for key, value in twin.state[param].items() if value is not None}

    def _settings(
        self, optimizer: Optimizer, state_dict: Mapping[str, Any], matched: Match, found: dict[str, list[object]]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """For each group what changes in the checkpoint's entries, and what is taken from it against the spec."""
        changes: list[dict[str, Any]] = []
        adopted: list[dict[str, Any]] = []
        differences: list[tuple[int, str, Any, Any]] = []
        for index, (group, row) in enumerate(zip(_groups(optimizer), matched.rows, strict=True)):
            sources = [state_dict["param_groups"][place] for place in dict.fromkeys(s.group for s in row if s)]
            change: dict[str, Any] = self._kept_options(group)
            taken: dict[str, Any] = {}
            was = self.adopted[index] if index < len(self.adopted) else {}
            stated = self.stated[index] if index < len(self.stated) else {}
            for key, ours in stated.items():
                values: list[Any] = []
                differing: list[Any] = []
                for source in sources:
                    theirs = self._saved(key, source, index)
                    if theirs is _NOTHING or plain(theirs) in values:
                        continue
                    values.append(plain(theirs))
                    if self._part(key, theirs, source) != self._part(key, ours, source):
                        differing.append(plain(theirs))
                if differing and values == [plain(_live(key, group))]:  # its own checkpoint, after a change by hand
                    taken |= {key: was[key]} if key in was else {}
                    continue
                if differing and self.on_resume.settings == "spec":
                    change |= _with_rate(sources[0], ours) if key == "lr" else {key: _copy(ours)}
                elif differing and self.on_resume.settings == "checkpoint" and len(values) == 1:
                    taken[key] = values[0]
                else:
                    differences += [(index, key, theirs, plain(ours)) for theirs in differing]
            changes.append(change)
            adopted.append(taken)
        found["settings"] += _told(differences, self.rules, len(optimizer.param_groups))
        return changes, adopted

    def _schedule(
        self, optimizer: Optimizer, state_dict: Mapping[str, Any], matched: Match, found: dict[str, list[object]]
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The same for what the schedule keeps in the groups, as torch's OneCycleLR does."""
        changes: list[dict[str, Any]] = []
        taken: dict[str, Any] = {}
        known = self.schedule.settings if self.schedule else {}
        differences: list[Difference] = []
        for index, (group, row) in enumerate(zip(_groups(optimizer), matched.rows, strict=True)):
            added = self.schedule_keys[index] if index < len(self.schedule_keys) else {}
            sources = [state_dict["param_groups"][place] for place in dict.fromkeys(s.group for s in row if s)]
            change: dict[str, Any] = {}
            for (key, ours), source in itertools.product(added.items(), sources):
                theirs = source.get(key)
                if self.on_resume.schedule == "checkpoint" and key in known and theirs is not None:
                    taken[key] = theirs
                elif plain(theirs) not in (plain(ours), plain(group.get(key))):
                    if self.on_resume.schedule in {"follow", "branch"}:
                        change[key] = _copy(ours)
                    difference = Difference(f"scheduler.{key}", theirs, ours)
                    differences += [] if difference in differences else [difference]
            changes.append(change)
        follows = any(plain(taken[key]) != plain(known[key]) for key in taken)  # the others are made of these
        if self.on_resume.schedule not in {"follow", "branch"} and not follows:
            found["schedule"] += differences
        return changes, taken

    def _kept_options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """Execution options as they are: a checkpoint says what is computed, not how."""
        return {name: group[name] for name in _names(self._plugin.options) if name in group and name != "maximize"}

    def _saved(self, key: str, source: Mapping[str, Any], index: int) -> Any:
        """A setting of a group of the checkpoint, before a schedule changed it; `_NOTHING` if none is known."""
        if key == "lr":
            by_schedule = index < len(self.schedule_keys) and "initial_lr" in self.schedule_keys[index]
            rate = source.get("initial_lr", _NOTHING if self.scheduled else source.get("lr", _NOTHING))
            return _NOTHING if by_schedule else rate
        return _NOTHING if key in self._driven(source) else source.get(key, _NOTHING)

    def _driven(self, source: Mapping[str, Any]) -> frozenset[str]:
        """The settings of a group of the checkpoint that the schedule drives."""
        return self.driven | ({"momentum"} if "max_momentum" in source else set())  # torch's OneCycleLR and CyclicLR

    def _part(self, key: str, value: Any, source: Mapping[str, Any]) -> Any:
        """What is compared of a value: of betas whose first is driven as momentum, the others."""
        value = plain(value)
        return value[1:] if key == "betas" and "momentum" in self._driven(source) else value

    def base_lrs(self, optimizer: Optimizer, saved: Sequence[Any]) -> list[float]:
        """The base learning rates that a scheduler's checkpoint leads to.

        Args:
            optimizer: the optimizer.
            saved: the base learning rates in the scheduler's checkpoint, in the order of its groups.

        Raises:
            ResumeError: they differ from the spec's.
        """
        ours = [float(group.get("initial_lr", group["lr"])) for group in _groups(optimizer)]
        theirs = [float(rate) for rate in saved]
        if not Watch.of(optimizer).optimizer_loaded and len(ours) != len(theirs):
            raise ResumeError(
                f"the checkpoint schedules {len(theirs)} param groups, but this optimizer has {len(ours)}; load the "
                "optimizer's state_dict before the scheduler's, which knows no names"
            )
        by_schedule = any("initial_lr" in added for added in self.schedule_keys)
        if Watch.of(optimizer).optimizer_loaded or sorted(ours) == sorted(theirs):
            return ours  # settled, or the same in another order
        if by_schedule:
            return theirs if self.on_resume.schedule in {"refuse", "checkpoint"} else ours
        if self.on_resume.settings == "refuse":
            differences = [
                (index, "lr", saved_rate, rate)
                for index, (saved_rate, rate) in enumerate(zip(theirs, ours, strict=True))
                if saved_rate != rate
            ]
            raise refusal({"settings": _told(differences, self.rules, len(ours))})
        if self.on_resume.settings == "checkpoint":
            self.adopted = [{**taken, "lr": rate} for taken, rate in zip(self.adopted, theirs, strict=False)]
            return theirs
        return ours


class _Nothing:
    """Stands where a checkpoint states no value."""


_NOTHING = _Nothing()


def _groups(optimizer: Optimizer) -> list[dict[str, Any]]:
    return optimizer.param_groups


def _live(key: str, group: Mapping[str, Any]) -> Any:
    """A setting of a group as it is now, before a schedule changed it."""
    return group.get("initial_lr", group["lr"]) if key == "lr" else group.get(key)


def _names(reference: type) -> list[str]:
    return [field.name for field in fields(reference)]


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _with_rate(source: Mapping[str, Any], base_lr: Any) -> dict[str, Any]:
    """The entries of a group for another base rate; the scheduler sets the rate itself."""
    if "initial_lr" not in source:
        return {"lr": _copy(base_lr)}
    saved = float(source["initial_lr"])
    factor = float(source["lr"]) / saved if saved else 1.0
    rate = base_lr * factor
    return {"initial_lr": float(base_lr), "lr": rate if isinstance(source["lr"], Tensor) else float(rate)}


def _arranged(
    optimizer: Optimizer, state_dict: dict[str, Any], matched: Match, changes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The checkpoint in the optimizer's order: groups with the optimizer's parameters, and the state of each.

    A parameter that the checkpoint lacks keeps the state that it has, which some optimizers create at once.
    """
    groups: list[dict[str, Any]] = []
    states: dict[Any, Any] = {}
    number = 0
    for group, row, change in zip(_groups(optimizer), matched.rows, changes, strict=True):
        first: Saved | None = next((saved for saved in row if saved), None)
        entries = state_dict["param_groups"][first.group] if first else group
        entries = {**entries, **change, "params": [*range(number, number + len(row))]}
        if "param_names" in group:
            entries["param_names"] = [*group["param_names"]]
        groups.append(entries)
        for param, saved in zip(group["params"], row, strict=True):
            state = optimizer.state.get(param) if saved is None or saved.state is None else saved.state
            if state:
                states[number] = state
            number += 1
    of_params = {key for group in state_dict["param_groups"] for key in group["params"]}
    others = {key: value for key, value in state_dict["state"].items() if key not in of_params}
    return {**state_dict, "state": {**states, **others}, "param_groups": groups}


def _told(
    differences: Sequence[tuple[int, str, Any, Any]], rules: Sequence[Rule | None], groups: int
) -> list[Difference]:
    """Differences of settings in words; one for all groups where it is the same in all."""
    told: list[Difference] = []
    for index, key, theirs, ours in differences:
        everywhere = [other for other, name, *values in differences if name == key and values == [theirs, ours]]
        rule = rules[index] if index < len(rules) else None
        what = f"optimizer.{key}" if rule is None or len(everywhere) == groups else f"{key} in the group '{rule}'"
        difference = Difference(what, theirs, ours)
        if difference not in told:
            told.append(difference)
    return told


def _truth(
    component: Component,
    rules: Sequence[Rule],
    of_groups: Sequence[Rule | None],
    stated: Sequence[Mapping[str, Any]],
    adopted: Sequence[Mapping[str, Any]],
) -> tuple[Component, tuple[Rule, ...]]:
    """The optimizer's section and the rules, with the values that groups took from a checkpoint."""
    settings = component.settings
    changed: dict[int, dict[str, Any]] = {}
    for key in {key for taken in adopted for key in taken}:
        values = [_setting({**own, **taken}[key]) for own, taken in zip(stated, adopted, strict=True)]
        if None in of_groups or all(value == values[0] for value in values):
            settings[key] = values[of_groups.index(None)] if None in of_groups else values[0]
        for rule, value in zip(of_groups, values, strict=True):
            if rule is not None and (key in rule.settings or value != settings[key]):
                changed.setdefault(rules.index(rule), {})[key] = value
    new = (replace(rule, pairs=tuple({**rule.settings, **changed.get(i, {})}.items())) for i, rule in enumerate(rules))
    return replace(component, pairs=tuple(settings.items())), tuple(new)


def _setting(value: Any) -> Any:
    """A group's value as a spec has it."""
    value = plain(value)
    return tuple(value) if isinstance(value, list) else value
