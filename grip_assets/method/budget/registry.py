"""The base budgets, by their names in settings/budget.base. base.py says how to add one."""

import numpy as np

from grip_assets.method.budget import chameleon, given, grasp, mixture, neyman, proportional, tempered, uniform, unimax
from grip_assets.method.budget.base import Domains, Shares, checked

BUDGETS: dict[str, Shares] = {
    "neyman": neyman.shares,
    "proportional": proportional.shares,
    "given": given.shares,
    "mixture": mixture.shares,
    "uniform": uniform.shares,
    "tempered": tempered.shares,
    "unimax": unimax.shares,
    "chameleon": chameleon.shares,
    "grasp": grasp.shares,
}


def base_shares(name: str, domains: Domains) -> np.ndarray:
    """float64 (K,) of the base ``name``."""
    return checked(BUDGETS[name](domains), name)
