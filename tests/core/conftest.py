"""Third-party components of one reference each, written as an author would write them."""

from textwrap import indent

import pytest

CODE = """\
from dataclasses import dataclass
import optreg
from optreg import NonNegative, OptimizerPlugin, PositiveSteps, SchedulePlugin, hookimpl

@dataclass
class Reference:
    '''One sentence.'''
{fields}

@hookimpl
def {hook}():
    return [{record}(name="{name}", implementation="{implementation}", reference=Reference)]
"""


@pytest.fixture
def component(site):
    """Installs a distribution that offers a component of its own name."""

    def install(name, fields="lr: float = 0.1", *, implementation="torch.optim:SGD", kind="optimizer", hook=None):
        record = {"optimizer": "OptimizerPlugin", "scheduler": "SchedulePlugin"}[kind]
        hook = hook or f"optreg_{kind}s"
        code = CODE.format(
            fields=indent(fields, "    "), hook=hook, record=record, name=name, implementation=implementation
        )
        site.install(name, code, group=f"optreg.{kind}s", names=[name])

    return install
