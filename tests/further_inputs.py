"""Thirty inputs written down before their kinds of faults were mended, each with what is right.

They were left alone until the readers and checks that they are meant for were finished; how many
were right at the first run told how far these reach beyond the inputs they were made from
(`LOG.md`).
"""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset, DatasetDict

from icotlib.tasks import Example

#: What a case may end in besides rows: an error of ours that names the matter.
Refused = str


@dataclass(frozen=True)
class DataCase:
    """A data set as it is published, and the training examples that it holds."""

    name: str
    #: Writes it below a folder; returns the source to prepare.
    write: Callable[[Path], Path]
    #: Any of these is right: lists of examples of the training split, `None` in a part that is not
    #: judged, or words that must stand in the error.
    right: tuple[list[tuple[str, str | None, str]] | Refused, ...]


@dataclass(frozen=True)
class ModelCase:
    """An architecture from random weights, and what becomes of a run with it."""

    architecture: str
    settings: dict[str, Any]
    #: `trains` and answers, or `refused` before training; either is right where both stand here.
    right: tuple[str, ...]


#: Other rows, so that validation and test sets can be drawn.
FILL = [{"question": f"What is {n} + {n}?", "steps": f"{n}+{n}={2 * n}", "answer": str(2 * n)}
        for n in range(10, 40)]  # fmt: skip


def text_file(name: str, text: str, encoding: str = "utf-8") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(text.encode(encoding))
        return folder / name

    return write


def json_lines(*rows: dict[str, Any], name: str = "train.jsonl") -> Callable[[Path], Path]:
    return text_file(name, "".join(json.dumps(row) + "\n" for row in rows))


def shards(folder: Path) -> Path:
    data = folder / "mine" / "data"
    data.mkdir(parents=True)
    pd.DataFrame(FILL[:10]).to_parquet(data / "train-00000-of-00002.parquet")
    pd.DataFrame(FILL[10:20]).to_parquet(data / "train-00001-of-00002.parquet")
    pd.DataFrame(FILL[20:]).to_parquet(data / "test-00000-of-00001.parquet")
    return folder / "mine"


def saved_to_disk(folder: Path) -> Path:
    sets = {"train": Dataset.from_list(FILL[:20]), "validation": Dataset.from_list(FILL[20:25])}
    sets["test"] = Dataset.from_list(FILL[25:])
    DatasetDict(sets).save_to_disk(folder / "saved")
    return folder / "saved"


def zipped(folder: Path) -> Path:
    with gzip.open(folder / "train.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in FILL)
    return folder / "train.jsonl.gz"


def from_pandas(folder: Path) -> Path:
    row = {"question": 'He said "two"\tand left 3', "steps": "2+3=5\n5*1=5", "answer": 5}
    pd.DataFrame([row]).to_csv(folder / "train.tsv", sep="\t", index=False)
    return folder / "train.tsv"


def with_index(folder: Path) -> Path:
    pd.DataFrame([{"Question": "2+2?", "CoT": "2+2=4", "Answer": 4}]).to_csv(folder / "train.csv")
    return folder / "train.csv"


def list_column(folder: Path) -> Path:
    frame = pd.DataFrame({"question": ["2+2+1?"], "steps": [["2+2=4", "4+1=5"]], "answer": [5]})
    frame.to_parquet(folder / "train.parquet")
    return folder / "train.parquet"


def fill_of(rows: list[dict[str, str]]) -> list[tuple[str, str | None, str]]:
    return [(row["question"], row["steps"], row["answer"]) for row in rows]


CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 3*4?"}]

DATA = [
    DataCase("a tab-separated table as pandas quotes it", from_pandas,
             ([('He said "two" and left 3', "2+3=5 5*1=5", "5")],)),
    DataCase("a spreadsheet's semicolons and decimal commas",
             text_file("train.csv", 'Question;Steps;Answer\n"2,5 + 1?";"2,5+1=3,5";"3,5"\n'),
             ([("2,5 + 1?", "2,5+1=3,5", "3,5")],)),
    DataCase("UTF-16 as spreadsheets export it",
             text_file("train.csv", "question,steps,answer\n1+1?,1+1=2,2\n", "utf-16"),
             ([("1+1?", "1+1=2", "2")], "UTF-")),
    DataCase("messages with a final mark",
             json_lines({"messages": [*CHAT, {"role": "assistant",
                                              "content": "3*4=12\n#### 12"}]}),
             ([("What is 3*4?", "3*4=12", "12")], "messages")),
    DataCase("messages with the reasoning in a field of its own",
             json_lines({"messages": [CHAT[1], {"role": "assistant", "content": "12",
                                                "reasoning_content": "3*4=12"}]}),
             ([("What is 3*4?", "3*4=12", "12")],)),
    DataCase("conversations of human and gpt, with tags of thinking",
             json_lines({"conversations": [
                 {"from": "human", "value": "What is 3*4?"},
                 {"from": "gpt", "value": "<think>3*4=12</think>\nIt is \\boxed{12}."}]}),
             ([("What is 3*4?", None, "12")],)),
    DataCase("a solution with its answer in a box",
             json_lines({"problem": "What is $1+1$?", "level": "Level 1", "type": "Algebra",
                         "solution": "We have $1+1=\\boxed{2}$."}),
             ([("What is $1+1$?", None, "2")],)),
    DataCase("a box with braces inside",
             json_lines({"problem": "Half of one?",
                         "solution": "It is $\\boxed{\\frac{1}{2}}$."}),
             ([("Half of one?", None, "\\frac{1}{2}")],)),
    DataCase("body and question apart",
             json_lines({"ID": "chal-1", "Body": "A pack costs 76 dollars, and 25 less today.",
                         "Question": "What does it cost?", "Equation": "( 76.0 - 25.0 )",
                         "Answer": 51.0, "Type": "Subtraction"}),
             ([("A pack costs 76 dollars, and 25 less today. What does it cost?",
                "( 76.0 - 25.0 )", "51.0")],
              [("A pack costs 76 dollars, and 25 less today. What does it cost?",
                "( 76.0 - 25.0 )", "51")])),
    DataCase("names with prefixes, and a list of one answer",
             json_lines({"iIndex": 1, "sQuestion": "Five and three?", "lEquations": ["X=5+3"],
                         "lSolutions": [8.0]}),
             ([("Five and three?", "X=5+3", "8.0")], [("Five and three?", "X=5+3", "8")])),
    DataCase("options as a list of texts",
             json_lines({"question": "Which is even?", "options": ["A)3", "B)4", "C)5"],
                         "rationale": "4 = 2*2.", "correct": "B"}),
             ([("Which is even? (A) 3 (B) 4 (C) 5", "4 = 2*2.", "B")],
              [("Which is even? A)3 B)4 C)5", "4 = 2*2.", "B")])),
    DataCase("instruction and input",
             json_lines({"instruction": "Add the numbers.", "input": "2 and 3", "output": "5"}),
             ([("Add the numbers. 2 and 3", "", "5")], "steps")),
    DataCase("a parquet file with a column of lists and whole numbers", list_column,
             ([("2+2+1?", "2+2=4 4+1=5", "5")],)),
    DataCase("a folder of save_to_disk", saved_to_disk, (fill_of(FILL[:20]),)),
    DataCase("shards below data/", shards, (fill_of(FILL[:20]),)),
    DataCase("a compressed file", zipped, (fill_of(FILL),)),
    DataCase("an index column and capital letters", with_index, ([("2+2?", "2+2=4", "4")],)),
    DataCase("prose that ends in 'the answer is'",
             json_lines({"question": "Ten times 19?",
                         "answer": "Ten times 19 is 190. The answer is 190."}),
             ([("Ten times 19?", None, "190")],)),
    DataCase("problem, solution and answer beside generations",
             json_lines({"problem": "1+2?", "solution": "1+2=3", "answer": "3",
                         "generations": ["<think>...</think> 3", "3"], "uuid": "x"}),
             ([("1+2?", "1+2=3", "3")],)),
    DataCase("one question with two chains",
             json_lines({"question": "2+3?", "steps": "2+3=5", "answer": "5"},
                        {"question": "2+3?", "steps": "3+2=5", "answer": "5"}),
             ([("2+3?", "2+3=5", "5")],)),
    DataCase("an answer that is no number",
             text_file("train.jsonl", '{"question": "1?", "steps": "s", "answer": NaN}\n'
                       '{"question": "2?", "steps": "s", "answer": 2}\n'),
             ([("2?", "s", "2")],)),
    DataCase("a boolean answer",
             json_lines({"question": "Is 2 even?", "steps": "2=2*1", "answer": True}),
             ([("Is 2 even?", "2=2*1", "yes")], [("Is 2 even?", "2=2*1", "true")])),
    DataCase("line ends of old machines",
             text_file("train.txt", "1+1?||1+1=2 #### 2\r2+2?||2+2=4 #### 4\r"),
             ([("1+1?", "1+1=2", "2"), ("2+2?", "2+2=4", "4")],)),
    DataCase("numbers grouped by thin spaces",
             json_lines({"question": "1\u202f000 + 1?", "steps": "1\u202f000+1=1\u202f001",
                         "answer": "1\u202f001"}),
             ([("1 000 + 1?", "1 000+1=1 001", "1 001")],
              [("1 000 + 1?", "1000+1=1001", "1001")],
              [("1\u202f000 + 1?", "1\u202f000+1=1\u202f001", "1\u202f001")])),
]  # fmt: skip

#: Positions that shift where tokens are removed, which one model for all k cannot do.
SHIFTING = {"method": "icot_si", "removal.keep_positions": False}

MODELS = [
    ModelCase("gpt_bigcode", SHIFTING, ("trains",)),
    ModelCase(
        "falcon",
        {"model.options": {"alibi": True}, "removal.keep_positions": True},
        ("refused",),
    ),
    ModelCase("t5", SHIFTING, ("refused",)),
    ModelCase("xlnet", SHIFTING, ("refused",)),
    ModelCase("mamba2", SHIFTING, ("trains", "refused")),
    ModelCase("gemma2", {}, ("trains",)),
]

assert len(DATA) + len(MODELS) == 30


def is_right(found: list[Example] | Exception, case: DataCase) -> bool:
    """Whether what came out is right; an error counts only if the case allows it in words."""
    for right in case.right:
        if isinstance(found, Exception):
            if isinstance(right, Refused) and right in str(found):
                return True
        elif not isinstance(right, Refused) and len(found) == len(right):
            pairs = zip(found, right, strict=True)
            if all(
                example.question == question
                and example.answer == answer
                and (example.chain == chain if chain is not None else bool(example.chain))
                for example, (question, chain, answer) in pairs
            ):
                return True
    return False
