"""Any causal language model of transformers: built, run, saved.

build          a model from its config, with random or pretrained weights
architectures  what becomes of each architecture: a decoder of text, or an error
checks         what a model must be able to do, found out before training
decoding       asking for the next token, with a cache or without
questions      where a question ends in rows of token ids
cache          a key-value cache with room for the tokens to come
adapters       LoRA adapters on a pretrained model
wrapped        models of our own around a language model
loading        saving a model with its tokenizer, and loading it again
parameters     counting parameters and positions; which parameters each optimizer gets
padding        padding that a model need not look for
advice         advice of transformers that does not hold on this machine
hooks          reading and replacing hidden states, masking attention
precision      the precision that a run trains and answers at
fastest        the fastest precision of a model on this machine, measured
short_attention  attention in bf16 on CPUs
int8           matrix products in int8 on CPUs
flops          floating-point operations from sizes and sequence lengths
known_sizes    sizes of the models that the two papers train
toy            a small random model and tokenizer in the hub's format
"""
