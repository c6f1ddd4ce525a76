"""Parts of tensors that are too long to be computed at once."""


def slices(length: int, at_once: int) -> list[slice]:
    """Return slices of at most ``at_once`` items; one, empty, of no items.

    ``Tensor.split`` would do, but torch.compile fails to split no items.
    """
    firsts = range(0, max(length, 1), at_once)
    return [slice(first, first + at_once) for first in firsts]
