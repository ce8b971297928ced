"""The Python of a model card: how to get an answer from an exported model.

It needs transformers alone wherever plain transformers can load the weights: `generate` where
positions simply count, and a few lines of greedy decoding where they do not.
"""

from icotlib.data.batches import stream
from icotlib.data.corpus import examples_of
from icotlib.evaluation.stage_model import StageModel
from icotlib.models.parameters import max_positions
from icotlib.tasks import Example

#: Tokens written at most, where the model has positions for as many.
NEW_TOKENS = 200

_HEAD = """\
{imports}

{place}
model = AutoModelForCausalLM.from_pretrained(path).eval()
tokenizer = {tokenizer}.from_pretrained(path)


"""

#: The separator ends the chain and another token the answer, or there is no chain.
_ONCE = """\
def answer(question):
    ids = tokenizer({asked}, add_special_tokens=False).input_ids
    ids = torch.tensor([[{bos}*ids, {separator}]])
    start, seen = ids.shape[1], torch.ones_like(ids)
    new = {limit} - start
    ids = model.generate(ids, attention_mask=seen, max_new_tokens=new, do_sample=False)
    return tokenizer.decode(ids[0, start:], skip_special_tokens=True)


print(answer({question}))
"""

#: One token ends both.
_TWICE = """\
def answer(question):
    ids = tokenizer({asked}, add_special_tokens=False).input_ids
    ids = torch.tensor([[{bos}*ids, {separator}]])
    start, limit = ids.shape[1], {limit}
    # The end-of-text token ends the steps, and then the answer.
    while ids.shape[1] < limit and "####" not in tokenizer.decode(ids[0, start:]):
        seen, new = torch.ones_like(ids), limit - ids.shape[1]
        ids = model.generate(ids, attention_mask=seen, max_new_tokens=new, do_sample=False)
    return tokenizer.decode(ids[0, start:], skip_special_tokens=True)


print(answer({question}))
"""

_KEPT = """\
def answer(question, removed={removed}):
    ids = tokenizer({asked}, add_special_tokens=False).input_ids
    ids = torch.tensor([[{bos}*ids, {separator}]])
    start, positions = ids.shape[1], torch.arange(ids.shape[1])[None]
    positions[:, -1] += removed  # the separator stands where the removed tokens would end
    for _ in range({room}):
        seen = torch.ones_like(ids)  # without it, a jump in the positions would begin a new text
        with torch.no_grad():
            output = model(input_ids=ids, attention_mask=seen, position_ids=positions)
        ids = torch.cat([ids, output.logits[:, -1:].argmax(dim=-1)], dim=1)
        positions = torch.cat([positions, positions[:, -1:] + 1], dim=1)
        if ids[0, -1] == tokenizer.eos_token_id and "####" in tokenizer.decode(ids[0, start:]):
            break
    return tokenizer.decode(ids[0, start:], skip_special_tokens=True)


print(answer({question}))
"""

_LIBRARY = """\
{imports}

{place}
model, layout = icot.load_model(path{options})
batch = layout.encode([Example({question}, "", "")]){without_chain}
written = icot.generate(model, layout, batch{shift}, max_new_tokens={new})
print(layout.texts(written)[0])
"""

_TRANSFORMERS = ["import torch", "from transformers import AutoModelForCausalLM, {tokenizer}"]
_ICOTLIB = ["import icotlib as icot", "from icotlib.tasks import Example"]

#: Where the folder is: that of the script which holds the code (in a session, the working
#: directory), or below the working directory.
_PLACE = """\
places = [Path(globals().get("__file__", "")).parent, Path({folder})]
path = next((x for x in places if (x / "icotlib.json").is_file()), {folder})"""


def training_example(model: StageModel) -> Example:
    """An example like those that the model was trained on, from none of its held-out sets."""
    corpus = model.corpus
    if corpus.train is not None:
        return examples_of(corpus.train, slice(0, 1))[0]
    assert corpus.task is not None, "examples from files are a fixed training set"
    return corpus.task.text(stream(corpus, 1, model.config.seed)(0))[0]


def keeps_positions(model: StageModel) -> bool:
    """Whether the model is asked with positions that do not simply count."""
    return model.shift > 0


def usage(model: StageModel, name: str | None, folder: str) -> str:
    """Python that writes an answer, with transformers alone where the method allows it.

    Args:
        name: the id on the hub to load from; None looks for the folder.
        folder: the name of the exported folder.
    """
    example, layout = training_example(model), model.layout
    plain, tokenizer = model.config.spec.plain_model, layout.tokenizer
    imports = list(_TRANSFORMERS if plain else _ICOTLIB)
    place = f"path = {name!r}"
    if name is None:
        place = _PLACE.format(folder=repr(folder))
        imports.insert(0, "from pathlib import Path\n")
    # Of whole symbols: AutoTokenizer would take the class of the architecture for some models.
    loader = "PreTrainedTokenizerFast" if layout.exact else "AutoTokenizer"
    names = {
        "imports": "\n".join(imports).format(tokenizer=loader),
        "place": place,
        "question": repr(example.question),
        "tokenizer": loader,
    }
    if not plain:
        return _library(model, example, names)
    positions = max_positions(model.model)
    limit, room = f"ids.shape[1] + {NEW_TOKENS}", str(NEW_TOKENS)
    if positions is not None:
        limit, room = (
            f"min({positions}, {limit})",
            f"min({room}, {positions} - int(positions[0, -1]))",
        )
    spaced = model.config.model.spaced_separators and model.config.model.pretrained
    names |= {
        "asked": 'question + " "' if spaced else "question",
        "bos": "tokenizer.bos_token_id, " if layout.bos_ids else "",
        "separator": f"tokenizer.{'eos' if tokenizer.sep_token_id is None else 'sep'}_token_id",
        "removed": str(model.shift),
        "limit": limit,
        "room": room,
    }
    once = _TWICE if layout.sep == layout.eos and model.format.chain else _ONCE
    return (_HEAD + (_KEPT if keeps_positions(model) else once)).format(**names)


def _library(model: StageModel, example: Example, names: dict[str, str]) -> str:
    """The code for a class that icotlib has."""
    own, shift, positions = model.config.model, model.shift, max_positions(model.model)
    taken = int(model.layout.encode([example]).question) + shift
    options = ", spaced_separators=True" if own.spaced_separators and own.pretrained else ""
    return _LIBRARY.format(
        **names,
        options=options,
        without_chain="" if model.format.chain else ".without_chain()",
        shift=f", {shift}, True" if shift else "",
        new=NEW_TOKENS if positions is None else min(NEW_TOKENS, positions - taken),
    )
