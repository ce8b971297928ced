"""Knowledge distillation (ICoT-KD, arXiv 2311.01460).

settings   which states, which mixture, from which initial weights
states     where the teacher's states are read: the diagonal and the other subsets
student    mind-reading: the model that reads the teacher's states (Section 3.1)
emulator   thought emulation: the model that predicts them, and its mixture's loss (Section 3.2)
coupling   emulator and student as one model (Section 3.3)
base       what the phases share: a frozen teacher, the layout without chain, the answer's loss
method     the phases as methods, and the loss of states
costs      what a step of each phase costs
"""
