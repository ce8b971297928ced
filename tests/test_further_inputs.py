"""Thirty inputs that were written down before their kinds of faults were mended."""

import warnings

import pytest

from icotlib.config import RunConfig
from icotlib.data.corpus import examples_of
from icotlib.data.prepare import prepare
from icotlib.errors import IcotError
from icotlib.evaluation.stage_model import StageModel
from icotlib.training.trainer import train
from tests.further_inputs import DATA, FILL, MODELS, is_right, json_lines
from tests.helpers import TINY

#: What a source without sets of its own is tested on.
OTHERS = [
    {"question": f"What is {n} - 1?", "steps": f"{n}-1={n - 1}", "answer": str(n - 1)}
    for n in range(50, 60)
]


def training_examples(case, folder):
    """The training examples that a case is read as; those that became another set with them."""
    given = folder / "given"
    given.mkdir()
    source = case.write(given)
    if not source.is_dir():
        for split, rows in (("valid", OTHERS[:5]), ("test", OTHERS[5:])):
            json_lines(*rows, name=f"{split}.jsonl")(folder)
        sources = {"train": source}
        sources |= {split: folder / f"{split}.jsonl" for split in ("valid", "test")}
        return prepare(sources)["train"].kept
    reports = prepare(source)
    of_train = {row["question"]: number for number, row in enumerate(FILL[:20])}
    found = [x for report in reports.values() for x in report.kept if x.question in of_train]
    return sorted(found, key=lambda x: of_train[x.question])


@pytest.mark.parametrize("case", DATA, ids=lambda case: case.name)
def test_a_published_shape_is_read_or_refused(case, tmp_path):
    try:
        found = training_examples(case, tmp_path)
    except IcotError as error:
        found = error
    assert is_right(found, case), found


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.architecture)
def test_an_architecture_trains_and_answers_or_is_refused(case, runs_folder):
    changes = {"model.architecture": case.architecture, "train.steps": 2, "train.eval_every": 2}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = train(RunConfig().override(TINY | changes | case.settings))
            model = StageModel.of(run)
            assert model.answer(examples_of(model.corpus.test)[:1])
    except IcotError:
        outcome = "refused"
        assert not any(runs_folder.glob("*/done.json"))
    else:
        outcome = "trains"
    assert outcome in case.right
