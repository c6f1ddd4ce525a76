"""The machine that figures were measured on."""

import os
import platform
import re
from pathlib import Path

import mmcv
import mmdet
import mmengine
import torch


def machine(device: torch.device) -> dict[str, str]:
    """Describe the processor, the device and the software versions."""
    info = Path('/proc/cpuinfo')
    named = info.exists() and re.search(
        r'model name\s*:\s*(.+)', info.read_text()
    )
    cpu = named.group(1).strip() if named else platform.processor()
    return dict(
        processor=f'{cpu}, {os.cpu_count()} cores, '
        f'{torch.get_num_threads()} threads',
        device=torch.cuda.get_device_name(device)
        if device.type == 'cuda'
        else 'cpu',
        software=f'torch {torch.__version__}, mmdet {mmdet.__version__}, '
        f'mmcv {mmcv.__version__}, mmengine {mmengine.__version__}, '
        f'Python {platform.python_version()}',
    )
