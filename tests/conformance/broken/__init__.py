"""A zoo of broken plugins, one fault each, with the check that is meant to catch it.

Where one method is wrong, the fault is that method alone, under `fault_in`; else it is a class, under `fault`.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from optreg.conformance.subjects.resolving import resolve
from optreg.conformance.subjects.subject import OptimizerSubject, ScheduleSubject, Subject
from optreg.conformance.subjects.target import Target
from optreg.entries import Entry, Kind
from optreg.records import Registration


@dataclass(frozen=True)
class Fault:
    """A broken plugin: what is wrong in one sentence, and the check that must see it."""

    name: str
    meant: str
    sentence: str
    subject: Callable[[], Subject]


FAULTS: list[Fault] = []


def fault(meant: str, like: str, **declared):
    """Add a class that knows nothing of optreg, judged by the reference of a registered plugin."""

    def add(broken):
        pairs = {key: tuple(value.items()) for key, value in declared.items()}
        target = Target(f"{broken.__module__}:{broken.__qualname__}", like, **pairs)
        FAULTS.append(Fault(broken.__name__, meant, broken.__doc__, lambda: resolve(target)))
        return broken

    return add


LIKE = {"AdamW": "adamw", "Adam": "adam", "Lion": "lion", "Momentum": "momentum", "RMSprop": "rmsprop",
        "WarmupCosine": "warmup_cosine", "Linear": "linear", "Plateau": "reduce_on_plateau"}  # fmt: skip
"""The registered plugin that each right class equals."""


def replacing(base: type, method: str, wrong) -> type:
    """`base` with `wrong` in place of one method: a class with the name and the docstring of `wrong`."""
    body = {method: wrong, "__doc__": wrong.__doc__, "__module__": wrong.__module__}
    return type(wrong.__name__, (base,), body)


def beside(base: type, method: str, wrong, when: str):
    """A method that does what `wrong` does, `before` or `after` what it does in `base`."""

    @functools.wraps(wrong)
    def both(self, *args, **kwargs):
        if when == "before":
            wrong(self, *args, **kwargs)
        returned = getattr(base, method)(self, *args, **kwargs)
        if when == "after":
            wrong(self, *args, **kwargs)
        return returned

    return both


def fault_in(meant: str, base: type, method: str, when: str | None = None):
    """Add a right class with the decorated function in place of one method, or `before` or `after` it.

    The function gives the class its name.
    """
    like = next(LIKE[cls.__name__] for cls in base.__mro__ if cls.__name__ in LIKE)

    def add(wrong):
        return fault(meant, like)(replacing(base, method, beside(base, method, wrong, when) if when else wrong))

    return add


def subject_of(record, entry: str = "", module: str = "optreg_plugins.lion") -> Subject:
    """A plugin as if it were registered, under the name of its record if no other is given."""
    optimizer = hasattr(record, "options")
    kind = Kind.OPTIMIZER if optimizer else Kind.SCHEDULER
    registration = Registration(Entry(kind, entry or record.name, "broken", "1.0", module), record)
    common = {
        "target": Target(record.name), "kind": kind, "implementation": registration.implementation(),
        "reference": record.reference, "registration": registration, "traits": record.traits,
    }  # fmt: skip
    return OptimizerSubject(**common, options=record.options) if optimizer else ScheduleSubject(**common)


def plugin(meant: str, name: str, sentence: str, record, **registered: str):
    """Add a registered plugin whose declaration, reference or module is at fault."""
    FAULTS.append(Fault(name, meant, sentence, lambda: subject_of(record, **registered)))
