"""The short training: on one GPU, in float16 and on all GPUs."""

import json
import math
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from .processes import PartError, Run, call

CONFIG = 'configs/sprnet/sprnet_r18_gfpn_shapes.py'
PICTURES = dict(train=400, val=40)
FEWER_PICTURES = dict(train=24, val=4)  # without a GPU
EPOCHS = 3
TOLERANCE = 0.005  # of AP, on a CPU and on a GPU
FIGURES = ('coco/bbox_mAP', 'coco/segm_mAP')
WITHOUT_GPU = dict(CUDA_VISIBLE_DEVICES='-1')


def training(run: Run, results: dict) -> None:
    """Train on the shapes in each way at the same time, and test.

    ``results['trainings']`` gets, by way, the figures of the trained model on
    the GPU and, but for the way with all GPUs, on the CPU.

    Raises:
        PartError: A way failed, an AP is not finite, or the APs of GPU and
            CPU differ.
    """
    shutil.rmtree(run.folder / 'training', ignore_errors=True)
    data = run.folder / 'shapes'
    pictures = FEWER_PICTURES if run.rehearsal else PICTURES
    counts = [word for k, n in pictures.items() for word in (f'--{k}', n)]
    call(
        run,
        run.folder / 'make_shapes.log',
        ['tools/make_shapes.py', data, *counts],
    )
    results['setting'] = dict(
        config=CONFIG, epochs=1 if run.rehearsal else EPOCHS, **pictures
    )
    gpus = torch.cuda.device_count() or 1
    ways = {'1 GPU': None, '1 GPU, --amp': None, f'all GPUs ({gpus})': gpus}
    trainings = results['trainings'] = {way: {} for way in ways}
    failures = []

    def try_way(way: str, ranks: int | None) -> None:
        try:
            train_and_test(run, data, way, ranks, trainings[way])
        except PartError as error:
            failures.append(f'{way}: {error}')

    # They hardly use a GPU, so they share it.
    with ThreadPoolExecutor(len(ways)) as pool:
        list(pool.map(try_way, ways.keys(), ways.values()))
    if failures:
        raise PartError('\n'.join(failures))


def train_and_test(
    run: Run, data: Path, way: str, ranks: int | None, results: dict
) -> None:
    """Train in one way and test the last checkpoint.

    Args:
        run: What every part needs.
        data: Folder of the shapes.
        way: Name of the way.
        ranks: Processes, each with a GPU, that ``dist_train.sh`` starts; None
            for ``train.py``.
        results: Gets figures as they are known.
    """
    name = ''.join(c if c.isalnum() else '_' for c in way)
    folder = run.folder / 'training' / name
    epochs = 1 if run.rehearsal else EPOCHS
    options = [
        '--cfg-options',
        f'data_root={data.absolute()}',
        f'train_cfg.max_epochs={epochs}',
        f'param_scheduler.1.end={epochs}',
        f'train_cfg.val_interval={epochs + 1}',
        'train_dataloader.num_workers=4',
        'default_hooks.logger.interval=10',
    ]
    if run.rehearsal:  # so that there are detections
        options.append('model.test_cfg.score_thr=0.0')
    where = ['--work-dir', folder]
    amp = ['--amp'] if 'amp' in way else []
    environment = WITHOUT_GPU if run.rehearsal else {}

    def step(kind: str, words: Sequence[object], **environment: str) -> None:
        call(run, folder / f'{kind}.log', words, **environment)

    if ranks:
        if not run.rehearsal:  # a CPU has none
            options.append('model.backbone.norm_cfg.type=SyncBN')
        words = ['tools/dist_train.sh', CONFIG, ranks]
    else:
        words = ['tools/train.py', CONFIG]
    step('train', [*words, *where, *amp, *options], **environment)
    results.update(logged(folder))
    checkpoint = (folder / 'last_checkpoint').read_text().strip()

    tested = [CONFIG, checkpoint, *([ranks] if ranks else [])]
    tool = 'tools/dist_test.sh' if ranks else 'tools/test.py'
    out = ['--work-dir', folder / 'gpu', *options]
    step('test', [tool, *tested, *out], **environment)
    results['gpu'] = check_figures(folder / 'gpu')
    if ranks:
        return
    out = ['--work-dir', folder / 'cpu', *options]
    step('test_on_cpu', ['tools/test.py', *tested, *out], **WITHOUT_GPU)
    results['cpu'] = check_figures(folder / 'cpu')
    for figure in FIGURES:
        gap = abs(results['gpu'][figure] - results['cpu'][figure])
        if gap > TOLERANCE:
            raise PartError(
                f'{figure} of the same checkpoint is '
                f'{results["gpu"][figure]} on the GPU and '
                f'{results["cpu"][figure]} on the CPU'
            )


def logged(folder: Path) -> dict[str, float]:
    """The last loss, and the median seconds of an iteration, of a training."""
    (file,) = folder.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines = [line for line in lines if 'loss' in line]
    times = sorted(line['time'] for line in lines)
    return dict(
        loss=lines[-1]['loss'],
        iteration=times[len(times) // 2],
        memory=lines[-1].get('memory', 0),
    )


def check_figures(folder: Path) -> dict[str, float]:
    """The figures that test.py wrote.

    Raises:
        PartError: An AP is missing or not finite.
    """
    (file,) = folder.glob('*/*.json')
    figures = json.loads(file.read_text())
    for name in FIGURES:
        if not math.isfinite(figures.get(name, math.nan)):
            raise PartError(f'{file}: {name} is {figures.get(name)}')
    return {name: figures[name] for name in FIGURES}
