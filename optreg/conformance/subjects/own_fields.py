"""Own fields: the hyperparameters of a class that is judged alone, read from its signature and their common names."""

from collections.abc import Mapping
from dataclasses import make_dataclass
from typing import Any

from optreg.conformance.results.verdict import CannotBeJudged
from optreg.conformance.subjects.forms import Form, in_groups_alone
from optreg.conformance.subjects.naming import Names, Signature, aliases_in, arguments_of, field_of, index_in
from optreg.ranges import Decay, NonNegative, PositiveSteps, Steps

COMMON: dict[str, Any] = {
    "lr": NonNegative, "eps": NonNegative, "weight_decay": NonNegative, "betas": (Decay,), "momentum": Decay,
}  # fmt: skip
"""The hyperparameters of optimizers that have the same meaning under the same name everywhere, with their ranges."""

DECAYS = {"beta", "beta1", "beta2", "beta3"}
"""Other common names of decay rates."""

NEEDED: dict[str, Any] = {
    "lr": 1e-2, "betas": (0.9, 0.999), "momentum": 0.9, "weight_decay": 0.1, "eps": 1e-8, "rho": 0.05, "rank": 2,
    **dict.fromkeys(("total_steps", "num_iterations", "num_training_steps", "total_iterations", "t_total", "max_iters",
                     "num_steps", "total_num_steps", "num_data", "num_data_points", "dataset_size"), 1000),
    **dict.fromkeys(("num_epochs", "epochs", "batch_size", "warmup_steps"), 10),
    **dict.fromkeys(("steps_per_epoch", "num_batches_per_epoch"), 100),
}  # fmt: skip
"""Values of arguments of optimizers that have no default."""

STEPS: dict[str, tuple[Any, Any]] = {
    **dict.fromkeys(("total_steps", "T_max", "t_max", "t_initial", "max_steps", "max_iters", "total_iters", "num_steps",
                     "first_cycle_steps", "epochs"), (PositiveSteps, 20)),
    **dict.fromkeys(("warmup_steps", "warmup_iters", "num_warmup", "warmup_t", "warmup_epochs", "n_warmup_steps"),
                    (Steps, 5)),
    **dict.fromkeys(("T_0", "step_size", "step_size_up", "cycle_length", "period", "decay_t"), (PositiveSteps, 5)),
    **dict.fromkeys(("num_decay_steps", "num_stable_steps", "steps_per_epoch"), (PositiveSteps, 7)),
    **dict.fromkeys(("gamma", "factor", "decay_rate", "power"), (Any, 0.8)),
    **dict.fromkeys(("max_lr", "base_lr"), (Any, 0.4)),
    **dict.fromkeys(("min_lr", "eta_min", "lr_min", "final_lr"), (Any, 0.01)),
    "milestones": (Any, (4, 11)),
}  # fmt: skip
"""The ranges and values of arguments of schedules that have no default, or count steps."""

NOT_HYPERPARAMETERS = {
    "foreach", "fused", "compiled", "capturable", "differentiable", "maximize", "verbose", "last_epoch", "defaults",
}  # fmt: skip


def own_names(signature: Signature, given: Mapping[str, str]) -> dict[str, str]:
    """The class's own names of common hyperparameters: those given, and those in common use."""
    found = dict(given) | aliases_in(signature, [*COMMON, "warmup_steps", "total_steps"], given)
    whole = {"betas[0]", "betas[1]"} <= {*found.values()}  # a single decay rate is no pair
    return found if whole else {theirs: ours for theirs, ours in found.items() if field_of(ours) != "betas"}


def own_values(
    implementation: Any, skipped: int, names: Names, given: Mapping[str, Any], form: Form, *, steps: bool
) -> dict[str, Any]:
    """The hyperparameters of a class, each with the value that it has if nobody asks for another.

    Args:
        implementation: the class, or a function that makes it.
        skipped: how many arguments come before the hyperparameters.
        names: its own names for common hyperparameters.
        given: values that were asked for, by the names of arguments or hyperparameters.
        form: how it takes its parameters.
        steps: whether it is a schedule.

    Raises:
        CannotBeJudged: it needs arguments whose values cannot be guessed; all of them are named.
    """
    signature, guesses = Signature(implementation, skipped), {k: v for k, (_, v) in STEPS.items()} if steps else NEEDED
    defaults = {a.name: a.default for a in arguments_of(implementation)}
    grouped = in_groups_alone(form, implementation) if form.whole else {}
    values = {name: _plain(given.get(name, value)) for name, value in {**form.given, **grouped}.items()}
    unknown = []
    for name in [name for name in signature.names if name not in {*NOT_HYPERPARAMETERS, *form.others}]:
        ours = names.arguments.get(name, name)
        field, index = field_of(ours), index_in(ours)
        value = defaults[name]
        if name in given or field in given:
            value = _plain(given.get(name, given.get(field)))
        elif name in signature.required or not _is_plain(_plain(value)) or (value is None and (steps or ours == "lr")):
            own, value = value, guesses.get(field)
            if value is None and name in signature.required:
                unknown.append(name)
            if value is None and own is not None:  # it keeps the class's own value
                continue
        value = _plain(value)
        if index is not None:
            pair = [*values.get(field, (0.0, 0.0))]
            pair[index] = value
            value = tuple(pair)
        if _is_plain(value):
            values[field] = value
    if unknown:
        asked = " ".join(f"--set {name}=VALUE" for name in unknown)
        listed = ", ".join(map(repr, unknown))
        raise CannotBeJudged(
            f"the constructor needs {listed}, for which there is no common value; give it: {asked}, or judge a "
            "function that calls the constructor"
        )
    return values


def own_reference(values: Mapping[str, Any], *, steps: bool) -> type:
    """A reference without a formula: the hyperparameters, with the ranges of those whose names are common."""
    kinds = {name: kind for name, (kind, _) in STEPS.items()} if steps else COMMON
    return make_dataclass("Own", [(name, _kind(name, value, kinds), value) for name, value in values.items()])


def _kind(name: str, value: Any, kinds: Mapping[str, Any]) -> Any:
    """The type of a field; Any where neither its name nor its value is in common use."""
    if isinstance(value, bool):
        return bool
    if name == "betas" and isinstance(value, tuple):
        return tuple[tuple(Decay for _ in value)]  # type: ignore[misc]  # a type computed at run time
    number = isinstance(value, float | int)
    if number and (name in DECAYS or (name in {"alpha", "rho"} and 0.9 <= value < 1)):
        return Decay
    return kinds[name] if name in kinds and number else Any


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _is_plain(value: Any) -> bool:
    """Whether it can be sent to another process, and written in a program."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in {bool, int, float, str}
