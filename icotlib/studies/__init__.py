"""A question each, over seeds, with controls at equal budgets.

base          what a study is, and how its runs are asked for, tabulated and kept
additions     arms that are added to a published table
main          explicit, stepwise and distilled chains beside No CoT, at equal budgets
methods       these and the methods with latent places beside each other
contents      what must stand in a latent place
thoughts      whether answers follow the thoughts of latent places
anytime       one model for every number of removed tokens beside specialists
depth         how many layers distillation needs, and how much of the chain it must cover
ablations     which states and which phases distillation needs
mixtures      whether distillation needs mixtures where a question has several chains
stability     in how many seeds removal succeeds, by its schedule
stages        how accuracy falls and recovers while tokens are removed
levers        which settings of stepwise internalization matter, each changed alone
four_digits   4x4 digits without any of 46 chain tokens, from random weights
auxiliary     what a loss on running sums teaches, with no chain at all
shifts        how many questions unlike those of its training each method answers
states        what the next two share: models, controls, questions
inside        which chain tokens each method's states hold, and which its answer depends on
subspaces     whether answers are computed from what a subspace of a state holds (DAS)
routing       which questions need written steps, by a model's own confidence
of_notebooks  the runs that notebooks of studies train

A study is one file here: a class with its arms, its table, its figure and its sentences. It is then
known to `icot study NAME`.
"""

from icotlib.studies.base import Member, Study, get_study, study_names

__all__ = ["Member", "Study", "get_study", "study_names"]
