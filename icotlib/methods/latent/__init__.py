"""Latent places instead of written tokens.

config        the config of a model with latent places, in the hub's form
checks        whether states of a language model can be recycled as embeddings
reading       what such a model has read of a batch, and what its forward pass returns
model         a language model with latent places between question and answer
settings      settings that these methods share
curriculum    which units of the chain have become latent places at each step (Coconut)
method        what the methods share: the model, micro-batches, plans
step_decoder  the auxiliary decoder that writes the step a thought stands for (SIM-CoT)
coconut       thoughts in the place of removed steps, stage by stage (2412.06769)
pause         pause tokens, which every question is followed by (2310.02226)
codi          a chain distilled into thoughts, teacher and student in one model (2502.21074)
"""
