"""Implicit chain of thought: train it, take the steps away, look inside."""
from icotlib.config import RunConfig
