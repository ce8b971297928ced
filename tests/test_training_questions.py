"""Which questions a run was trained on: every part of the library must give the same answer."""

import numpy as np

from icotlib.data.batches import stream
from icotlib.data.corpus import load_corpus
from icotlib.data.hold_out import is_in_sorted, question_keys
from icotlib.data.run_data import RunData
from icotlib.data.training_questions import sources_of, trained_on
from icotlib.evaluation.on_file import stood_in_training
from icotlib.evaluation.ood import encoded_keys, training_keys
from icotlib.training.trainer import train


def test_steps_that_a_run_did_not_take_do_not_count(runs_folder, tiny):
    run = train(tiny.override({"train.stop_accuracy": 0.0}))
    taken, config = run.totals["step"], run.config
    assert taken == 4 < config.train.steps == 12
    run_data = RunData(config)
    task, draw = run_data.corpus.task, stream(run_data.corpus, config.train.batch_size, config.seed)
    batches = [run_data.batches(step) for step in range(config.train.steps)]
    shown = [x.question for step in range(taken) for x in task.text(draw(step))]
    later = [x.question for step in range(taken, 12) for x in task.text(draw(step))]
    fresh = [question for question in dict.fromkeys(later) if question not in shown]
    assert len(fresh) > 20
    assert len(trained_on([config])) == len(set(shown))
    rows = np.concatenate([task.parse_question(_typed(question)) for question in [*shown, *fresh]])
    known = is_in_sorted(question_keys(rows), trained_on([config]))
    assert known.tolist() == [True] * len(shown) + [False] * len(fresh)
    assert stood_in_training(config, [*shown, *fresh]).tolist() == known.tolist()
    keys = training_keys(config, run_data.layout)
    expected = np.unique(np.concatenate([encoded_keys(batch) for batch in batches[:taken]]))
    assert np.array_equal(keys, expected)


def _typed(question):
    """A question of multiplication as people type it: most significant digits first."""
    a, b = question.replace(" ", "").split("*")
    return f"{a[::-1]} * {b[::-1]}"


def test_a_stream_that_runs_share_reaches_as_far_as_the_longest(runs_folder, tiny):
    short, other = tiny.override({"train.steps": 3}), tiny.override({"seed": 1})
    fixed = tiny.override({"data.train_examples": 50, "seed": 2})
    sources = sources_of([short, tiny, other, fixed, fixed.override({"seed": 3})])
    assert [source.steps for source in sources] == [12, 12, 1]
    assert [len(list(source.questions(10))) for source in sources] == [2, 2, 0]
    (rows,) = sources[-1].questions()
    task, corpus = sources[-1].corpus.task, load_corpus(fixed.data)
    assert [x.question for x in task.text(task.render(rows))] == corpus.train["question"][:]
