"""Where questions, chains and answers come from.

base            what a task is, and how its name finds it
multiplication  n by m digits, in the papers' text
parity          parity of a string of bits, the smallest example of a task
prose           sentences about fictional concepts, which four tasks share
random_graphs   random graphs by the published rule of ProsQA, and rows of questions about them
graph_task      what two tasks about them share: sizes, draws, what is a question
prosqa          which of two concepts a person is, by facts that form a random graph
graph           the same with nodes as numbers
twopaths        which of two concepts one of two paths of equal length leads to
ontologies      random ontologies by the published rule of ProntoQA, and facts about them
prontoqa        true or false, by deduction from such facts
twopeople       true or false, by deduction about one of two people, whose facts are drawn alike
word_problems   small problems in GSM8K's form, where the real files are not at hand
questions       distinct questions of a task, for analysis

A task is one class, in a file here or in a user's own file (`--import FILE`). Its name, with a size
after the dash, is then accepted wherever a task is named: `mult-4x2`, `parity-8`.
"""

from icotlib.tasks.base import Example, SymbolBatch, Task, get_task, register

__all__ = ["Example", "SymbolBatch", "Task", "get_task", "register"]
