"""Optimizers made of several: two of one algorithm, and one for matrices beside one for the rest."""

import torch

import optreg
from optreg.composite import Composite

AdamW = optreg.default_registry().optimizer("adamw").implementation()


def groups_of(params):
    """The param groups of whatever an optimizer is given."""
    given = list(params)
    return given if given and isinstance(given[0], dict) else [{"params": given}]


def made(implementation, groups, **settings):
    """An optimizer, which may have no groups for the time being."""
    optimizer = implementation(groups or [{"params": []}], **settings)
    if not groups:
        optimizer.param_groups.clear()
    return optimizer


class TwoAdamW(Composite):
    """Every other group goes to a second optimizer of the same algorithm and settings."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        groups = groups_of(params)
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        members = [made(AdamW, groups[place::2], **settings) for place in (0, 1)]
        super().__init__(members, order=[number % 2 for number in range(len(groups))])

    def add_param_group(self, param_group):
        label = self.labels[len(self.param_groups) % 2]
        super().add_param_group({**param_group, "optimizer": label})


class MuonAndAdamW(Composite):
    """torch's Muon for the groups that say so, our AdamW for all others."""

    def __init__(self, params, lr=1e-3, weight_decay=0.1):
        groups = groups_of(params)
        labels = ["muon" if group["use_muon"] else "adamw" for group in groups]
        members = {
            name: made(
                implementation,
                [group for group, its in zip(groups, labels, strict=True) if its == name],
                lr=lr,
                weight_decay=weight_decay,
            )
            for name, implementation in (("muon", torch.optim.Muon), ("adamw", AdamW))
        }
        super().__init__(members, order=[[*members].index(name) for name in labels])

    def add_param_group(self, param_group):
        label = "muon" if param_group["use_muon"] else "adamw"
        super().add_param_group({**param_group, "optimizer": label})
