"""Reasoning tasks: where questions, chains of thought and answers come from.

base            what a task is, and how it is found by name
multiplication  n by m digits, in the papers' text
parity          parity of a string of bits, in fifty lines
prose           sentences about fictional concepts, which two tasks share
prosqa          which of two concepts a graph of facts leads to
prontoqa        true or false, by deduction
word_problems   problems in GSM8K's form, for a first try
questions       distinct questions of a task, for analysis

A task is one class in one file here, or in a file of yours that `--import` names; its name is then
accepted wherever a task is named, with its size after the dash: `mult-4x2`, `parity-8`.
"""

from icotlib.tasks.base import Example, SymbolBatch, Task, get_task, register

__all__ = ["Example", "SymbolBatch", "Task", "get_task", "register"]
