"""The layout's own symbols, and the tokenizer with one token per symbol."""

from collections.abc import Sequence

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from icotlib.errors import ConfigError

PAD, EOS, SEP, ANSWER_DELIMITER = "<pad>", "<eos>", "<sep>", "####"


def symbol_tokenizer(symbols: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per symbol, symbols separated by spaces.

    It is saved with a model and reloads through `AutoTokenizer`. There is no `<unk>`: encoding a
    symbol that it does not know is an error.

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
