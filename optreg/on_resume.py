"""OnResume: what a run does where the checkpoint that it loads differs from its spec."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Parameters = Literal["refuse", "fresh"]
Settings = Literal["refuse", "spec", "checkpoint"]
Schedule = Literal["refuse", "follow", "stretch", "branch", "checkpoint"]


@dataclass(frozen=True)
class OnResume:
    """The section `on_resume` of a spec. Every difference is refused unless a field says what is meant.

    Args:
        parameters: `"fresh"` gives fresh state to parameters that the checkpoint lacks or has in another shape, and
            drops the state of parameters that the model lacks.
        settings: the optimizer's settings in every param group are those of the `"spec"` or of the `"checkpoint"`.
        schedule: `"follow"` takes the spec's schedule from the next update on. `"stretch"` stretches the rest of the
            old curve over the rest of the new horizon. `"branch"` lets the spec's schedule begin anew at the
            checkpoint's update. `"checkpoint"` keeps the checkpoint's schedule.
    """

    parameters: Parameters = "refuse"
    settings: Settings = "refuse"
    schedule: Schedule = "refuse"

    def as_dict(self) -> dict[str, Any]:
        """The choices that were made, as plain data; empty if there is none."""
        return {name: choice for name, choice in asdict(self).items() if choice != "refuse"}
