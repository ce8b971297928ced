"""The workbook's runs as configs, at three sizes of one code path.

base          the three presets, and how a config is made from them
stepwise      explicit CoT, No CoT, running sums, stepwise internalization, one model for all k
latent        latent places: pause tokens, Coconut, SIM-CoT, CODI
four_digits   4x4 digits from random weights, all chain tokens removed
graphs        methods on graphs of ProsQA, from random weights
budgets       steps of a method that take as long as a run of another, as measured
distillation  distillation's phases, baselines, ablations and studies
interp        which models are analysed, beside which controls
ood           which runs are tested out of distribution
own           your own model and data
papers        every number of the two papers' tables as a run
relatives     numbers of Coconut's and CODI's tables as runs
published     all of these, found by name
records       runs that are timed until they answer without any step
workbook      which runs the workbook consists of, and what each notebook asks for
runs          the runs that `icot train NAME` knows
drafts        settings as they are typed: what is wrong with each, and the overrides they make

The presets are `smoke` (seconds; proves that everything runs), `fast` (minutes on a laptop with two
cores; the default) and `paper` (the papers' own settings, on one GPU).
"""

from icotlib.experiments.base import PRESETS, SharedOverrides, configs_of
from icotlib.experiments.distillation import (
    ablations,
    few_examples,
    icot_kd,
    kd_emulator,
    kd_no_cot,
    kd_skipped,
    kd_student,
    kd_teacher,
    mixtures,
    weak_model,
)
from icotlib.experiments.graphs import GRAPHS
from icotlib.experiments.interp import N_EXAMPLES, NO_COT_CONTROL, SHORT_NAMES, interp_runs
from icotlib.experiments.latent import LATENT, coconut, codi, pause, pause_as_thought, sim_cot
from icotlib.experiments.ood import shifted
from icotlib.experiments.own import PROBLEMS, own, own_kd, own_si
from icotlib.experiments.records import record
from icotlib.experiments.runs import RUNS, plain, run_config
from icotlib.experiments.stepwise import (
    SCHEDULE_ABLATIONS,
    explicit_cot,
    icot_si,
    no_cot,
    one_model,
    paper_pace,
    running_sums,
    schedule_ablations,
    tour,
)
from icotlib.experiments.workbook import (
    NEEDED,
    all_studies,
    baselines,
    compared,
    needed,
    overrides_for,
    series,
    shared,
    workbook,
)

__all__ = [
    "GRAPHS",
    "LATENT",
    "NEEDED",
    "NO_COT_CONTROL",
    "N_EXAMPLES",
    "PRESETS",
    "PROBLEMS",
    "RUNS",
    "SCHEDULE_ABLATIONS",
    "SHORT_NAMES",
    "SharedOverrides",
    "ablations",
    "all_studies",
    "baselines",
    "coconut",
    "codi",
    "compared",
    "configs_of",
    "explicit_cot",
    "few_examples",
    "icot_kd",
    "icot_si",
    "interp_runs",
    "kd_emulator",
    "kd_no_cot",
    "kd_skipped",
    "kd_student",
    "kd_teacher",
    "mixtures",
    "needed",
    "no_cot",
    "one_model",
    "overrides_for",
    "own",
    "own_kd",
    "own_si",
    "paper_pace",
    "pause",
    "pause_as_thought",
    "plain",
    "record",
    "run_config",
    "running_sums",
    "schedule_ablations",
    "series",
    "shared",
    "shifted",
    "sim_cot",
    "tour",
    "weak_model",
    "workbook",
]
