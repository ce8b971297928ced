"""From files and tasks to the input of a model.

text       one normal form of texts, for every file that is read
files      the authors' text format, `question||chain #### answer`
formats    the shapes in which data sets are published: which columns are what
cell_text  cells as text: numbers as written, lists written into a cell, commas
responses  answers that are marked in running text, and the steps in front of them
forms      rows of other data sets as examples
habits     what holds in the whole of a file, seen in its first rows
tables     rows of CSV, TSV and parquet
json_rows  rows of JSON
readers    rows of files of every kind, and a report on those left out
splits     names of splits
sources    where the splits of a data set are: files, folders, saved sets, the hub
prepare    a data set in any form, made into train.txt, valid.txt and test.txt
hold_out   questions of a file, kept out of a generated task or found in it
corpus     the splits of a run, read or generated; no question is in two of them
batches    training batches by step: an endless stream, or epochs of a fixed set
padding    rows of unequal length in one array, as far as the memory reaches
symbols    the layout's own symbols, and the symbol tokenizer
steps      where the steps of a chain end
written    generated tokens: where their chain, their answer and their text end
layout     the sequence layout: examples as tokens, tokens as text
chains     controls: chains of other questions, or fillers, in the place of a question's own
training_questions  the questions that runs were trained on, drawn once more
run_data   all that a run reads, encoded
inputs     model input and labels, with a part of the chain removed
"""
