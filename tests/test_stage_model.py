"""A trained model at a removal stage: what it answers, how it is evaluated, what is inside."""

import json
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

import icotlib as icot
from icotlib import experiments
from icotlib.config import RunConfig
from icotlib.data.corpus import examples_of, load_corpus
from icotlib.data.files import write_examples
from icotlib.data.inputs import InputFormat
from icotlib.data.layout import Layout
from icotlib.errors import ConfigError, DataError, RunError
from icotlib.evaluation import positions, stage_model
from icotlib.evaluation.asking import Answer
from icotlib.evaluation.generation import generate, logits_of
from icotlib.evaluation.grading import same_answer
from icotlib.evaluation.stage_model import StageModel
from icotlib.models import int8
from icotlib.models.loading import load_stage
from icotlib.models.parameters import split_parameters
from icotlib.runs import Run
from icotlib.system.devices import best_device
from icotlib.tasks import Example, get_task
from icotlib.tasks.questions import draw_questions
from icotlib.training.trainer import train
from tests.helpers import TINY

#: Enough for chains of the right length, and for some right answers.
SHORT = TINY | {
    "data.task": "mult-1x2",
    "data.test_examples": 40,
    "model.width": 32,
    "optim.muon_lr": 2e-2,
    "removal.warmup_steps": 60,
    "train.batch_size": 64,
    "train.eval_every": 100,
    "train.steps": 200,
}
LINEAR = {
    "method": "icot_si",
    "removal.schedule": "linear",
    "removal.pace": 1.0,
    "removal.steps_per_epoch": 35,
}
COUPLED = {
    "data.task": "mult-1x1",
    "data.valid_examples": 10,
    "data.test_examples": 30,
    "optim.lr": 5e-3,
    "train.steps": 80,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One model for every stage, a model per stage up to 3 of 6 tokens, and a coupled one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICOT_RUNS", str(tmp_path_factory.mktemp("runs")))
        config = RunConfig().override(SHORT)
        yield {
            "random": train(config),
            "linear": train(config.override(LINEAR)),
            "coupled": train(experiments.icot_kd("smoke", overrides=COUPLED)),
        }


@pytest.fixture
def model(runs):
    """The model of every stage, with two tokens removed."""
    return StageModel.of(runs["random"], 2)


@pytest.fixture
def questions(model):
    return draw_questions(model.task, 12, seed=3)


def typed(example):
    """A question of multiplication as a person types it: highest digit first."""
    return " * ".join(x.replace(" ", "")[::-1] for x in example.question.split(" * "))


def every_stage(runs):
    for run in runs.values():
        for removed in run.stages.removed:
            yield run, int(removed)


def test_the_runs_are_worth_testing(runs):
    assert runs["random"].stages.removed.tolist() == list(range(7))
    assert runs["linear"].stages.removed.tolist() == [0, 1, 2, 3]
    assert runs["coupled"].stages.removed.tolist() == [runs["coupled"].totals["chain_length"]]
    for run in runs.values():
        assert 0 < run.stages.accuracy.max() < 0.9
    assert runs["linear"].checkpointed_stages == [0, 1, 2, 3]
    assert runs["random"].checkpointed_stages == []


# --- loading -----------------------------------------------------------------------------------


def test_a_run_is_loaded_by_name_at_a_stage(runs):
    run = runs["random"]
    for name in (run, run.name, "one_model"):
        assert icot.load(name).removed == 6
        assert icot.load(name, k=2).removed == 2
        assert icot.load(name).run.name == run.name
    loaded = icot.load("icot_si-linear", k=2, device="cpu")
    assert (loaded.removed, loaded.model.device.type) == (2, "cpu")
    assert loaded.model.training is False
    assert loaded.config == runs["linear"].config
    assert loaded.format == runs["linear"].config.input_format
    assert loaded.stages == [0, 1, 2, 3]
    coupled = icot.load("icot_kd")
    assert coupled.removed == runs["coupled"].totals["chain_length"]
    assert coupled.layers == 3


def test_what_cannot_be_loaded_says_why(runs):
    with pytest.raises(ConfigError, match=r"no stage with 99 tokens removed, but \[0, 1, 2, 3, 4"):
        icot.load("one_model", k=99)
    with pytest.raises(ConfigError, match=r"no stage with 5 tokens removed, but \[0, 1, 2, 3\]"):
        icot.load("icot_si-linear", k=5)  # the schedule did not reach it
    with pytest.raises(RunError, match=r"answers no questions by itself: .*\(ICoT-KD student\)"):
        icot.load("kd_student")
    with pytest.raises(RunError, match=r"answers no questions by itself: .*\(ICoT-KD emulator\)"):
        icot.load(Run.of(runs["coupled"].config.phases["emulator"]))
    with pytest.raises(RunError, match=r"no run under .* begins with 'no_cot'; see"):
        icot.load("no_cot")


def test_an_unfinished_run_is_not_loaded(runs_folder, tiny):
    run = Run.of(tiny)
    with pytest.raises(RunError, match="is not finished: train it first"):
        icot.load(run)
    run.begin(tiny, "a device", {"data": "data"})
    with pytest.raises(RunError, match="is not finished: train it first"):
        icot.load(run.name)


def test_another_stage_shares_the_weights_where_one_model_serves_all(runs, model):
    other = model.at(5)
    assert other.removed == 5
    assert other.model is model.model
    assert other.folder == runs["random"].folder / "activations" / "removed-005"
    assert model.at(2) is not model
    assert model.at(2).folder == model.folder
    with pytest.raises(ConfigError, match="no stage with 99"):
        model.at(99)


def test_another_stage_has_its_own_weights_where_each_was_kept(runs):
    run = runs["linear"]
    last = StageModel.of(run)
    for removed in (0, 2):
        other = last.at(removed)
        assert (other.removed, other.name) == (removed, last.name)
        expected = load_stage(run, removed)[0].state_dict()
        loaded = other.model.state_dict()
        assert all(torch.equal(loaded[name].cpu(), x) for name, x in expected.items())
        assert not all(torch.equal(loaded[name], x) for name, x in last.model.state_dict().items())
    assert last.at(3).model is last.model
    with pytest.raises(ConfigError, match="no stage with 5"):
        last.at(5)


def test_only_finished_runs_are_among_all_of_them(runs):
    configs = {name: run.config for name, run in runs.items()}
    configs["missing"] = runs["random"].config.override(seed=9)
    models = StageModel.all_of(configs)
    assert list(models) == ["random", "linear", "coupled"]
    assert {name: model.name for name, model in models.items()} == {name: name for name in models}
    assert [model.removed for model in models.values()][:2] == [6, 3]


# --- what it writes ----------------------------------------------------------------------------


def test_answers_are_greedy_generation_in_the_runs_format(runs):
    """One question, and several at once, against `generate` with the arguments spelled out."""
    for run, removed in every_stage(runs):
        model, layout = load_stage(run, removed)
        form, stage = run.config.input_format, StageModel.of(run, removed, device="cpu")
        examples = examples_of(load_corpus(run.config.data).test)[:9]
        batch = form.arrange(layout.encode(examples))
        k = batch.chain.clamp(max=removed)
        written = generate(model, layout, batch, k, form.keep_positions)
        answers = stage.answer(examples)
        assert [one.question for one in answers] == [x.question for x in examples]
        for text, tokens, answer, example in zip(
            layout.texts(written),
            layout.measured(written).tokens.tolist(),
            answers,
            examples,
            strict=True,
        ):
            chain, _, rest = text.partition("####")
            assert (answer.chain, answer.answer) == (chain.strip(), rest.strip())
            assert answer.tokens == tokens
            assert answer.truth == example.answer
            assert answer.right == same_answer(rest.strip(), example.answer)
        alone = stage.answer(typed(examples[0]))
        assert (alone.chain, alone.answer) == (answers[0].chain, answers[0].answer)


def test_what_is_asked_decides_what_is_answered(model, questions):
    texts = [typed(example) for example in questions.examples()]
    assert isinstance(model.answer(texts[0]), Answer)
    assert isinstance(model.answer(texts[:1]), list)
    expected = [replace(answer, seconds=0.0) for answer in model.answer(texts)]
    assert [answer.question for answer in expected] == [x.question for x in questions.examples()]
    for asked in (questions, questions.examples()):
        assert [replace(answer, seconds=0.0) for answer in model.answer(asked)] == expected
    with pytest.raises(ValueError, match="type two numbers with"):
        model.answer("12 * x")


@pytest.mark.parametrize("name", ["random", "linear"])
def test_a_chain_has_as_many_tokens_fewer_as_are_removed(runs, name):
    model = StageModel.of(runs[name])
    examples = examples_of(model.corpus.test)
    for removed in model.stages:
        answers = model.at(removed).answer(examples)
        for example, answer in zip(examples, answers, strict=True):
            assert len(answer.chain.split()) == len(example.chain.split()) - removed
            # The rest of the chain, ####, the answer, the second separator and the end.
            assert answer.tokens == 6 - removed + 1 + 3 + 2


def test_a_coupled_model_writes_no_chain(runs):
    model = StageModel.of(runs["coupled"])
    answers = model.answer(examples_of(model.corpus.test))
    assert {answer.chain for answer in answers} == {""}
    assert len({answer.answer for answer in answers}) > 1


# --- how good it is ----------------------------------------------------------------------------


def test_evaluation_gives_the_numbers_of_the_runs_own_test(runs):
    for run, removed in every_stage(runs):
        score = StageModel.of(run, removed).evaluate()
        row = run.stages.set_index("removed").loc[removed]
        assert score.accuracy == row.accuracy
        assert (score.ci_low, score.ci_high) == (row.ci_low, row.ci_high)
        assert score.n == row.n_test
        assert " ".join(f"{value:.4f}" for value in score.by_symbol) == row.by_symbol
        samples = run.samples[run.samples.removed == removed]
        assert list(score.written[: len(samples)]) == samples.written.tolist()


def test_evaluation_of_stages_that_share_a_model(runs):
    model = StageModel.of(runs["random"])
    stages = {removed: model.at(removed).evaluate().accuracy for removed in model.stages}
    assert stages == runs["random"].stages.set_index("removed").accuracy.to_dict()


def test_evaluation_of_files_and_examples(model, tmp_path):
    score, examples = model.evaluate(), examples_of(model.corpus.test)
    write_examples(tmp_path / "authors.txt", examples)
    lines = [{"question": q, "steps": [chain], "answer": a} for q, chain, a in examples]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for asked in (tmp_path / "authors.txt", str(tmp_path / "rows.jsonl"), examples):
        assert model.evaluate(asked) == score
    first = model.evaluate(tmp_path / "authors.txt", n=7)
    assert (first.n, first.right) == (7, score.right[:7])


def test_an_accuracy_needs_true_answers(model):
    known = examples_of(model.corpus.test)[:2]
    with pytest.raises(ConfigError, match=r"question 3, .* has no true answer"):
        model.evaluate([*known, Example(known[0].question, "", "")])


def test_a_true_answer_after_too_much_chain_is_not_right(model, monkeypatch):
    """As in the test of a run: a stage claims an answer after so many written tokens."""
    whole, last = model.at(0), model.at(max(model.stages))
    example = examples_of(model.corpus.test)[0]
    batch = whole.encode([example])
    written = batch.ids[:, int(batch.question[0]) : int(batch.total[0])]
    for stage, right in ((whole, True), (last, False)):
        monkeypatch.setattr(StageModel, "generate", lambda self, *_, **__: written)
        [answer] = stage.answer([example])
        assert (answer.answer_right, answer.right) == (True, right)
    assert "more chain than this stage leaves" in answer.verdict()


def test_evaluation_of_a_question_set(model, questions):
    score = model.evaluate(questions)
    answers = model.answer(questions)
    assert score.right == tuple(answer.right for answer in answers)
    assert model.evaluate(questions, n=5).right == score.right[:5]


def test_a_file_that_cannot_be_evaluated_is_named(model, tmp_path):
    with pytest.raises(DataError, match=r"missing\.txt: no such file"):
        model.evaluate(tmp_path / "missing.txt")
    (tmp_path / "bad.txt").write_text("no example\n")
    with pytest.raises(DataError, match=r"bad\.txt: holds no example .*left out: 1 because"):
        model.evaluate(tmp_path / "bad.txt")


# --- data from files ---------------------------------------------------------------------------


@pytest.fixture
def on_files(runs_folder, tiny, tmp_path):
    """Trains a run on files: chains of two or three tokens."""

    def make(**changes) -> Run:
        for split, digits in {"train": "123456789", "valid": "12345", "test": "6789"}.items():
            first = "1" if split == "train" else "2"
            examples = [
                Example(f"{first} {x}", f"{x} +" if x in "68" else f"{x} + 1", x) for x in digits
            ]
            write_examples(tmp_path / "own" / f"{split}.txt", examples)
        settings = {"data.path": str(tmp_path / "own"), "train.steps": 60, "train.batch_size": 16}
        return train(tiny.override(settings | changes))

    return make


#: A run whose positions shift, and that is tested at every stage.
SHIFTING = {
    "method": "icot_si",
    "removal.keep_positions": False,
    "removal.pace": 1.0,
    "removal.steps_per_epoch": 15,
}


def test_a_model_is_asked_where_its_data_are_no_longer(on_files, tmp_path):
    run = on_files()
    known = [example.question for example in examples_of(StageModel.of(run).corpus.test)]
    before = StageModel.of(run).answer(known)
    (tmp_path / "own").rename(tmp_path / "moved")
    with pytest.warns(UserWarning, match=r"no true answer is known: .*own.* no such file"):
        after = StageModel.of(run).answer(known)
    assert [one.answer for one in after] == [one.answer for one in before]
    assert all(one.truth is None for one in after)


@pytest.mark.parametrize("settings", [{}, SHIFTING])
def test_a_question_of_the_data_is_answered_with_its_truth(on_files, settings):
    run = on_files(**settings)
    for removed in (0, 1, 3):
        model = StageModel.of(run, removed)
        assert model.task is None
        score = model.evaluate()
        assert score.accuracy == run.stages.set_index("removed").accuracy[removed]
        known = [example.question for example in examples_of(model.corpus.test)]
        answers = model.answer(known)
        assert tuple(answer.right for answer in answers) == score.right
        assert [answer.truth for answer in answers] == list("6789")
        alone = model.answer("2 3")  # of the validation set
        assert alone.truth == "3"


def test_a_new_question_is_answered_without_a_truth(on_files):
    run = on_files(**SHIFTING)
    for removed in (0, 3):
        model = StageModel.of(run, removed)
        answer = model.answer("  2 3 1 ")
        assert answer.question == "2 3 1"
        assert (answer.truth, answer.right) == (None, None)
        encoded = model.layout.encode([Example("2 3 1", "", "")])
        # As many tokens as the longest test example needs, and eight more.
        new = 3 - removed + 1 + len(["####", "6", "<eos>"]) + 8
        text = model.layout.texts(
            generate(model.model, model.layout, encoded, 0, max_new_tokens=new)
        )[0]
        chain, _, rest = text.partition("####")
        assert (answer.chain, answer.answer) == (chain.strip(), rest.strip())
        both = model.answer(["2 3 1", "2 6"])
        assert [x.truth for x in both] == [None, "6"]
        assert both[0].answer == answer.answer


def test_kept_positions_tell_nothing_of_the_chain(on_files):
    """The same questions with shorter, longer and unknown chains: the same is written."""
    run = on_files()
    for removed in (0, 2, 3):
        model = StageModel.of(run, removed)
        examples = examples_of(model.corpus.test)
        written = [
            model.generate(model.encode([x._replace(chain=chain) for x in examples]), 9).tolist()
            for chain in ("1 + 1", "1 +", "")
        ]
        assert written[0] == written[1] == written[2]
        alone = model.answer([Example(x.question, "", "") for x in examples])
        assert [x.answer for x in alone] == [x.answer for x in model.answer(examples)]


def test_what_stands_before_the_last_delimiter_is_chain(model):
    layout = model.layout
    example = Example("1 2 * 3 4", "", "5 6")
    answer = Answer._of(layout, example, "1 #### 2 #### 5 6", 7, 0.1, False, True)
    assert (answer.answer, answer.chain) == ("5 6", "1 #### 2")
    assert Answer._of(layout, example, "1 2", 2, 0.1, True, True).chain == "1 2"


def test_examples_of_different_length_have_no_common_positions(on_files):
    model = StageModel.of(on_files(), 0)
    examples = examples_of(model.corpus.test)
    with pytest.raises(ConfigError, match="examples differ in length: use questions of one form"):
        model.inputs(examples)
    same = [example for example in examples if example.question in ("2 7", "2 9")]
    assert model.inputs(same).ids.shape == (2, 10 - 1)


# --- what is inside ----------------------------------------------------------------------------


def test_activations_are_the_hidden_states_that_transformers_reports(model, questions):
    states, inputs = model.activations(questions), model.inputs(questions)
    names = model.position_names(questions)
    layers, positions, n, d = states.shape
    assert (layers, n, d) == (model.layers + 1, len(questions), 32) == (3, 12, 32)
    assert positions == inputs.ids.shape[1] == len(names)
    with torch.no_grad():
        hidden = model.model(
            inputs.ids,
            position_ids=inputs.positions,
            attention_mask=torch.ones_like(inputs.ids),
            output_hidden_states=True,
        ).hidden_states
    for layer in range(model.layers):
        torch.testing.assert_close(states[layer].transpose(0, 1), hidden[layer].cpu())
    last = model.model.transformer.ln_f.cpu()(states[-1].transpose(0, 1))
    torch.testing.assert_close(last, hidden[-1].cpu())
    assert torch.equal(states, model.activations(questions.examples()))


def test_activations_are_computed_in_parts(model, monkeypatch):
    questions = draw_questions(model.task, 7)
    whole = model.activations(questions)
    monkeypatch.setattr("icotlib.evaluation.interventions.BATCH", 3)
    torch.testing.assert_close(model.activations(questions), whole)


def test_a_coupled_models_activations_are_its_students(runs):
    """At the separator each layer's input is what its MLP makes of the emulator's state."""
    model = StageModel.of(runs["coupled"], device="cpu")
    questions = draw_questions(model.task, 6)
    states, inputs = model.activations(questions), model.inputs(questions)
    assert model.decoder is model.model.student.language_model
    assert states.shape[0] == model.layers + 1 == 4
    names = model.position_names(questions)
    assert names == ["a0", "*", "b0", "=", "####", "s0", "s1"]
    separator = names.index("=")
    at = torch.full((6,), separator)
    with torch.no_grad():
        emulated = model.model.emulator(inputs.ids[:, : separator + 1], at).states
        for layer, mlp in enumerate(model.model.student.state_mlps):
            torch.testing.assert_close(states[layer, separator], mlp(emulated[:, layer]))


def test_a_token_at_the_start_of_every_text_has_a_name_of_its_own():
    task, form = get_task("mult-2x2"), InputFormat()
    words = [*task.symbols, "####", "<s>", "</s>"]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=None))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", words.index("<s>"))]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    layout, questions = Layout(tokenizer), draw_questions(task, 1)
    encoded = layout.encode(questions.examples())
    names = positions.names(layout, form, questions, encoded, 0)
    assert names[:7] == ["<bos>", "a0", "a1", "*", "b0", "b1", "="]
    assert len(names) == int(encoded.total[0]) - 1
    (example,) = questions.examples()
    answer = positions.answer(names, questions)
    after = [words[token] for token in encoded.ids[0, answer + 1]]
    assert after == example.answer.split()


def test_an_answer_in_other_tokens_than_its_symbols_has_no_positions(questions):
    with pytest.raises(ConfigError, match="no position predicts a symbol"):
        positions.answer(["a0", "=", "####", "s.0"], questions)


@pytest.mark.parametrize("chains", ["filler", "shuffled"])
def test_a_control_is_read_with_the_chains_of_its_training(model, questions, chains):
    form = replace(model.format, chains=chains)
    control, own = replace(model, format=form), model.encode(questions)
    read = control.encode(questions)
    q, c = int(own.question[0]), int(own.chain[0])
    true, found = own.ids[:, q : q + c], read.ids[:, q : q + c]
    sep = torch.full_like(true, model.layout.sep)
    assert torch.equal(found, sep if chains == "filler" else true.roll(1, 0))
    assert control.position_names(questions) == model.position_names(questions)
    last = replace(control, removed=c)  # nothing of a chain is left
    one = questions[:1]
    assert torch.equal(last.inputs(one).ids, replace(model, removed=c).inputs(one).ids)


def test_positions_have_the_names_of_what_stands_there(model, questions):
    inputs, names = model.inputs(questions), model.position_names(questions)
    chain, answer = ["t3", "t4", "t5", "t6"], ["s0", "s1", "s2"]
    assert names == ["a0", "*", "b0", "b1", "=", *chain, "=", "####", *answer]
    for row, example in zip(inputs.ids, questions.examples(), strict=True):
        shown = model.layout.tokenizer.convert_ids_to_tokens(row.tolist())
        expected = [*example.question.split(), "<sep>", *example.chain.split()[2:]]
        assert shown == [*expected, "<sep>", "####", *example.answer.split()]
    at = model.answer_positions(questions)
    assert at.tolist() == [names.index("####"), names.index("s0"), names.index("s1")]


def test_replacing_states_by_themselves_changes_nothing(model, questions):
    inputs, states = model.inputs(questions), model.activations(questions)
    at = model.answer_positions(questions)
    own = {
        (layer, position): states[layer, position]
        for layer in range(states.shape[0])
        for position in range(states.shape[1])
    }
    before = model.teacher_forced_answer(inputs, at)
    assert before.shape == (len(questions), 3)
    assert torch.equal(model.teacher_forced_answer(inputs, at, own), before)
    with torch.no_grad():
        plain = logits_of(model.model, inputs)
        with model.replaced(own):
            again = logits_of(model.model, inputs)
    torch.testing.assert_close(again, plain)
    assert torch.equal(logits_of(model.model, inputs), plain)  # nothing stays behind


def test_states_of_another_question_bring_its_answer(model, questions):
    inputs, states = model.inputs(questions), model.activations(questions)
    at = model.answer_positions(questions)
    order = torch.arange(len(questions)).roll(1)  # each question gets those of the one before
    before = model.teacher_forced_answer(inputs, at)
    last = int(at[-1])
    assert (before[:, -1] != before[order, -1]).any()
    for layers in (range(model.layers + 1), [model.layers]):
        patched = {(layer, last): states[layer, last][order] for layer in layers}
        after = model.teacher_forced_answer(inputs, at, patched)
        assert torch.equal(after[:, -1], before[order, -1])
        assert torch.equal(after[:, :-1], before[:, :-1])  # earlier positions do not see it
    # The whole input replaced at the lowest layer: everything above it is the other question's.
    whole = {(0, position): states[0, position][order] for position in range(states.shape[1])}
    assert torch.equal(model.teacher_forced_answer(inputs, at, whole), before[order])


def test_forced_answers_are_the_most_likely_next_tokens(model, questions):
    inputs, at = model.inputs(questions), model.answer_positions(questions)
    with torch.no_grad():
        logits = model.model(
            inputs.ids, position_ids=inputs.positions, attention_mask=torch.ones_like(inputs.ids)
        ).logits
    assert torch.equal(model.teacher_forced_answer(inputs, at), logits[:, at].argmax(dim=-1).cpu())
    for layer, position in ((-1, 0), (99, 0), (0, -1), (0, inputs.ids.shape[1])):
        with pytest.raises(ConfigError, match=f"not layer {layer} and position {position}"):
            model.teacher_forced_answer(inputs, at, {(layer, position): torch.zeros(1, 1)})


def test_an_untrained_model_has_the_same_architecture_and_other_weights(model):
    one, again, other = (model.untrained(seed) for seed in (0, 0, 1))
    for weights in (model, other):
        assert not torch.equal(
            one.model.transformer.wte.weight, weights.model.transformer.wte.weight
        )
    assert torch.equal(one.model.transformer.wte.weight, again.model.transformer.wte.weight)
    assert one.model.config.to_dict() == model.model.config.to_dict()
    assert (one.run, one.folder, one.removed) == (None, None, model.removed)


def test_a_model_can_be_given_the_input_of_another(runs, model, questions):
    other = StageModel.of(runs["linear"], 3)
    given = other.with_inputs_of(model)
    assert torch.equal(given.inputs(questions).ids, model.inputs(questions).ids)
    assert other.inputs(questions).ids.shape != model.inputs(questions).ids.shape
    assert given.model is other.model
    assert given.folder is None  # its own activations are of another input


# --- precision ---------------------------------------------------------------------------------


@pytest.fixture
def precisions(monkeypatch):
    """The precision under which each generation and evaluation was done."""
    seen, original = [], stage_model.training_precision

    def noted(precision, model):
        seen.append(precision)
        return original(precision, model)

    monkeypatch.setattr(stage_model, "training_precision", noted)
    return seen


def autocast_of(model):
    """Notes the dtype to which each forward pass of a model is cast; None without autocast."""
    seen, device = set(), model.model.device.type

    def note(module, args, kwargs):
        enabled = torch.is_autocast_enabled(device)
        seen.add(torch.get_autocast_dtype(device) if enabled else None)

    return seen, model.model.register_forward_pre_hook(note, with_kwargs=True)


def test_a_bf16_run_answers_in_bf16(runs_folder, tiny, precisions):
    run = train(tiny.override({"train.precision": "bf16", "train.steps": 40}))
    precisions.clear()
    model = StageModel.of(run, 3)
    assert model.precision == "bf16"
    seen, handle = autocast_of(model)
    answer = model.answer("12 * 34")
    assert precisions == ["bf16"]
    model.answer(["12 * 34", "56 * 78"])
    assert model.evaluate().accuracy == run.stages.set_index("removed").accuracy[3]
    model.generate(model.encode(["12 * 34"]))
    assert precisions == ["bf16"] * 4
    assert seen == {torch.bfloat16}
    handle.remove()
    with torch.autocast(model.model.device.type, torch.bfloat16):
        batch = model.encode(["12 * 34"])
        written = generate(model.model, model.layout, batch, 3, model.format.keep_positions)
    chain, _, rest = model.layout.texts(written)[0].partition("####")
    assert chain
    assert (answer.chain, answer.answer) == (chain.strip(), rest.strip())


def test_an_int8_run_answers_in_int8(runs_folder, tiny, precisions, monkeypatch):
    if best_device().type != "cpu":
        pytest.skip("int8 is for CPUs")
    run = train(tiny.override({"train.precision": "int8", "train.steps": 40}))
    precisions.clear()
    model, quantized = StageModel.of(run, 3), []
    by_column = int8.QuantizedMatrix.by_column
    monkeypatch.setattr(
        int8.QuantizedMatrix,
        "by_column",
        lambda x: (quantized.append(tuple(x.shape)), by_column(x))[1],
    )
    model.answer("12 * 34")
    hidden = split_parameters(model.model)[0]
    assert precisions == ["int8"]
    assert len(quantized) == len(hidden) == 8  # each once, not at every token
    assert model.evaluate().accuracy == run.stages.set_index("removed").accuracy[3]
    assert precisions == ["int8"] * 2


def test_an_fp32_run_answers_without_autocast(model, precisions):
    exact = replace(model, config=model.config.override({"train.precision": "fp32"}))
    seen, handle = autocast_of(exact)
    exact.answer("7 * 84")
    handle.remove()
    assert precisions == ["fp32"]
    assert seen == {None}
