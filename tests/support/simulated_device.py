"""A pretended accelerator, which shows what a GPU would refuse or wait for.

    with simulated_device() as waits:
        model.to('sim')

Within the block ``device='sim'`` exists. Its tensors hold their values on the
CPU. As on a GPU, an operator refuses tensors of two devices, and NumPy cannot
read a tensor. ``waits`` grows by each operation for which the CPU would wait
until the GPU has done all its work: a copy from or to the CPU, and whatever
has a result that depends on values, such as ``nonzero``. It shows neither the
speed nor the kernels of a real device.
"""

import linecache
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any, NamedTuple
from unittest.mock import patch

import mmcv.ops  # noqa: F401  makes its modules
import mmengine.structures.instance_data as instance_data
import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

NAME = 'lazy'
# Operators that read values to know the size of their result, or to return
# numbers
READING = {
    'aten::_local_scalar_dense',
    'aten::_unique2',
    'aten::bincount',
    'aten::equal',
    'aten::masked_select',
    'aten::nonzero',
    'aten::repeat_interleave',
    'aten::unique_consecutive',
    'aten::unique_dim',
    'aten::unique_dim_consecutive',
}
COPYING = {'aten::_to_copy', 'aten::copy_'}
INDEXING = {
    'aten::index',
    'aten::index_put',
    'aten::index_put_',
    'aten::_index_put_impl_',
}
# They accept a number (a tensor without dimensions) of the CPU beside tensors
# of a GPU, as do all operators that work element by element.
ACCEPTING_NUMBERS = {'aten::fill_', 'aten::masked_fill', 'aten::masked_fill_'}


# Operators that, as views, give the device nothing to do
IDLE = {
    'aten::_unsafe_view',
    'aten::empty',
    'aten::empty_like',
    'aten::empty_strided',
    'aten::new_empty',
    'aten::new_empty_strided',
}


class Wait(NamedTuple):
    """An operation for which the CPU would wait."""

    reason: str
    place: str  # file, line and code of the caller

    def __str__(self) -> str:
        return f'{self.reason:30} {self.place}'


class Simulated(Tensor):
    """A tensor of the device, with its ``values`` on the CPU."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> 'Simulated':
        made = Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=torch.device(NAME, 0),
        )
        made.values = values
        return made

    def __repr__(self, **kwargs: Any) -> str:
        return f'Simulated({self.values})'

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise RuntimeError(f'{function} outside of simulated_device()')


class _Operators(TorchDispatchMode):
    """Run operators on the values; refuse two devices and record waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[Wait] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function._schema.name
        device = kwargs.get('device')
        given = list(_tensors((args, kwargs)))
        here = [x for x in given if isinstance(x, Simulated)]
        if here:
            _refuse_two_devices(function, name, args, given)
        reason = _reason_to_wait(name, args, kwargs, here)
        if reason:
            self.waits.append(Wait(reason, _place()))
        if device is not None and _is_simulated(device):
            kwargs = dict(kwargs, device='cpu')
        out = function(*_values(args), **_values(kwargs))
        for x in here:  # changed in place
            if x.values is out:
                return x
        stays = here if device is None else _is_simulated(device)
        if name == 'aten::copy_':
            return args[0]
        return _replaced(out, Tensor, Simulated) if stays else out


class DeviceOperators(TorchDispatchMode):
    """Record the operators that the device runs, within simulated_device().

    Attributes:
        places: The line of the caller of each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        here = any(isinstance(x, Simulated) for x in _tensors((args, kwargs)))
        here = here or _is_simulated(kwargs.get('device'))
        idle = function.is_view or function._schema.name in IDLE
        if here and not idle:
            self.places.append(_place())
        return function(*args, **kwargs)


class _Calls(TorchFunctionMode):
    """Do as CUDA does what PyTorch decides by device before it dispatches."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        device = kwargs.get('device')
        if function is torch.tensor and _is_simulated(device):
            return function(*args, **dict(kwargs, device='cpu')).to(device)
        if args and isinstance(args[0], Simulated):
            if function is Tensor.new_tensor:
                like = torch.empty(0, dtype=args[0].dtype)
                made = like.new_tensor(*args[1:], **dict(kwargs, device=None))
                return made.to(device or args[0].device)
            if function is Tensor.tolist:
                return args[0].cpu().tolist()
            if function is Tensor.__getitem__:
                args = (args[0], _index(args[1]))
            if function is Tensor.__setitem__:
                value = args[2]
                if not isinstance(value, Tensor):
                    value = torch.tensor(value, dtype=args[0].dtype)
                args = (args[0], _index(args[1]), value)
        return function(*args, **kwargs)


@contextmanager
def simulated_device() -> Iterator[list[Wait]]:
    """Let the device exist, and be the one that mmengine chooses.

    Yields:
        The waits so far.
    """
    operators = _Operators()
    index_types = instance_data.IndexType | Simulated
    with ExitStack() as stack:
        for owner, name, value in (
            ('mmengine.device.utils', 'DEVICE', NAME),
            ('mmengine.structures.instance_data', 'IndexType', index_types),
        ):
            stack.enter_context(patch(f'{owner}.{name}', value))
        for module in list(sys.modules.values()):
            extension = getattr(module, 'ext_module', None)
            if isinstance(extension, ModuleType):
                pretended = _Extension(extension, operators.waits)
                stack.enter_context(
                    patch.object(module, 'ext_module', pretended)
                )
        stack.enter_context(_Calls())
        stack.enter_context(operators)
        yield operators.waits


class _Extension:
    """mmcv's compiled operators, which PyTorch does not dispatch."""

    def __init__(self, module: ModuleType, waits: list[Wait]) -> None:
        self._module, self._waits = module, waits

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._module, name)

        def run(*args, **kwargs):
            given = list(_tensors((args, kwargs)))
            here = [x for x in given if isinstance(x, Simulated)]
            if here and len(here) < len(given):
                raise RuntimeError(
                    f'mmcv.ops: {name} meets tensors of two devices at '
                    f'{_place()}'
                )
            if here and 'nms' in name:
                self._waits.append(Wait(f'mmcv.ops: {name}', _place()))
            out = function(*_values(args), **_values(kwargs))
            return _replaced(out, Tensor, Simulated) if here else out

        return run


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, (list, tuple, dict)):
        for x in tree.values() if isinstance(tree, dict) else tree:
            yield from _tensors(x)


def _replaced(tree: Any, kind: type, new: Callable) -> Any:
    """A tree of lists, tuples and dicts with ``new(x)`` for tensors ``x`` of
    a kind."""
    if isinstance(tree, kind):
        return new(tree)
    if isinstance(tree, dict):
        return {k: _replaced(v, kind, new) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)([_replaced(x, kind, new) for x in tree])
    return tree


def _is_simulated(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _values(tree: Any) -> Any:
    return _replaced(tree, Simulated, lambda x: x.values)


def _index(key: Any) -> Any:
    """A key with tensors of the CPU in place of lists and the like."""
    if isinstance(key, tuple):
        return tuple(map(_index, key))
    if isinstance(key, (list, range, np.ndarray)):
        return torch.tensor(key)
    return key


def _refuse_two_devices(
    function: Any, name: str, args: Sequence, given: Sequence[Tensor]
) -> None:
    others = [x for x in given if not isinstance(x, Simulated)]
    if name in COPYING:
        return
    if name in INDEXING and isinstance(args[0], Simulated):
        # CUDA moves indices and numbers by itself.
        others = [x for x in args[2:3] if x in others and x.dim()]
    elif torch.Tag.pointwise in function.tags or name in ACCEPTING_NUMBERS:
        others = [x for x in others if x.dim()]
    if others:
        raise RuntimeError(
            f'{function} meets tensors of two devices at {_place()}'
        )


def _reason_to_wait(
    name: str, args: Sequence, kwargs: dict, here: Sequence[Tensor]
) -> str:
    """Why the CPU would wait for an operator, '' if it would not."""
    if name in READING and here:
        return name
    if name in COPYING:
        target = args[0] if name == 'aten::copy_' else kwargs.get('device')
        source = args[1] if name == 'aten::copy_' else args[0]
        if isinstance(target, Tensor):
            target = target.device
        if target is not None and (
            _is_simulated(target) != isinstance(source, Simulated)
        ):
            if not _is_simulated(target):
                return 'copy from the device'
            # CUDA copies to a buffer of its own before it returns.
            asynchronous = kwargs.get('non_blocking') or args[2:3] == (True,)
            return '' if asynchronous else 'copy to the device'
    if name in INDEXING and here:
        indices = [i for i in args[1] if i is not None]
        masks = [i for i in indices if i.dtype in (torch.bool, torch.uint8)]
        value = args[2] if len(args) > 2 else None
        number = value is not None and value.device.type == 'cpu'
        if masks and number and len(indices) == 1:
            return ''  # PyTorch calls masked_fill_
        if masks:
            return 'index by a mask'
        if number or not all(isinstance(i, Simulated) for i in indices):
            return 'copy to the device'
    return ''


def _place() -> str:
    """The innermost line of this repository or OpenMMLab that is running."""
    frame = sys._getframe(1)
    while (
        frame.f_code.co_filename == __file__
        or '/torch/' in frame.f_code.co_filename
    ):
        frame = frame.f_back
    file, line = frame.f_code.co_filename, frame.f_lineno
    code = linecache.getline(file, line).strip()[:60]
    return f'{"/".join(file.split("/")[-3:])}:{line} {code}'
