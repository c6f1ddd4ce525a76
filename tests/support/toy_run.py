"""A run of mmengine's Runner that trains a single number in milliseconds."""

from pathlib import Path

import torch
from mmdet.structures import DetDataSample
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

EPOCHS = 4


class Toy(BaseModel):
    """Learns the mean of its images."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, inputs, data_samples, mode):
        if mode == 'predict':
            return data_samples
        return self.losses(torch.stack(inputs), data_samples)

    def losses(self, images, samples):
        return dict(loss_mean=(self.weight - images.mean()) ** 2)


class Images(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        sample = DetDataSample(metainfo=dict(img_id=100 + index))
        return dict(inputs=torch.rand(()) + index, data_samples=sample)


class Rising(BaseMetric):
    """A metric that improves in every evaluation."""

    default_prefix = 'toy'
    figure = 0

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        Rising.figure += 1
        return dict(figure=Rising.figure)


def loader(shuffle, workers=0):
    return dict(
        num_workers=workers,
        worker_init_fn=dict(type='keep_epoch_seed'),
        dataset=Images(),
        sampler=dict(type='DefaultSampler', shuffle=shuffle),
        collate_fn=pseudo_collate,
        batch_size=2,
    )


def toy_runner(
    folder: Path, model=Toy, workers: int = 0, **checkpoint
) -> Runner:
    """A runner that resumes from its folder; an epoch has two iterations.

    Args:
        folder: the work directory.
        model: the model's class.
        workers: processes that load the training images.
        checkpoint: options of the WholeCheckpointHook.
    """
    evaluation = {}
    if 'save_best' in checkpoint:
        evaluation = dict(
            val_dataloader=loader(False),
            val_cfg=dict(),
            val_evaluator=dict(type=Rising),
        )
    return Runner(
        model=model(),
        work_dir=str(folder),
        train_dataloader=loader(True, workers),
        train_cfg=dict(by_epoch=True, max_epochs=EPOCHS),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)),
        default_hooks=dict(
            checkpoint=dict(
                type='WholeCheckpointHook', interval=1, **checkpoint
            )
        ),
        custom_hooks=[
            dict(type='EpochSeedHook'),
            dict(type='FiniteLossHook'),
        ],
        default_scope='mmdet',
        randomness=dict(seed=3),
        resume=True,
        log_level='ERROR',
        experiment_name=str(folder),
        **evaluation,
    )


def last_weights(folder: Path) -> float:
    """The weight in the checkpoint from which a run resumes."""
    last = (folder / 'last_checkpoint').read_text()
    return torch.load(last)['state_dict']['weight'].item()
