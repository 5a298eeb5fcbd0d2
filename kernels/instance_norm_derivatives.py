# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""First and second derivatives of instance norm, over any pair of operators that compute it."""

from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

from cyclegan.errors import TensorError
from cyclegan.kernels.reference import moments_reference, norm_backward_reference


def differentiate(forward: Any, backward: Any) -> None:
    """Register ``backward`` as the derivative of ``forward``, and one of ``backward``.

    Both are registered operators with the signatures of ``instance_norm_ops.py``.
    """

    def keep_forward(ctx, inputs, output) -> None:
        x, weight, bias, residual, ctx.eps, ctx.activation, ctx.pad, _ = inputs
        ctx.residual = None if residual is None else residual.dtype
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, bias, *output[2:])

    def gradients(ctx, dz, dpadded, dmean, drstd):
        x, weight, bias, mean, rstd = ctx.saved_tensors
        if dz is None and dpadded is None:
            return (None,) * 8
        dpadded = dpadded if ctx.pad else None
        whole = ctx.residual is not None and dpadded is not None
        dx, sums, dy = backward(
            dz, dpadded, x, mean, rstd, weight, bias, ctx.eps, ctx.activation, ctx.pad, whole
        )
        return (
            dx,
            None if weight is None else sums[:, 1].sum(0).to(weight.dtype),
            None if bias is None else sums[:, 0].sum(0).to(bias.dtype),
            None if ctx.residual is None else (dy if whole else dz).to(ctx.residual),
            *(None,) * 4,
        )

    forward.register_autograd(gradients, setup_context=keep_forward)
    backward.register_autograd(_backward_of_backward, setup_context=_keep_backward)


def count_flops(forward: Any, backward: Any) -> None:
    """Tell PyTorch's counter of floating-point operations what both take."""
    register_flop_formula(forward)(_forward_flops)
    register_flop_formula(backward)(_backward_flops)


def _keep_backward(ctx, inputs, output) -> None:
    *tensors, ctx.eps, ctx.activation, ctx.pad, ctx.whole = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _backward_of_backward(ctx, d_dx, d_sums, d_dy):
    """For gradient penalties: the reference's backward, differentiated; mean and rstd follow x."""
    if torch.is_grad_enabled():
        raise TensorError(
            "a third derivative of instance_norm was asked for; it has two: "
            "take the last torch.autograd.grad without create_graph"
        )
    if d_dx is d_sums is d_dy is None:
        return (None,) * 11
    dz, dpadded, x, mean, _, weight, bias = ctx.saved_tensors
    wide: list[Any] = [
        t if t is None else t.detach().to(mean.dtype) for t in (dz, dpadded, x, weight, bias)
    ]
    given = [t.requires_grad_() for t in wide if t is not None]
    with torch.enable_grad():
        moments = moments_reference(wide[2], ctx.eps)
        outputs = norm_backward_reference(
            wide[0], wide[1], wide[2], *moments, wide[3], wide[4], ctx.activation, ctx.pad
        )
        wanted = (d_dx, d_sums, d_dy if ctx.whole else None)
        total = sum((y * dy).sum() for y, dy in zip(outputs, wanted) if dy is not None)
    found = iter(torch.autograd.grad(total, given, allow_unused=True))
    dz, dpadded, dx, dweight, dbias = (None if t is None else next(found) for t in wide)
    return dz, dpadded, dx, None, None, dweight, dbias, *(None,) * 4


def _forward_flops(x_shape, *args, **kwargs) -> int:
    """Two sums, then a difference, a product and what follows: about 8 an element."""
    return 8 * torch.Size(x_shape).numel()


def _backward_flops(dz_shape, dpadded_shape, x_shape, *args, **kwargs) -> int:
    """x^ and g twice, two sums, and the combination: about 16 an element."""
    return 16 * torch.Size(x_shape).numel()
