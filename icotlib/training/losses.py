"""The losses of a run: read from the device block by block, so that steps need not wait for it."""

import math
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from icotlib.errors import TrainingError
from icotlib.runs import Run
from icotlib.training import devices


class Losses:
    """The losses of the steps since the last evaluation."""

    def __init__(self, run: Run, accelerator: Accelerator):
        self.run, self.accelerator = run, accelerator
        #: Of the steps since the last reading, still on the device: of this process's rows.
        self.unread: list[Tensor] = []
        #: Sum and number of those that were read since the last evaluation.
        self.total, self.steps = 0.0, 0

    def read(self, step: int) -> float:
        """Read the losses of a block from the device; the last one.

        Args:
            step: steps of the run so far, the block included.

        Raises `TrainingError` if one is not finite.
        """
        block, self.unread = torch.stack(self.unread), []
        losses = devices.total(block, self.accelerator).tolist()
        for number, loss in enumerate(losses, start=step - len(losses) + 1):
            if not math.isfinite(loss):
                raise _diverged(self.run, f"the loss at step {number} is {loss}")
        self.total += sum(losses)
        self.steps += len(losses)
        return losses[-1]

    def mean(self) -> float:
        """The mean since the last call."""
        mean = self.total / self.steps
        self.total, self.steps = 0.0, 0
        return mean

    def state_dict(self, step: int) -> dict[str, Any]:
        """What a checkpoint keeps, also between two readings.

        Args:
            step: steps of the run so far.

        Raises `TrainingError` if a loss is not finite, so that the last good checkpoint stays.
        """
        unread = [loss.item() for loss in self.unread]
        if not all(map(math.isfinite, unread)):
            self.read(step)
        return {"total": self.total, "steps": self.steps, "unread": unread}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s output.

        Only a run in one process stores unread losses (`Interruption.after_step`), those of whole
        batches. Where several processes go on with it, the main one alone takes them, because
        reading adds up what all processes have.
        """
        self.total, self.steps = state["total"], state["steps"]
        device = self.accelerator.device
        share = float(self.accelerator.is_main_process)
        self.unread = [torch.tensor(share * loss, device=device) for loss in state["unread"]]


def check_weights(run: Run, model: nn.Module, accelerator: Accelerator, step: int) -> None:
    """Raises `TrainingError` if the update of a step has left a weight that is not finite.

    The loss of a step is computed before its update, so that it cannot show this.
    """
    trained = [weight.detach() for weight in model.parameters() if weight.requires_grad]
    local = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in trained]
    if local:
        norms = torch.stack([norm.float() for norm in torch._foreach_norm(local)])
        if not devices.total(norms.sum()[None], accelerator).isfinite().all():
            raise _diverged(run, f"step {step} has left weights that are not finite")


def _diverged(run: Run, what: str) -> TrainingError:
    return TrainingError(
        f"{run.name}: {what}. The last good checkpoint is kept in {run.folder / 'checkpoint'}. Try "
        "a lower optim.lr or optim.muon_lr, more optim.warmup_steps, or train.precision=fp32."
    )
