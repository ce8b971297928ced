"""Sentences that end notebooks.

sentences     shares, differences and intervals in words, and when the data do not decide
removal       data, baselines, removal of chain tokens, all finished runs
distillation  the teacher's states, emulation, coupling
inside        probes, interventions, attention and geometry
latent        thoughts in latent places

Each function here takes what its notebook has drawn, and returns a `Conclusion`, which a notebook
shows as a list.
"""

from icotlib.reporting.conclusions.distillation import (
    coupling,
    emulation,
    mind_reading,
)
from icotlib.reporting.conclusions.inside import causal, geometry, probing
from icotlib.reporting.conclusions.latent import thoughts
from icotlib.reporting.conclusions.removal import (
    baselines,
    data,
    own,
    removal_curve,
    results,
    schedule,
    stepwise,
    tour,
)
from icotlib.reporting.conclusions.sentences import Conclusion

__all__ = [
    "Conclusion",
    "baselines",
    "causal",
    "coupling",
    "data",
    "emulation",
    "geometry",
    "mind_reading",
    "own",
    "probing",
    "removal_curve",
    "results",
    "schedule",
    "stepwise",
    "thoughts",
    "tour",
]
