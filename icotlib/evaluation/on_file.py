"""A trained model on a file of questions: what it answers, and what of it stood in training."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icotlib import paths
from icotlib.config import RunConfig
from icotlib.data.corpus import held_out_examples
from icotlib.data.formats import BY_NAME, Columns
from icotlib.data.hold_out import same_keys, same_keys_of_texts
from icotlib.data.layout import Layout
from icotlib.data.readers import Report, read_file, shortened
from icotlib.data.text import clean, same_question
from icotlib.data.training_questions import sources_of
from icotlib.errors import ConfigError, DataError
from icotlib.evaluation.askable import first, not_askable
from icotlib.evaluation.grading import same_answer
from icotlib.evaluation.scoring import Score, wilson_interval
from icotlib.evaluation.stage_model import StageModel
from icotlib.runs import Run
from icotlib.system.wording import counted
from icotlib.tasks import Example, Task

#: The kinds of files that a table of answers is written to.
KINDS = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class FileResult:
    """What a model answered to the questions of a file."""

    #: The model, the finished run that it belongs to if there is one, and its removal stage.
    name: str
    config: RunConfig
    run: Run | None
    removed: int
    #: Rows that were read, and those that were left out with the reason.
    report: Report
    score: Score
    #: One row per question: question, answer, given, right, answer_right (of the answer alone),
    #: tokens, in_training, cut, written.
    table: pd.DataFrame
    #: Why it is unknown which questions stood in training; empty where it is known.
    unknown: str = ""
    #: What is said of answers that are not those of the run's own task; empty if there are none.
    doubtful: str = ""

    def lines(self) -> list[str]:
        """The result as text."""
        unit = self.config.input_format.unit
        lines = [f"{_share(self.table)}, {self.name} with {self.removed} {unit} removed"]
        seen = self.table.in_training
        if self.unknown:
            lines.append(f"  how many of them stood in training is unknown: {self.unknown}")
        elif not seen.any():
            lines.append("  none of its questions stood in training")
        else:
            known, fresh = self.table[seen.astype(bool)], self.table[~seen.astype(bool)]
            lines.append(f"  {len(known):,} of its questions stood in training: {_share(known)}")
            if len(fresh):
                lines.append(f"  {len(fresh):,} did not: {_share(fresh)}")
        lines.append(f"  {int(self.table.cut.sum()):,} answers were cut by the limit of tokens")
        longer = int((self.table.answer_right & ~self.table.right).sum())
        if longer:
            lines.append(
                f"  {longer:,} true answers count as wrong: they follow more chain than this stage "
                "leaves"
            )
        silent = int((self.table.given == "").sum())
        lines.append(f"  {counted(silent, 'texts')} without an answer")
        again = int(self.table.question.map(same_question).duplicated().sum())
        if again:
            lines.append(f"  questions that repeat an earlier one, and count again: {again:,}")
        return [*lines, f"  {self.doubtful}"] if self.doubtful else lines


def _share(table: pd.DataFrame) -> str:
    low, high = wilson_interval(int(table.right.sum()), len(table))
    return (
        f"{table.right.mean():.1%} of {len(table):,} answers right (95% interval {low:.1%} to "
        f"{high:.1%})"
    )


def evaluate_file(
    model: StageModel, path: Path, n: int | None = None, columns: Columns = BY_NAME
) -> FileResult:
    """Greedy answers of a model to the questions of a file, in any form that `icot prepare` reads.

    The published form of the run's own task is read as the task writes it (`Task.read_json`).
    Questions for which the model has no symbols or positions are left out, and counted with the
    reason.

    Args:
        n: the first n questions.
        columns: as `icot prepare` was told them when the data of training were prepared.

    Raises `DataError` if the file cannot be read, `ConfigError` if the model can be asked none of
    its questions, and for n below 1.
    """
    report = read_file(path, model.task, columns, held_out_examples(model.config.data))
    examples = _asked(model, report, n)
    score = model.evaluate(examples)
    given = [Layout.answer(text) or "" for text in score.written]
    seen, unknown = _in_training(model.config, examples)
    table = pd.DataFrame(
        {
            "question": [example.question for example in examples],
            "answer": [example.answer for example in examples],
            "given": given,
            "right": score.right,
            "answer_right": score.answer_right,
            "tokens": score.tokens,
            "in_training": seen,
            "cut": score.cut,
            "written": score.written,
        }
    )
    whose = (model.name, model.config, model.run, model.removed)
    doubtful = "" if model.task is None else _not_of_the_task(model.task, examples)
    return FileResult(*whose, report, score, table, unknown, doubtful)


def _asked(model: StageModel, report: Report, n: int | None) -> list[Example]:
    """The first n examples of a report without those that the model cannot be asked, of which the
    report is told. Raises `ConfigError` if none is left."""
    examples, unread = first(report.kept, n), dict(report.dropped)
    left_out = not_askable(model, examples)
    for row, reason in left_out.items():
        report.drop(reason, f"question {row + 1}", examples[row].question)
    report.kept = [x for row, x in enumerate(examples) if row not in left_out]
    if not report.kept:
        shown, task, usual = shortened(examples[0].question), model.task, ""
        if task is not None:
            written = shortened(_written_by(task).question)
            usual = f". In files, a question of {task.name} is written as in {written!r}"
        others = "".join(f". Left out: {number} because {why}" for why, number in unread.items())
        raise ConfigError(
            f"{model.name} can be asked no question of this file. The first, {shown!r}: "
            f"{left_out[0]}{usual}{others}"
        )
    return report.kept


def _written_by(task: Task) -> Example:
    """The task's example as it stands in files."""
    return task.text(task.render(task.parse_question(task.example_question)))[0]


def _not_of_the_task(task: Task, examples: Sequence[Example]) -> str:
    """What is said of answers that are not those which the task gives to the same questions, as
    where digits stand in another order; empty if there are none."""
    wrong = [
        (example, known)
        for example, known in zip(examples, _of_the_task(task, examples), strict=True)
        if known is not None and not same_answer(example.answer, known.answer)
    ]
    if not wrong:
        return ""
    first, known = wrong[0]
    usual = _written_by(task)
    return (
        f"answers of the file that are not those of {task.name}: {len(wrong):,}; the first, to "
        f"{shortened(first.question)!r}, is {first.answer!r} there and {known.answer!r} by the task"
        f", which writes {shortened(usual.question)!r} for {shortened(task.example_question)!r}"
    )


def _of_the_task(task: Task, examples: Sequence[Example]) -> list[Example | None]:
    """What the task makes of questions as they stand in files; None for one that is none of the
    task, or that the task does not read."""
    numbers = {symbol: number for number, symbol in enumerate(task.symbols)}
    width, read = task.widths[0], {}
    for row, example in enumerate(examples):
        words = example.question.split()
        asked = [numbers[word] for word in words] if numbers.keys() >= set(words) else []
        entries = _entries_of(task, example.question, asked if len(asked) == width else [])
        if entries is not None:
            read[row] = entries
    found: list[Example | None] = [None] * len(examples)
    if read:
        made = task.text(task.render(np.concatenate(list(read.values()))))
        for row, one in zip(read, made, strict=True):
            is_same = same_question(one.question) == same_question(examples[row].question)
            found[row] = one if is_same else None
    return found


def _entries_of(task: Task, question: str, asked: list[int]) -> np.ndarray | None:
    """The entries `[1, entries]` of a question of the task; None where it reads none.

    Args:
        asked: its symbols, where they are as many as a question of the task has.
    """
    if asked:
        with contextlib.suppress(ConfigError):
            return task.entries(np.array([asked]))
    with contextlib.suppress(ValueError):
        return task.parse_question(clean(question))
    return None


def _in_training(config: RunConfig, examples: list[Example]) -> tuple[Any, str]:
    """Which questions stood in training; or None, and why that is unknown: its data are not here,
    or hold something else by now."""
    try:
        return stood_in_training(config, [example.question for example in examples]), ""
    except (DataError, ConfigError) as error:
        return None, str(error)


def stood_in_training(config: RunConfig, questions: list[str]) -> np.ndarray:
    """Which questions a finished run, or one that it builds on, was trained on: `[n]`, bool.

    Compared without regard to case, spaces and unseen marks, and, where the task says which
    questions are the same (`Task.canonical`), to names and order.
    """
    seen = np.zeros(len(questions), dtype=bool)
    wanted = [same_question(question) for question in questions]
    for source in sources_of([config]):
        task, train = source.corpus.task, source.corpus.train
        if train is not None:
            known = {same_question(question) for question in train["question"]}
            seen |= np.array([question in known for question in wanted], dtype=bool)
        if task is not None:  # typed questions too
            keys, is_question = same_keys_of_texts(task, questions)
            for rows in source.questions():
                seen |= is_question & np.isin(keys, same_keys(task, rows))
    return seen


def check_table(path: Path) -> None:
    """Raises `ConfigError` for a table of answers that could not be written."""
    if path.suffix.lower() not in KINDS:
        raise ConfigError(f"--out {path}: give a file that ends in {', '.join(KINDS)}")
    if path.exists():
        raise ConfigError(f"{path} exists; give --out another file")


def write_table(results: Sequence[FileResult], path: Path) -> None:
    """Write a row for every answer, as CSV, JSON lines or parquet by the name of the file; where
    there are several results, with columns run and removed.

    Raises `ConfigError` if there is such a file, it cannot be written, or there is no result.
    """
    check_table(path)
    if not results:
        raise ConfigError("there is no result to write: evaluate a run on the file first")
    table = results[0].table
    if len(results) > 1:
        each = {(result.name, result.removed): result.table for result in results}
        table = pd.concat(each, names=["run", "removed"]).reset_index(level=["run", "removed"])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with paths.whole_file(path) as part:
            match path.suffix.lower():
                case ".csv":
                    table.to_csv(part, index_label="number")
                case ".jsonl":
                    table.to_json(part, orient="records", lines=True, force_ascii=False)
                case ".parquet":
                    table.to_parquet(part)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from None
