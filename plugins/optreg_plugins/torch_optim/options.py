"""Execution options of torch's optimizers that first-party ones do not share."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MuonOptions:
    """Muon has one path, and no execution options."""
