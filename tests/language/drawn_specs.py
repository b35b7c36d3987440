"""Specs drawn at random: right ones in the whole language, and ones with a mistake or two. A seed gives the same specs always."""

import copy
import math
import random
from collections.abc import Iterable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import optreg
from optreg.conventions import CONVENTIONS
from optreg.entries import Kind
from optreg.hyperparameters import counts, defaults, numbers
from optreg.records import OptimizerPlugin, SchedulePlugin

REGISTRY = optreg.default_registry()
OPTIMIZERS: list[OptimizerPlugin] = [
    REGISTRY.optimizer(entry.qualified).plugin for entry in REGISTRY.entries(Kind.OPTIMIZER)
]
SCHEDULES: list[SchedulePlugin] = [
    REGISTRY.scheduler(entry.qualified).plugin for entry in REGISTRY.entries(Kind.SCHEDULER)
]
PHASES = [plugin for plugin in SCHEDULES if plugin.traits.pure is not False]


SIZES = {
    "": [None],
    "tokens": ["4M tokens", "4_000k  tokens"],
    "samples": ["1024 samples", "1.024k samples"],
    "tokens samples": ["1000 samples of 4000 tokens", "1k samples of 4k tokens"],
}
"""What an update consumes, by the units that this converts."""


class Draw:
    """Draws one right spec; what it says of several settings together may be refused, such as a warm-up that is too long."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.run = self.random.choice([200, 1000, 20_000, 500_000])
        """The updates of the whole run, in which lengths are drawn."""
        self.scope = 1.0
        """The share of the run in which the settings of a schedule are drawn."""
        self.clock = self._clock()
        self.optimizer = self.random.choice(OPTIMIZERS)

    def chance(self, p: float) -> bool:
        return self.random.random() < p

    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = {"optimizer": self._component(self.optimizer), **self.clock}
        if self.chance(0.5):
            spec["groups"] = [self._rule() for _ in range(self.random.randint(0, 3))]
        if self.chance(0.75) and isinstance(spec["optimizer"].get("lr", 0.0), int | float):
            spec["scheduler"] = self._scheduler()
        if self.chance(0.15):
            spec["on_resume"] = {"schedule": self.random.choice(["refuse", "follow", "branch", "checkpoint"])}
        if self.chance(0.15):
            spec["notes"] = self.random.choice(["clip", {"clip": [1, None]}, [{"a": True}], 3.5])
        keys = [*spec]
        self.random.shuffle(keys)
        return {key: spec[key] for key in keys}

    def _clock(self) -> dict[str, Any]:
        pick = self.random.choice
        converted = pick(["", "tokens", "samples", "tokens samples", "trainer"])
        sizes = SIZES.get(converted, ["trainer"])
        clock: dict[str, Any] = {}
        if converted:
            clock["batch"] = pick(sizes)
            if converted != "trainer" and self.chance(0.4):
                key, end = pick(["for", "until"]), pick([self._part(0.1), f"{self._part(0.1)} updates"])
                clock["batch"] = [{"size": pick(sizes), key: end}, {"size": pick(sizes)}]
        known = ["tokens", "samples"] if converted == "trainer" else converted.split()
        epochs = [self._part(0.05), f"{self._part(0.05)} steps", "trainer"]
        epochs += ["50_000k tokens"] if "tokens" in known else []
        epochs += ["1_281_167 samples"] if "samples" in known else []
        if self.chance(0.4):
            clock["epoch"] = pick(epochs)
        horizons = [self.run, f"{self.run} steps", float(self.run), "trainer"]
        horizons += [f"{self.run * 4}M tokens"] if "tokens" in known else []
        horizons += ["20 epochs"] if "epoch" in clock else []
        if self.chance(0.7):
            clock["horizon"] = pick(horizons)
        self.units = ["", *known, *(["%"] if "horizon" in clock else []), *(["epochs"] if "epoch" in clock else [])]
        return clock

    def _part(self, share: float) -> int:
        return max(1, round(self.run * share))

    def length(self, share: float) -> Any:
        """About a share of the run, in one of the units that are known."""
        n, unit, pick = self._part(share), self.random.choice(self.units), self.random.choice
        if unit == "%":
            return pick([f"{100 * share:.3g}%", f"{100 * share:.2f} %"])
        if unit == "epochs":
            return pick(
                [f"{20 * share:.3g} epochs", f"{20 * share:.1f} epochs", "1 epoch" if share > 0.1 else "0.1 epoch"]
            )
        if unit == "tokens":
            return pick([f"{4 * n}M tokens", f"{4 * n}e6 tokens", f"{4000 * n:_}k tokens"])
        if unit == "samples":
            return pick([f"{n}k samples", f"{1000 * n:_} samples"])
        return pick([n, n, float(n), f"{n} steps", f"{n:_} updates"])

    def level(self, base: float | None) -> Any:
        """A value, or a share where there is a base to which it belongs."""
        share = self.random.choice([0, 0.1, 0.5, 1])
        if base is None or self.chance(0.5):
            return self.random.choice([f"{share:.0%}", f"{100 * share} %"])
        return share * base

    def value(self, hint: Any, counted: bool = False) -> Any:
        """A value of a type and range."""
        if get_origin(hint) is Annotated:
            inner, *limits = get_args(hint)
            return self._in_range(inner, limits, counted=counted)
        if get_origin(hint) in {Union, UnionType}:
            return self.value(self.random.choice(get_args(hint)), counted)
        if get_origin(hint) is Literal:
            return self.random.choice(get_args(hint))
        if get_origin(hint) is tuple:
            inner = [item for item in get_args(hint) if item is not ...]
            repeated = [inner[0]] * self.random.randint(1, 3) if ... in get_args(hint) else inner
            return [self.value(item, counted) for item in repeated]
        simple = {NoneType: None, bool: self.chance(0.5), float: self.random.choice([0.5, -1.0, 2]), int: 3}
        return simple[hint]

    def _in_range(self, inner: Any, limits: list[Any], *, counted: bool) -> Any:
        low, high = 0.0, 1.0
        if get_origin(inner) is tuple:
            return self.value(inner, counted)
        if counted:
            return self.length(0.1 * self.scope)
        for limit in limits:
            low = getattr(limit, "ge", getattr(limit, "gt", low))
            high = getattr(limit, "le", getattr(limit, "lt", high))
        if inner is int:
            return math.ceil(low) + self.random.randint(0, 3)
        return round(low + (min(high, low + 1) - low) * self.random.uniform(0.05, 0.95), 6)

    def settings(self, reference: type, skipped: Iterable[str | None] = ()) -> dict[str, Any]:
        """Settings of a reference: all that it needs, and some others. They suit each other where they easily can."""
        hints, given, counted = get_type_hints(reference, include_extras=True), defaults(reference), counts(reference)
        names = [name for name in hints if name not in skipped and (name not in given or self.chance(0.3))]
        found = {name: self.value(hints[name], name in counted) for name in names}
        if "restarts" in found:
            found["restarts"] = [self.length(0.5 * self.scope)]
        if found.get("decay") in ("exponential", "inverse"):
            found["min_lr_ratio"] = 0.1
        if found.get("nesterov") and "dampening" in hints:
            found |= {"momentum": 0.9, "dampening": 0}
        if found.get("fused"):
            found.pop("foreach", None)
        return found

    def _name(self, plugin: OptimizerPlugin | SchedulePlugin) -> str:
        name = plugin.name
        return self.random.choice([name] * 6 + [name.upper(), f"optreg/{name}", f" {name} "])

    def _component(self, plugin: OptimizerPlugin) -> dict[str, Any]:
        return {"name": self._name(plugin), **self._own(plugin)}

    def _own(self, plugin: OptimizerPlugin) -> dict[str, Any]:
        """Settings of an optimizer, some of which follow schedules."""
        found = self.settings(plugin.reference) | self.settings(plugin.options)
        for key, count in numbers(plugin.reference).items():
            if key not in found or not self.chance(0.2):
                continue
            if count is None and isinstance(found[key], int | float):
                found[key] = self.curve(found[key])
            elif isinstance(found[key], list):
                found[key] = [self.curve(item) if self.chance(0.5) else item for item in found[key]]
        return found

    def curve(self, value: float) -> Any:
        """A schedule in place of a number."""
        if self.chance(0.5):
            return self._phase(0, 1, value)
        return self._phases(value)

    def _rule(self) -> dict[str, Any]:
        pick = self.random.choice
        criteria: list[dict[str, Any]] = [
            {"match": "*.bias"}, {"match": ["*norm*", "embed.?"]}, {"regex": "^h[0-9]"}, {"ndim": [0, 1]}, {"ndim": 2.0},
            {"type": ["LayerNorm"]}, {"ndim": 2, "match": "*"}, {"match": "*", "not": {"ndim": 1}},
            {"ndim": 2, "not": [{"match": ["head.*"], "ndim": 2}, {"type": "Embedding"}]},
            {"layers": "h.{layer}.*", "layer_decay": 0.75},
            {"layers": ["h.{layer}.*", "g.{layer}.*"], "embeddings": "wte.*", "layer_decay": 1, "match": "*"},
        ]  # fmt: skip
        settings: dict[str, Any] = {}
        if self.chance(0.3):
            settings["lr_scale"] = pick([0, 0.1, 2])
        if self.chance(0.2):
            settings["freeze"] = pick([True, False, self.length(0.1), "1 epoch" if "epochs" in self.units else 10])
        if self.chance(0.15):
            settings["optimizer"] = self._component(pick(OPTIMIZERS))
        while not settings:
            settings = self._own(self.optimizer)
        return {**pick(criteria), **settings}

    def _scheduler(self) -> Any:
        kind = self.random.random()
        if kind < 0.4:
            return self._schedule(self.random.choice(SCHEDULES))
        return self._phase(0, 1) if kind < 0.55 else self._phases()

    def _schedule(self, plugin: SchedulePlugin) -> dict[str, Any]:
        end = plugin.horizon
        found = {"name": self._name(plugin), **self.settings(plugin.reference, [end])}
        if end and ("horizon" not in self.clock or self.chance(0.3)):
            found[end] = self.length(1)
        if plugin.takes_warmup and self.chance(0.5):
            found["warmup_steps"] = self.length(0.1)
        if "warmup_steps" in found and self.chance(0.3):
            found["warmup_from"] = self.level(None)
        if (plugin.takes_warmup or "warmup_steps" in found) and self.chance(0.2):
            found["convention"] = self.random.choice([*CONVENTIONS])
        return found

    def _phases(self, first: float | None = None) -> list[dict[str, Any]]:
        count = self.random.randint(1, 4)
        return [self._phase(number, count, first) for number in range(count)]

    def _phase(self, number: int, count: int, first: float | None = None) -> dict[str, Any]:
        """A phase of a list; of a hyperparameter, if there is a value at which the first begins."""
        plugin = self.random.choice(PHASES)
        end, levels, last = plugin.horizon, plugin.traits.levels, number == count - 1
        self.scope = 0.5 / count
        found: dict[str, Any] = {"name": self._name(plugin)}
        if number == 0 and first is not None:
            found["from"] = first
        elif self.chance(0.4):
            found["from"] = self.level(first)
        own = self.settings(plugin.reference, [end, *(levels or ())])
        if not plugin.takes_warmup and (number or "from" in found):
            own["warmup_steps"] = 0
        if levels is not None and end and self.chance(0.7):
            found["to"] = self.level(first)
        if not last or self.chance(0.5) or (end and "horizon" not in self.clock):
            key = self.random.choice(["for", "for", "until", *([end] if end else [])])
            found[key] = self.length((number + 1) * 0.9 / count if key == "until" else 0.5 / count)
        if end and {"for", "until"} & found.keys() and self.chance(0.1):
            found[end] = self.length(1)
        if plugin.takes_warmup and self.chance(0.2):
            found["warmup_steps"] = self.length(0.05 / count)
            if number:
                found["from"] = self.level(first)
        return found | own


ODD = (
    None, True, False, "x", "", "adamw", "cosine", "constant", "trainer", "10k", "3%", "150%", "10T tokens", "5 parsecs", "-5 steps",
    "-3%", "1.5 steps", "1.5k steps", "1e3 updates", "0 steps", "4 M tokens", "4Q tokens", ".5 epochs", "0.1k%", "1/3%", "5 Tokens",
    "1e999 tokens", "16 samples of 3 tokens", "16 samples of 3 samples", "4M tokens\n", "+7 steps", "1__0 steps", "1_0_0 tokens",
    "${x}", "???", "1e-3", "[0.9, 0.95]", "0.1", 0, 1, 3, -1, 0.0, -0.0, 0.5, 1.5, 1e-9, 1e20, 2.0**54, 10**30, 10**90, math.inf, -math.inf,
    math.nan, [], {}, [1], [0.9], [0.9, 0.95], [0.9, 0.95, 0.99], ["a", "b"], [None], [[]], [{}], {"name": "cosine"},
    {"name": "constant", "from": 0.5}, [{"name": "constant", "from": 0.5}], {"name": "linear", "from": 0.1, "to": 0.2},
    {"name": "linear", "from": "10%", "to": 0.2, "for": 5}, {"name": "torch.StepLR", "from": 1, "step_size": 3}, {"match": "x"}, {"ndim": 1},
    [{"match": "x"}], "h.{layer}.*", "h.*", "{layer}{layer}", {"name": "lion", "lr": 1e-4}, "1 epoch",
    [{"name": "linear", "from": 0.1, "to": 0.2, "for": "3 steps"}, {"name": "constant"}], {"size": "4M tokens"},
    {"class_path": "torch.optim.SGD"}, "\u0663 steps", "K",
)  # fmt: skip
"""Values that somebody may write somewhere, each right in some place and wrong in others."""

KEYS = (
    "name", "lr", "betas", "eps", "weight_decay", "momentum", "execution", "maximize", "seed", "match", "regex", "ndim", "type",
    "total_steps", "warmup_steps", "warmup_from", "convention", "min_lr_ratio", "decay_steps", "decay", "milestones", "gamma", "from",
    "to", "for", "until", "size", "optimizer", "scheduler", "groups", "horizon", "batch", "epoch", "notes", "on_resume", "settings",
    "schedule", "class_path", "factor", "not", "layers", "embeddings", "layer_decay", "lr_scale", "freeze", "power", "T_max", "0.95", "",
)  # fmt: skip

Place = tuple[str | int, ...]


def mutated(spec: dict[str, Any], seed: int) -> dict[str, Any]:
    """The spec with a mistake or two, or with what is no mistake there."""
    pick = random.Random(seed)
    changed = copy.deepcopy(spec)
    for _ in range(pick.choice([1, 1, 1, 2, 3])):
        _mutate(changed, pick)
    return changed


def _mutate(spec: dict[str, Any], pick: random.Random) -> None:
    places = [*_places(spec)]
    if not places:
        return
    place = pick.choice(places)
    inner, key = _at(spec, place[:-1]), place[-1]
    kind = pick.choice(["value", "value", "value", "drop", "rename", "add", "add", "move", "list", "number"])
    if kind == "value":
        inner[key] = copy.deepcopy(pick.choice(ODD))
    elif kind == "drop":
        del inner[key]
    elif kind == "rename" and isinstance(inner, dict):
        word = str(key)
        changed = pick.choice([word[1:], word + "s", word.upper(), pick.choice(KEYS), word.replace("_", "-")])
        inner[changed] = inner.pop(key)
    elif kind == "add":
        mappings = [spec, *(found for each in places if isinstance(found := _at(spec, each), dict))]
        pick.choice(mappings)[pick.choice(KEYS)] = copy.deepcopy(pick.choice(ODD))
    elif kind == "move":
        inner[key] = copy.deepcopy(_at(spec, pick.choice(places)))
    elif kind == "list":
        _change_list(inner, key, pick)
    elif isinstance(inner[key], int | float) and not isinstance(inner[key], bool):
        inner[key] = pick.choice([-inner[key], inner[key] * 1000, inner[key] / 3, str(inner[key]), f"{inner[key]}%"])


def _change_list(inner: Any, key: Any, pick: random.Random) -> None:
    value = inner[key]
    if not isinstance(value, list) or pick.random() < 0.2:
        inner[key] = [value] if pick.random() < 0.7 else [value, copy.deepcopy(value)]
    elif value and pick.random() < 0.5:
        value.insert(pick.randrange(len(value) + 1), copy.deepcopy(pick.choice(value)))
    elif value and pick.random() < 0.5:
        pick.shuffle(value)
    elif value:
        inner[key] = value[0]
    else:
        value.append(copy.deepcopy(pick.choice(ODD)))


def _places(value: Any, here: Place = ()) -> Any:
    """The places of all values in it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*here, key)
        yield from _places(inner, (*here, key))


def _at(value: Any, place: Place) -> Any:
    for key in place:
        value = value[key]
    return value
