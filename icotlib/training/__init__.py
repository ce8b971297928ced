"""Training: from a config to a finished run directory.

trainer      the one training loop, which resets the optimizer where a method asks for it
checkpoints  what an interrupted run resumes from
answers      what a run keeps of its final test, question by question
optim        Muon and AdamW, the learning rate over time, and the reset of their moments
"""
