"""One file or folder for each method, and what they share.

base           what a method is, and the loss
micro_batches  which rows of a batch go through the model together, and in which process
checks         whether the model that a method has built can do what its run needs
plannable      what a method tells plans: its model without weights, the cost of a step
costs          shapes and operations of a step, for plans
schedule       how much of the chain is removed at each step: nothing, or everything
causal_lm      what methods share that train one model to continue the question
explicit_cot   the model writes every step
no_cot         the model answers at once
running_sums   the same, with a loss on the running sums of a multiplication (2510.00184)
removal        settings of the methods that remove some of the chain
one_model      every example loses its own number of tokens: one model for all k
stepwise       tokens are removed while training goes on (2405.14838)
distillation   a student and an emulator learn a teacher's hidden states (2311.01460)
latent         thoughts in places without tokens: Coconut, pause tokens, CODI, SIM-CoT
"""

from icotlib.methods.base import Method, register
from icotlib.methods.micro_batches import MicroBatch

__all__ = ["Method", "MicroBatch", "register"]
