"""What a trained model answers, and how good it is.

stage_model    a trained model at a removal stage, which everything asks
asking         what can be asked, and what an answer holds
askable        whether a model has the symbols and positions that questions need
on_file        a model on a file of questions, and which of them stood in training
generation     greedy generation, and one forward pass that checks the reference answers
bounded        how many examples one forward pass takes
grading        when two answers are the same
truths         answers as a tokenizer gives them back
confidence     how sure a model is of its answers
limits         how much a model may write
scoring        exact match with intervals
ood            accuracy at other lengths and on unseen combinations
interventions  reading the residual stream, and replacing states in it
positions      names for the positions of a sequence
"""

from icotlib.evaluation.grading import same_answer

__all__ = ["same_answer"]
