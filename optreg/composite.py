"""Composite: one torch optimizer made of several, each of which updates the param groups of its own."""

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, cast, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from optreg.torch_internals import makes_state

StateDict = dict[str, Any]

MEMBERS = "members"
"""The key of a checkpoint under which members keep, by label, what is neither a param group nor a parameter's state."""

_SCALING = ("grad_scale", "found_inf")
"""What `torch.amp.GradScaler` sets on an optimizer that unscales gradients by itself."""


class Composite(Optimizer):
    """One optimizer made of several: `Composite([Muon(matrices, lr=0.02), AdamW(others, lr=3e-4)])`.

    Schedulers, gradient scalers, hooks, checkpoints and trainers take it for a simple one. Its param groups are the
    members' own dicts, and its state is theirs. A step evaluates the closure once; then each member makes its step.
    Step hooks of the composite run once, around those of the members. Hooks that are registered for all optimizers run
    for the composite and for each member, which is an optimizer too.

    A checkpoint has the form of every torch optimizer's. It is put together from the members' own, and is loaded by
    the members' own methods, so that their hooks and conversions run. If a member refuses its part, all keep what
    they have.

    From now on, add groups and load checkpoints through the composite.

    Args:
        members: the optimizers; by label, or under the names of their classes.
        order: for each param group, the number of its member, so that groups stand in another order than member by
            member: `[0, 1, 0]`.

    Raises:
        TypeError: a member is not an optimizer.
        ValueError: there is no member; a parameter is in several; some have names for their parameters and others do
            not; a member needs a closure, which it evaluates itself; or `order` counts other groups.
    """

    members: tuple[Optimizer, ...]
    labels: tuple[str, ...]
    _begun = False
    """Whether it has made an update or loaded a checkpoint."""

    def __init__(
        self, members: Mapping[str, Optimizer] | Sequence[Optimizer], order: Sequence[int] | None = None
    ) -> None:
        if isinstance(members, Mapping):
            labels, several = tuple(members), tuple(members.values())
        else:
            labels, several = labels_of([type(member).__name__ for member in members]), tuple(members)
        for label, member in zip(labels, several, strict=True):
            if not isinstance(member, Optimizer):
                raise TypeError(f"the member '{label}' is not a torch.optim.Optimizer, but {type(member).__name__}")
            fit_for_a_composite(member)
        if not several:
            raise ValueError("a composite needs at least one optimizer")
        groups = _ordered([member.param_groups for member in several], order)
        _refuse_shared(labels, several)
        _refuse_unnamed(groups)
        common = set.intersection(*(set(member.defaults) for member in several))
        defaults = {key: value for key, value in several[0].defaults.items() if key in common}
        # torch's constructor would make state and groups anew; this is how it makes an optimizer from what exists
        self.__setstate__({"members": several, "labels": labels, "param_groups": groups, "defaults": defaults})

    @property
    def state(self) -> defaultdict[Tensor, Any]:
        """The state of all members, by parameter: a view, through which their states are changed."""
        return cast("defaultdict[Tensor, Any]", States(self))

    @state.setter
    def state(self, states: Mapping[Any, Any]) -> None:
        shares: list[defaultdict[Any, Any]] = [defaultdict(dict) for _ in self.members]
        places = self._places()
        for key, value in states.items():
            shares[places.get(id(key), 0)][key] = value
        for member, share in zip(self.members, shares, strict=True):
            member.state = share

    @property
    def train(self) -> Callable[[], None]:
        """Let each member that has modes of its weights go to the one for training; absent if none has modes."""
        return self._mode("train")

    @property
    def eval(self) -> Callable[[], None]:
        """Let each member that has modes of its weights go to the one for evaluation; absent if none has modes."""
        return self._mode("eval")

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether a `torch.amp.GradScaler` may leave the scaling to the step: if every member can do it."""
        return all(getattr(member, "_step_supports_amp_scaling", False) for member in self.members)

    def _mode(self, name: str) -> Callable[[], None]:
        methods = [method for member in self.members if callable(method := getattr(member, name, None))]
        if not methods:
            raise AttributeError(f"no member of this composite has a method '{name}'")

        def change() -> None:
            for method in methods:
                method()

        return change

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Let each member make a step.

        Args:
            closure: reevaluates the model with gradients enabled and returns the loss, which `step` returns.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        members = self.members
        if not torch.compiler.is_compiling():
            self._hand_out()
            if not self._begun and makes_state():
                members = tuple(member for member in members if not member.state)
            else:
                self._begun = True
        scaling = {name: getattr(self, name) for name in _SCALING if hasattr(self, name)}
        for member in members:
            for name, value in scaling.items():
                setattr(member, name, value)
            try:
                member.step()
            finally:
                for name in scaling:
                    delattr(member, name)
        return loss

    def add_param_group(self, param_group: Any) -> None:
        """Add a param group to the member whose label stands under the key `optimizer`, or else to the first.

        Settings that it leaves out take that member's defaults.

        Raises:
            ValueError: no member has that label, the member refuses the group, or a parameter is already in a group.
        """
        self._hand_out()
        label = self.labels[0]
        if isinstance(param_group, dict) and "optimizer" in param_group:  # the member refuses what is no dict
            label = param_group["optimizer"]
            if label not in self.labels:
                raise ValueError(f"no member is called '{label}'; the members are {', '.join(map(repr, self.labels))}")
            del param_group["optimizer"]
        member = self.members[self.labels.index(label)]
        member.add_param_group(param_group)
        added = member.param_groups[-1]
        try:
            _refuse_unnamed([*self.param_groups, added])
            _refuse_shared(self.labels, self.members)
        except ValueError:
            member.param_groups.pop()
            raise
        self.param_groups.append(added)

    def state_dict(self) -> StateDict:
        """The state in the form of every torch optimizer's, put together from those of the members."""
        self._hand_out()
        handle = self.register_state_dict_post_hook(lambda *_: self._packed(), prepend=True)
        try:
            return super().state_dict()
        finally:
            handle.remove()

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load a checkpoint: each member loads its part of it.

        Raises:
            ValueError: the groups have other sizes, or a member refuses its part.
        """
        self._hand_out()
        given: list[StateDict] = []

        def take(_: Optimizer, final: StateDict) -> StateDict:
            given.append(final)
            return {**final, "state": {}}  # torch would convert it, which is for the members to do

        def distribute(_: Optimizer) -> None:
            self._distribute(given[-1])

        before = self.register_load_state_dict_pre_hook(take)
        after = self.register_load_state_dict_post_hook(distribute, prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    def __getstate__(self) -> dict[str, Any]:
        self._hand_out()
        return {name: getattr(self, name) for name in ("members", "labels", "param_groups", "defaults", "_begun")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the members and their groups. Of what torch loads, which has no members, they take their parts later."""
        super().__setstate__(state if "members" in state else {})

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for index, (group, place) in enumerate(zip(self.param_groups, self.places, strict=True)):
            kind, label = type(self.members[place]).__name__, self.labels[place]
            lines.append(f"Parameter Group {index}, of {kind if label == kind else f'{label} ({kind})'}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key not in {"params", "param_names"}]
        return "\n".join([*lines, ")"])

    @property
    def places(self) -> list[int]:
        """For each param group, the number of the member that updates it."""
        self._hand_out()
        owners = self._owners()
        return [owners[id(group)] for group in self.param_groups]

    def _owners(self) -> dict[int, int]:
        """For the id of each param group, the number of the member that has it."""
        return {id(group): place for place, member in enumerate(self.members) for group in member.param_groups}

    def _hand_out(self) -> None:
        """Let each member have its part of `param_groups`, of which a user may have made another list.

        A new group goes to the member that has its first parameter, or else to the first.
        """
        owners = self._owners()
        if len(owners) == len(self.param_groups) and all(id(group) in owners for group in self.param_groups):
            return
        shares: list[list[dict[str, Any]]] = [[] for _ in self.members]
        places = self._places()
        for group in self.param_groups:
            first = places.get(id(next(iter(group["params"]), None)), 0)
            shares[owners.get(id(group), first)].append(group)
        for member, share in zip(self.members, shares, strict=True):
            member.param_groups = share

    def _places(self) -> dict[int, int]:
        """For the id of each parameter, the number of the member that updates it."""
        return {
            id(param): place
            for place, member in enumerate(self.members)
            for group in member.param_groups
            for param in group["params"]
        }

    def _packed(self) -> StateDict:
        """The members' checkpoints as one, with their parameters numbered over all groups."""
        parts = [member.state_dict() for member in self.members]
        packed: dict[int, Mapping[str, Any]] = {
            id(group): entries
            for member, part in zip(self.members, parts, strict=True)
            for group, entries in zip(member.param_groups, part["param_groups"], strict=True)
        }
        owners = self._owners()
        numbers: list[dict[Any, int]] = [{} for _ in parts]
        groups: list[StateDict] = []
        start = 0
        for group in self.param_groups:
            entries, known = packed[id(group)], numbers[owners[id(group)]]
            for number, key in enumerate(entries["params"], start):
                known.setdefault(key, number)
            start += len(entries["params"])
            groups.append({**entries, "params": [known[key] for key in entries["params"]]})
        state: dict[Any, Any] = {}
        further: dict[str, StateDict] = {}
        for label, known, part in zip(self.labels, numbers, parts, strict=True):
            state |= {known[key]: value for key, value in part["state"].items() if key in known}
            others = {key: value for key, value in part["state"].items() if key not in known}
            own = {key: value for key, value in part.items() if key not in {"state", "param_groups"}}
            if others or own:
                further[label] = {**own, **({"state": others} if others else {})}
        return {"state": dict(sorted(state.items())), "param_groups": groups, **({MEMBERS: further} if further else {})}

    def _parts(self, state_dict: Mapping[str, Any]) -> list[StateDict]:
        """A checkpoint of the composite as one for each member, with its parameters numbered by itself.

        Args:
            state_dict: a checkpoint with as many groups, each with as many parameters.
        """
        saved = {
            id(group): entries for group, entries in zip(self.param_groups, state_dict["param_groups"], strict=True)
        }
        parts: list[StateDict] = []
        for label, member in zip(self.labels, self.members, strict=True):
            further = state_dict.get(MEMBERS, {}).get(label, {})
            part: StateDict = {**further, "state": dict(further.get("state", {})), "param_groups": []}
            numbers: dict[Any, int] = {}
            start = 0
            for group in member.param_groups:
                entries = saved[id(group)]
                for number, key in enumerate(entries["params"], start):
                    numbers.setdefault(key, number)
                start += len(entries["params"])
                part["param_groups"].append({**entries, "params": [numbers[key] for key in entries["params"]]})
            part["state"] |= {
                number: state_dict["state"][key] for key, number in numbers.items() if key in state_dict["state"]
            }
            parts.append(part)
        return parts

    def _distribute(self, state_dict: Mapping[str, Any]) -> None:
        """Let each member load its part of a checkpoint; if one refuses it, all keep what they have."""
        places = self.places
        kept = [(member.state, member.param_groups) for member in self.members]
        try:
            for member, part in zip(self.members, self._parts(state_dict), strict=True):
                member.load_state_dict(part)
        except BaseException:
            for member, (state, groups) in zip(self.members, kept, strict=True):
                member.state, member.param_groups = state, groups
            raise
        self.param_groups = _ordered([member.param_groups for member in self.members], places)
        self._begun = True


class States(MutableMapping[Any, Any]):
    """The states of a composite's members as one mapping: a view, through which they are changed.

    Like the state of every torch optimizer, it makes a parameter's state when it is asked for one that does not exist.
    A copy or a pickle of it is an ordinary `defaultdict`.
    """

    def __init__(self, composite: Composite) -> None:
        self._composite = composite

    def _share(self, key: Any) -> MutableMapping[Any, Any]:
        """The state of the member that has, or should have, a key."""
        members = self._composite.members
        having = (member.state for member in members if key in member.state)
        found: MutableMapping[Any, Any] | None = next(having, None)
        return members[self._composite._places().get(id(key), 0)].state if found is None else found

    def __getitem__(self, key: Any) -> Any:
        return self._share(key)[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._share(key)[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._share(key)[key]

    def __iter__(self) -> Iterator[Any]:
        return (key for member in self._composite.members for key in member.state)

    def __len__(self) -> int:
        return sum(len(member.state) for member in self._composite.members)

    def __bool__(self) -> bool:
        """Whether there is state. Before the first update there is none if any member has none: then
        torch.distributed.checkpoint lets the optimizer make it."""
        having = [bool(member.state) for member in self._composite.members]
        return any(having) if self._composite._begun else all(having)

    def __contains__(self, key: object) -> bool:
        return any(key in member.state for member in self._composite.members)

    def get(self, key: Any, default: Any = None) -> Any:
        """A parameter's state, or else the default; nothing is made."""
        return self._share(key).get(key, default)

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove a parameter's state, and return it, or else the default."""
        return self._share(key).pop(key, *default)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """A parameter's state; if there is none, it is the default from now on."""
        return self._share(key).setdefault(key, default)

    def clear(self) -> None:
        """Remove the states of all parameters."""
        for member in self._composite.members:
            member.state.clear()

    def __repr__(self) -> str:
        return repr(defaultdict(dict, self))

    def __reduce__(self) -> tuple[Any, ...]:
        return defaultdict, (dict,), None, None, iter([*self.items()])


def members_of(optimizer: Optimizer) -> tuple[Optimizer, ...]:
    """The members of a composite; of a simple optimizer, itself."""
    return optimizer.members if isinstance(optimizer, Composite) else (optimizer,)


def places_of(optimizer: Optimizer) -> list[int]:
    """For each param group, the number of the member that updates it; 0 in a simple optimizer."""
    return optimizer.places if isinstance(optimizer, Composite) else [0 for _ in optimizer.param_groups]


def fit_for_a_composite(optimizer: Optimizer) -> Optimizer:
    """An optimizer that can be a member.

    Raises:
        ValueError: it evaluates a closure itself in every step, as LBFGS does.
    """
    parameters = inspect.signature(optimizer.step).parameters.values()
    if any(each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters):
        raise ValueError(
            f"{type(optimizer).__name__} needs a closure in every step, which it evaluates itself; a composite "
            "evaluates it once for all members; use such an optimizer alone"
        )
    return optimizer


def labels_of(names: Sequence[str]) -> tuple[str, ...]:
    """Labels of members by their names; a name that comes again gets a number."""
    return tuple(
        name if name not in names[:place] else f"{name} {names[: place + 1].count(name)}"
        for place, name in enumerate(names)
    )


def _ordered(of_members: Sequence[Sequence[dict[str, Any]]], order: Sequence[int] | None) -> list[dict[str, Any]]:
    """The param groups of all members, in the order that is given; without one, member by member."""
    sizes = [len(groups) for groups in of_members]
    if order is None:
        order = [place for place, size in enumerate(sizes) for _ in range(size)]
    if sorted(order) != [place for place, size in enumerate(sizes) for _ in range(size)]:
        raise ValueError(f"the members have {sizes} param groups, but the order counts others: {[*order]}")
    left = [iter(groups) for groups in of_members]
    return [next(left[place]) for place in order]


def _refuse_unnamed(groups: Sequence[Mapping[str, Any]]) -> None:
    """Refuse groups of which some have names for their parameters, and others have none.

    Raises:
        ValueError: there are both.
    """
    if len({"param_names" in group for group in groups}) > 1:
        raise ValueError("some param groups have names for their parameters and others have none; name all or none")


def _refuse_shared(labels: Sequence[str], members: Sequence[Optimizer]) -> None:
    """Refuse a parameter that several members update.

    Raises:
        ValueError: there is one.
    """
    owners: dict[int, int] = {}
    for place, member in enumerate(members):
        for group in member.param_groups:
            for number, param in enumerate(group["params"]):
                if owners.setdefault(id(param), place) != place:
                    told = _told(group, number, param)
                    raise ValueError(
                        f"the parameter {told} is in several members, '{labels[owners[id(param)]]}' and "
                        f"'{labels[place]}'; give it to one"
                    )


def _told(group: Mapping[str, Any], number: int, param: Tensor) -> str:
    """A parameter in a message: its name, or its shape if it has none."""
    return f"'{group['param_names'][number]}'" if "param_names" in group else f"of shape {tuple(param.shape)}"
