"""Reduce mmcv's source package to the operators that SPRNet's configs need.

    python tools/setup_core_ops.py MMCV_FOLDER

mmcv compiles 77 files, 136 with CUDA, and has no option to choose among them.
This leaves its ``setup.py`` one file, which includes the chosen ones as they
are, and eight more with CUDA. It puts a module in front of the extension that
says what is missing.
"""

import re
import sys
from pathlib import Path

# mmcv/ops/csrc/pytorch/X.cpp, with what there is of cpu/X.cpp and
# cuda/X_cuda.cu
SOURCES = [
    'deform_conv',
    'focal_loss',
    'info',
    'masked_conv2d',
    'modulated_deform_conv',
    'nms',
    'roi_align',
    'roi_pool',
]
OPERATORS = [
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'masked_col2im_forward',
    'masked_im2col_forward',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'nms',
    'nms_match',
    'roi_align_backward',
    'roi_align_forward',
    'roi_pool_backward',
    'roi_pool_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softmax_focal_loss_backward',
    'softmax_focal_loss_forward',
    'softnms',
]
# Names in the parts of cuda/cudabind.cpp that register their kernels
KERNELS = re.compile(
    r'\b(nms_(cuda|impl)|NMSCUDA|roi_(align|pool)_(for|back)ward'
    r'|ROI(Align|Pool)(For|Back)ward|s\w+_focal_loss|S\w+FocalLoss'
    r'|(modulated_)?deformable_|masked_(im2col|col2im)|Masked)'
)
FRONT = '''\
"""The operators that `make setup` compiled, and a sentence for any other."""

from mmcv._core_ext import *


def __getattr__(name):
    if name.startswith('__'):
        raise AttributeError(name)

    def missing(*args, **kwargs):
        raise NotImplementedError(
            f"mmcv's operator {name} was not compiled: this set-up has only "
            'those that SPRNet needs; `make setup OPS=all` compiles all'
        )

    return missing
'''


def reduce_operators(mmcv: Path) -> None:
    """Leave an unpacked source package of mmcv one file to compile.

    Raises:
        ValueError: If the package lacks one of the operators.
    """
    folder = mmcv / 'mmcv' / 'ops' / 'csrc' / 'pytorch'
    # pybind.cpp has one statement `m.def("name", ...);` for each operator.
    statements = {
        match[1]: match[0]
        for match in re.finditer(
            r'^  m\.def\("(\w+)".*?;$',
            (folder / 'pybind.cpp').read_text(),
            re.MULTILINE | re.DOTALL,
        )
    }
    if missing := [name for name in OPERATORS if name not in statements]:
        raise ValueError(f'{mmcv} has no operator {missing[0]}')
    chosen = [
        source
        for name in SOURCES
        for source in (folder / f'{name}.cpp', folder / 'cpu' / f'{name}.cpp')
        if source.exists()
    ]
    lines = ['#include <torch/extension.h>']
    for source in sorted([*folder.glob('*.cpp'), *folder.glob('cpu/*.cpp')]):
        if source in chosen:  # setup.py compiles each *.cpp that it finds
            included = source.rename(source.with_suffix('.inc'))
            lines.append(f'#include "{included.relative_to(folder)}"')
        else:
            source.unlink()
    lines += ['PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {']
    lines += [*(statements[name] for name in OPERATORS), '}', '']
    (folder / 'core_ops.cpp').write_text('\n'.join(lines))

    reduce_kernels(folder / 'cuda')
    setup = mmcv / 'setup.py'
    setup.write_text(setup.read_text().replace('mmcv._ext', 'mmcv._core_ext'))
    (mmcv / 'mmcv' / '_ext.py').write_text(FRONT)


def reduce_kernels(folder: Path) -> None:
    """Leave mmcv's folder of CUDA kernels those of the chosen operators."""
    for file in folder.glob('*.cu'):
        if file.stem.removesuffix('_cuda') not in SOURCES:
            file.unlink()
    registry = folder / 'cudabind.cpp'
    # Blank lines separate its functions, whose own lines are indented.
    includes, *parts = re.split(r'\n\n(?=\S)', registry.read_text())
    kept = [part for part in parts if KERNELS.search(part)]
    registry.write_text('\n\n'.join([includes, *kept, '']))


if __name__ == '__main__':
    reduce_operators(Path(sys.argv[1]))
