"""Images per second of the exported model in ONNX Runtime."""

import tempfile
from functools import partial
from pathlib import Path

import onnxruntime
import torch
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from onnx_export.graph import export

from .candidates import spread_scores
from .clock import in_turns, seconds
from .subjects import Subject, build, prepare, test_batch
from .throughput import Setting

PROVIDERS = dict(
    cuda=('CUDAExecutionProvider', 'TensorrtExecutionProvider'),
    cpu=('CPUExecutionProvider',),
)


def providers_for(device: torch.device) -> list[str]:
    """The installed providers of ONNX Runtime that use a device."""
    installed = onnxruntime.get_available_providers()
    return [p for p in PROVIDERS[device.type] if p in installed]


def runtimes(name: str, config: Config, setting: Setting) -> dict:
    """Measure an exported SPRNet at batch 1 with each installed provider.

    The time is from the normalised image to boxes and 32x32 maps. The file is
    exported from a model with the score threshold of the other measurements.

    Returns:
        By provider, the seconds of each round.
    """
    cpu = torch.device('cpu')
    subject = Subject(name, build(config, cpu), cpu)
    data = test_batch(setting.image, setting.size)
    setting.report(f'exporting {name}')
    spread_scores(subject.model, lambda: subject.predict(data))
    prepare(subject, setting.image, setting.size)
    subject.model.dataset_meta = CocoDataset.METAINFO
    inputs = subject.model.data_preprocessor(data)
    shapes = [sample.img_shape[:2] for sample in inputs['data_samples']]
    feed = dict(
        images=inputs['inputs'].numpy(),
        image_shapes=torch.tensor(shapes).numpy(),
    )
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'model.onnx'
        export(subject.model, config, file)
        for provider in providers_for(setting.device):
            session = onnxruntime.InferenceSession(
                file, providers=[provider, 'CPUExecutionProvider']
            )
            run = partial(session.run, None, feed)
            runs[provider] = partial(seconds, run, cpu)
    times = in_turns(runs, setting.rounds, setting.report, warm_up=2)
    return dict(runtimes=times)
