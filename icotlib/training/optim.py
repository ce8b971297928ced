"""The optimizers, Muon and AdamW, and the learning rate over time."""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from icotlib.config import OptimConfig, RunConfig
from icotlib.models.parameters import split_parameters
from icotlib.models.precision import mixed_precision


class BatchedMuon(Muon):
    """Muon that orthogonalises all matrices of one shape at once.

    Muon is the optimizer of Jordan et al. (2024), "Muon: An optimizer for hidden layers in neural
    networks": SGD with Nesterov momentum whose update of each matrix is orthogonalised, with
    AdamW's decoupled weight decay. The update is that of `torch.optim.Muon`, which takes one matrix
    after the other, in bf16. For the dozens of small matrices of a small model, that is a third of
    a training step. The update of a matrix `[rows, columns]` is scaled by max(1, rows / columns)
    to the power of 1/2, as it is stored. GPT-2's are `[inputs, outputs]`: the matrix into an MLP
    moves half as far there as in a model that stores the transpose, that out of it twice as far.

    Args:
        dtype: what the updates are orthogonalised in, on a CPU; on other devices it is bf16.
    """

    def __init__(self, parameters: Any, dtype: torch.dtype = torch.float32, **settings: Any):
        super().__init__(parameters, **settings)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One optimizer step; takes no closure."""
        for group in self.param_groups:
            parameters: list[Tensor] = []
            gradients: list[Tensor] = []
            momenta: list[Tensor] = []
            self._init_group(group, parameters, gradients, momenta)
            if not parameters:
                continue
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            updates = torch._foreach_lerp(gradients, momenta, group["momentum"])
            dtype = self.dtype if updates[0].device.type == "cpu" else torch.bfloat16
            orthogonal = orthogonalize(updates, group["ns_coefficients"], group["ns_steps"], dtype)
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            for parameter, update in zip(parameters, orthogonal, strict=True):
                rows, columns = parameter.shape
                scale = max(1, rows / columns) ** 0.5
                parameter.add_(update, alpha=-group["lr"] * scale)


def orthogonalize(
    matrices: Sequence[Tensor],
    coefficients: tuple[float, float, float],
    steps: int,
    dtype: torch.dtype = torch.float32,
) -> list[Tensor]:
    """For each matrix an approximation of the nearest orthogonal one, by Newton-Schulz iterations.

    Matrices of one shape are stacked.

    Args:
        coefficients: a, b and c of `newton_schulz`.
        dtype: of the products: bf16 as usual, or fp32 where bf16 products are slow.
    """
    wide = [matrix.T if matrix.shape[0] > matrix.shape[1] else matrix for matrix in matrices]
    shapes: dict[torch.Size, list[int]] = {}
    for number, matrix in enumerate(wide):
        shapes.setdefault(matrix.shape, []).append(number)
    orthogonal: dict[int, Tensor] = {}
    for numbers in shapes.values():
        x = torch.stack([wide[number] for number in numbers]).to(dtype)
        x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
        orthogonal.update(zip(numbers, newton_schulz(x, coefficients, steps), strict=True))
    tall = [matrix.shape[0] > matrix.shape[1] for matrix in matrices]
    return [orthogonal[i].T if tall[i] else orthogonal[i] for i in range(len(matrices))]


#: Iterations in bf16 before the Gram matrix is computed anew: the error of three is that of single
#: ones but for the matrices that `LARGEST` finds, five diverge.
TOGETHER = 3

#: Rows of an orthogonalised matrix have a norm of up to 1.21; longer ones show that it diverged.
LARGEST = 1.3


def newton_schulz(x: Tensor, coefficients: tuple[float, float, float], steps: int) -> Tensor:
    """Repeat x <- (a + b G + c G^2) x with G = x x^T, for x `[n, rows, columns]`, rows <= columns.

    This is the quintic iteration of Jordan et al. (2024), which drives the singular values of x
    towards 1. With their coefficients, a = 3.4445, b = -4.7750 and c = 2.0315 (the default of
    `torch.optim.Muon`), five iterations bring all but the smallest ones to between about 0.7 and
    1.2. None may be above 1 at the start: `orthogonalize` divides x by its Frobenius norm.

    The factors of several iterations are polynomials of the first G and commute. Where x has at
    least twice as many columns as rows, the factors `[rows, rows]` are multiplied with each other
    first and with x at the end: in fp32 all of them, to a few parts in 10,000, in 70% of the time;
    in bf16 `TOGETHER`. In bf16, 2 of 10,000 sparse matrices of low rank diverge that way; they are
    iterated singly, and all are on a GPU, which would have to wait to find them.
    """
    if x.shape[2] < 2 * x.shape[1] or (x.dtype == torch.bfloat16 and x.device.type != "cpu"):
        return _singly(x, coefficients, steps)
    if x.dtype != torch.bfloat16:
        return _factors(x, coefficients, steps) @ x
    result = x
    for done in range(0, steps, TOGETHER):
        result = _factors(result, coefficients, min(TOGETHER, steps - done)) @ result
    diverged = ~(result.norm(dim=2).amax(dim=1) <= LARGEST)  # a norm may be NaN
    if diverged.any():
        result[diverged] = _singly(x[diverged], coefficients, steps)
    return result


def _singly(x: Tensor, coefficients: tuple[float, float, float], steps: int) -> Tensor:
    """So many iterations, each with a Gram matrix of its own."""
    a, b, c = coefficients
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _factors(x: Tensor, coefficients: tuple[float, float, float], steps: int) -> Tensor:
    """The product of the factors of so many iterations, `[n, rows, rows]`."""
    a, b, c = coefficients
    gram = x @ x.mT
    product: Tensor | None = None
    for step in range(steps):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        product = factor if product is None else factor @ product
        if step + 1 < steps:
            gram = factor @ gram @ factor
    assert product is not None
    return product


def make_optimizers(config: RunConfig, model: nn.Module) -> list[Optimizer]:
    """AdamW alone, or Muon on the hidden matrices and AdamW on everything else.

    On a CPU, Muon computes in bf16 where the model does. Each parameter group stores its peak rate
    as `peak_lr`, which `set_rate` scales.
    """
    hidden, decayed, plain = split_parameters(model)
    settings = config.optim
    fused: dict[str, Any] = {"betas": (settings.beta1, settings.beta2), "fused": True}
    if settings.name == "muon":
        in_bf16 = mixed_precision(config.train.precision) == "bf16"
        muon = BatchedMuon(
            hidden,
            torch.bfloat16 if in_bf16 else torch.float32,
            lr=settings.muon_lr,
            momentum=0.95,
            weight_decay=settings.weight_decay,
        )
        optimizers: list[Optimizer] = [muon]
        if decayed or plain:  # of adapters alone there are none
            optimizers.append(AdamW(decayed + plain, lr=settings.lr, weight_decay=0.0, **fused))
    else:
        groups = [
            {"params": hidden, "weight_decay": settings.weight_decay},
            {"params": decayed + plain, "weight_decay": 0.0},
        ]
        optimizers = [AdamW(groups, lr=settings.lr, **fused)]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


class Together:
    """Several optimizers as one, for a scaler of gradients: all of them step, or none."""

    def __init__(self, optimizers: Sequence[Any]):
        self.optimizers = [getattr(one, "optimizer", one) for one in optimizers]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for one in self.optimizers for group in one.param_groups]

    def step(self) -> None:
        for one in self.optimizers:
            one.step()


def step(
    optimizers: Sequence[Any], accelerator: Accelerator, parameters: Any, clip: float | None
) -> None:
    """Clip the gradients, take a step with every optimizer, and forget the gradients.

    In fp16 gradients are scaled. Accelerate would update the scale behind each optimizer, and the
    next one would unscale its gradients again.

    Args:
        clip: the largest norm of all gradients together; None or 0 for no limit.
    """
    scaler = accelerator.scaler
    if scaler is None or accelerator.is_fsdp2:  # where there is one optimizer
        if clip:
            accelerator.clip_grad_norm_(parameters, clip)
        for optimizer in optimizers:
            optimizer.step()
    else:
        together: Any = Together(optimizers)
        scaler.unscale_(together)
        if clip:
            nn.utils.clip_grad_norm_(parameters, clip)
        scaler.step(together)
        scaler.update()
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)


def scale(accelerator: Accelerator) -> dict[str, Any] | None:
    """What a checkpoint keeps of the scale of gradients, ready for JSON; None where none is."""
    return None if accelerator.scaler is None else accelerator.scaler.state_dict()


def set_scale(accelerator: Accelerator, state: dict[str, Any] | None) -> None:
    """Go on from the output of `scale`; checkpoints of fp16 did not always have it."""
    if accelerator.scaler is not None and state:
        accelerator.scaler.load_state_dict(state)


def rate_at(config: OptimConfig, step: int, steps: int) -> float:
    """The fraction of the peak rate at a step: linear rise, plateau, linear fall to zero."""
    rise = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    falling = config.decay_fraction * steps
    fall = min(1.0, (steps - step) / falling) if falling else 1.0
    return min(rise, fall)


def set_rate(optimizers: list[Optimizer], fraction: float) -> None:
    """Set every group to a fraction of its peak rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * fraction


def reset(optimizers: list[Optimizer]) -> None:
    """Forget all moments, as if the optimizers were new."""
    for optimizer in optimizers:
        getattr(optimizer, "optimizer", optimizer).state.clear()


def on_device(optimizers: list[Optimizer], device: torch.device) -> None:
    """Move optimizer state, which is loaded on the CPU, to the device of the model."""
    for optimizer in optimizers:
        for state in optimizer.state.values():
            for name, value in state.items():
                if isinstance(value, Tensor) and name != "step":
                    state[name] = value.to(device)
