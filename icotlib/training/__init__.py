"""Training: from a config to a finished run directory.

trainer      the one training loop
checkpoints  what an interrupted run resumes from
optim        Muon and AdamW, and the learning rate over time
"""
