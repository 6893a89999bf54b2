"""Rounding with compensation: layer-wise least squares over integer weights.

Source: Frantar et al., "GPTQ: accurate post-training quantization for generative pre-trained
transformers", ICLR 2023 (OPTQ): column by column, the rounding error of each weight is handed to
the later ones, by the Cholesky factor of the inverse of the Gram matrix. Coordinate descent over
single weights follows, as in Behdin et al., "QuantEase", 2023, arXiv:2309.01885.
"""

import torch
from torch import Tensor

# Share of the mean diagonal of the Gram matrix that is added to its diagonal.
DAMPING = 0.01
_PASSES = 4
# Columns between two updates of all later columns by one matrix product.
_PANEL = 64


def damped(gram: Tensor, damping: float = DAMPING) -> Tensor:
    """Gram matrices (g, d, d) that are positive definite: damped, dead columns with diagonal 1."""
    diagonal = gram.diagonal(dim1=1, dim2=2)
    result = gram.clone()
    added = damping * diagonal.mean(dim=1, keepdim=True).expand_as(diagonal)
    result.diagonal(dim1=1, dim2=2).add_(torch.where(added > 0, added, torch.ones_like(added)))
    return result


def errors(difference: Tensor, gram: Tensor) -> Tensor:
    """Mean squared error of the current, (g, rows), for weights that differ by (g, rows, d)."""
    return ((difference @ gram) * difference).sum(dim=2)


def nearest(target: Tensor, step: Tensor, limit: int) -> Tensor:
    """Integers in -limit .. limit with ``integer * step`` nearest to ``target``."""
    return torch.clamp(torch.round(target / step), -limit, limit)


def compensated(target: Tensor, step: Tensor, gram: Tensor, limit: int) -> Tensor:
    """Integers W with a small error of W * step against ``target`` under the Gram matrix.

    Parameters
    ----------
    target
        (g, rows, d): real weights.
    step
        (g, rows, d): what 1 of each integer is worth, > 0.
    gram
        (g, d, d), positive definite: means of products of two inputs of a window.
    limit
        Largest magnitude of an integer.
    """
    order = gram.diagonal(dim1=1, dim2=2).argsort(dim=1, descending=True)
    target, step = _columns(target, order), _columns(step, order)
    gram = torch.gather(_columns(gram, order), 1, order[:, :, None].expand_as(gram))
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(gram)), upper=True)
    result = torch.empty_like(target)
    left = target.clone()
    depth = target.shape[2]
    for first in range(0, depth, _PANEL):
        last = min(first + _PANEL, depth)
        handed = torch.empty_like(left[:, :, first:last])
        for j in range(first, last):
            result[:, :, j] = nearest(left[:, :, j], step[:, :, j], limit)
            error = left[:, :, j] - result[:, :, j] * step[:, :, j]
            error = error / factor[:, j, j, None]
            left[:, :, j:last] -= error[:, :, None] * factor[:, j, None, j:last]
            handed[:, :, j - first] = error
        left[:, :, last:] -= handed @ factor[:, first:last, last:]
    return torch.empty_like(result).scatter_(2, order[:, None, :].expand_as(result), result)


def descend(
    weight: Tensor, target: Tensor, step: Tensor, gram: Tensor, limit: int, passes: int = _PASSES
) -> Tensor:
    """Integers with an error that is not larger: each weight in turn gets its best value, while
    the others stay. Arguments as in `compensated`."""
    weight = weight.clone()
    difference = target - weight * step
    diagonal = gram.diagonal(dim1=1, dim2=2)
    for _ in range(passes):
        before = weight.clone()
        for first in range(0, weight.shape[2], _PANEL):
            panel = slice(first, min(first + _PANEL, weight.shape[2]))
            slope = difference @ gram[:, :, panel]
            for j in range(panel.start, panel.stop):
                best = (
                    weight[:, :, j] * step[:, :, j] + slope[:, :, j - first] / diagonal[:, j, None]
                )
                new = nearest(best, step[:, :, j], limit)
                change = (new - weight[:, :, j]) * step[:, :, j]
                weight[:, :, j] = new
                difference[:, :, j] -= change
                slope -= change[:, :, None] * gram[:, j, None, panel]
        if torch.equal(before, weight):
            break
    return weight


def _columns(values: Tensor, order: Tensor) -> Tensor:
    """The last axis of (g, rows, d) in the order (g, d)."""
    return torch.gather(values, 2, order[:, None, :].expand_as(values))
