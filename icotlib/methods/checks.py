"""Before the first step: can the model that a method has built do what the run asks of it?"""

from typing import Any

from transformers import PreTrainedModel

from icotlib.models.checks import Requirements, check_model, check_tables


def check_built(method: Any, asked: Any) -> None:
    """Check the model of a method (`icotlib.models.checks`).

    Args:
        asked: what the final test asks, called like a causal language model; None if nothing is.

    Raises `ConfigError` that names what the model cannot do, and the setting to change.
    """
    data, form, model = method.run_data, method.format, method.config.model
    source = f"model.architecture={model.architecture}"
    if model.pretrained is not None:
        source = f"model.pretrained={model.pretrained!r}"
    if isinstance(method.model, PreTrainedModel):
        check_tables(method.model, data.layout, data.sets, source)
    if asked is not None:
        needs = Requirements(
            source=source,
            batch=form.arrange(data.valid),
            layout=data.layout,
            longest=data.longest_total,
            keep_positions=form.keep_positions,
            removes=method.schedule.final_stage > 0,
            side=form.side,
            pretrained=model.pretrained is not None,
        )
        check_model(asked, needs)
