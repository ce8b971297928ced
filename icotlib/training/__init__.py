"""From a config to a finished run directory.

trainer       the one training loop, which resets the optimizer where a method asks for it
stages        the end of a removal stage, whose weights may come back
devices       one run on several devices: the processes of a launch as one team
tracking      sending config and metrics to experiment trackers
losses        the losses of a run, read from the device block by block
results       what a run keeps of its final test
final_test    how far that test is, for whoever watches it
answers       the same, question by question
interruption  when a run has to end before its last step
checkpoints   what an interrupted run resumes from
optim         Muon and AdamW, the learning rate over time, and the reset of their moments
"""
