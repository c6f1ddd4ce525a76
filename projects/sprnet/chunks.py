"""Parts of tensors that are too long to be computed at once."""

from torch import Tensor


def parts(x: Tensor, at_once: int) -> tuple[Tensor, ...]:
    """Return parts of at most ``at_once`` items; one, empty, of no items.

    Slices would not do: the gradient of each is a tensor as long as ``x``.
    """
    # torch.compile fails to split no items.
    return x.split(at_once) if len(x) else (x,)
