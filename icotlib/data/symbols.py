"""The layout's own symbols, the symbol tokenizer, and how other tokenizers begin a text."""

from collections.abc import Sequence

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from icotlib.errors import ConfigError

PAD, EOS, SEP, ANSWER_DELIMITER = "<pad>", "<eos>", "<sep>", "####"

#: The characters by which tokenizers write the space that a token begins with.
SPACES = "Ġ▁ "


def symbol_tokenizer(symbols: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per symbol, symbols separated by spaces.

    It is saved with a model and loaded by the class of `system.pretrained.tokenizer_class`. There
    is no `<unk>`: encoding a symbol that it does not know is an error.

    Raises `ConfigError` for a symbol that the layout has already, occurs twice, or is not one word.
    """
    own = (PAD, EOS, SEP, ANSWER_DELIMITER)
    for symbol in symbols:
        if symbol in own or ANSWER_DELIMITER in symbol:
            raise ConfigError(
                f"the symbol {symbol!r} of the data is one of the layout's own ({' '.join(own)}): "
                "write it differently in the data, or train a model with a tokenizer for text "
                "(model.pretrained)"
            )
        if symbol.split() != [symbol]:
            raise ConfigError(f"the symbol {symbol!r} must be one word without spaces")
    if len(set(symbols)) < len(symbols):
        twice = next(symbol for symbol in symbols if list(symbols).count(symbol) > 1)
        raise ConfigError(f"the symbol {twice!r} is listed twice")
    vocabulary = {symbol: i for i, symbol in enumerate([*own, *symbols])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, sep_token=SEP
    )


def is_symbol_tokenizer(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether it is one of `symbol_tokenizer`; others have a token `<sep>` too, as XLNet's has."""
    own = (tokenizer.pad_token, tokenizer.eos_token, tokenizer.sep_token) == (PAD, EOS, SEP)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return own and isinstance(getattr(backend, "model", None), models.WordLevel)


def bos_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token that a tokenizer puts at the start of every text, if it does.

    Raises `ConfigError` for a tokenizer without a vocabulary, or without a token for `####`.
    """
    try:
        tokens = tokenizer(ANSWER_DELIMITER, split_special_tokens=True)["input_ids"]
    except Exception as error:  # the tokenizers library raises plain Exception
        raise ConfigError(f"the tokenizer cannot encode {ANSWER_DELIMITER!r}: {error}") from None
    if not tokens:
        raise ConfigError(
            f"the tokenizer ({tokenizer.name_or_path}) has no vocabulary: its files are missing"
        )
    return tokens[:1] if tokens[0] == tokenizer.bos_token_id else []


def adds_space(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer itself puts a space before a text; ours would be a second one."""
    tokens = tokenizer.tokenize(ANSWER_DELIMITER, split_special_tokens=True)
    return bool(tokens) and tokens[0][0] in SPACES
