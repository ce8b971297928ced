"""Names of splits: which of train, valid and test a name stands for."""

import re

#: Words for a split, and the split that they stand for.
SPLIT_OF = {
    **dict.fromkeys(("train", "training", "trn", "trainset"), "train"),
    **dict.fromkeys(("valid", "validation", "validate", "val", "dev", "devel"), "valid"),
    **dict.fromkeys(("development", "eval", "evaluation", "devset", "valset"), "valid"),
    **dict.fromkeys(("test", "testing", "tst", "testset"), "test"),
}


def split_of(name: str) -> str | None:
    """The split that a name stands for: train, openai_test, data-validation-00000-of-00002.

    Of several words the last counts; None for a name without one.
    """
    words = re.split(r"[^a-z]+", str(name).lower())
    return next((SPLIT_OF[word] for word in reversed(words) if word in SPLIT_OF), None)
