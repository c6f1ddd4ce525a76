"""Results of runs, read from work directories or from saved results."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from projects.sprnet.errors import InputError

TIME_STAMP = re.compile(r'\d{8}_\d{6}')


class Run(NamedTuple):
    """One evaluation and the training that it evaluates.

    Args:
        config: the config's name without .py.
        seed: the config's ``randomness.seed``, None if it is not set.
        started: mmengine's time stamp of the evaluation's start, such as
            20261122_180928.
        by: 'test', or 'validation' at the end of a training.
        metrics: figures in 0..1 by name, such as segm_mAP_50; -1 where no
            object has that size, and none at all without any detection.
        epochs: the training's length, None if it is given in iterations.
        train_seconds: duration of its iterations, None if unknown.
    """

    config: str
    seed: int | None
    started: str
    by: str
    metrics: dict[str, float]
    epochs: int | None
    train_seconds: float | None


def collect(
    paths: Iterable[Path], complain: Callable[[str], None]
) -> list[Run]:
    """Read the runs of folders and files; see :func:`newest`.

    Args:
        paths: work directories, folders of them, or result files: what
            tools/test.py wrote (TIME/TIME.json), a training's
            vis_data/scalars.json, or what :func:`save` wrote (.jsonl).
        complain: called with a sentence for each file that is left out.
    """
    runs = []
    for path in paths:
        files = sorted(path.rglob('*.json')) if path.is_dir() else [path]
        for file in files:
            try:
                runs += _read_file(file, required=file == path)
            except Exception as error:  # a damaged file can raise anything
                sentence = ' '.join(str(error).split())
                complain(f'{file} is left out: {sentence}')
    return newest(runs)


def newest(runs: Iterable[Run]) -> list[Run]:
    """Keep the newest run of each config and seed, sorted by both.

    A test starts after its training and so takes the place of its validation.
    Runs without a seed count as one seed.
    """
    latest = {}
    for run in sorted(runs, key=lambda run: run.started):
        latest[run.config, -1 if run.seed is None else run.seed] = run
    return [latest[key] for key in sorted(latest)]


def save(runs: Iterable[Run], file: Path) -> None:
    """Write runs as JSON lines."""
    lines = [json.dumps(run._asdict()) + '\n' for run in runs]
    file.write_text(''.join(lines))


def _read_file(file: Path, required: bool) -> list[Run]:
    if file.suffix == '.jsonl':
        lines = file.read_text().splitlines()
        return [Run(**json.loads(line)) for line in lines]
    if file.name == 'scalars.json':
        return _validation(file)
    if TIME_STAMP.fullmatch(file.stem) and file.parent.name == file.stem:
        return [_test(file)]
    if required:
        raise InputError('it is not a result file')
    return []


def _validation(file: Path) -> list[Run]:
    """The validation that ends a training, none if it is unfinished."""
    log_dir = file.parent.parent
    run, config = _logged_run(log_dir, 'validation')
    run = run._replace(train_seconds=_train_seconds(log_dir.parent))
    return [
        run._replace(metrics=_metrics(line))
        for line in _read_scalars(file)
        if _metrics(line) and line['step'] == _last_step(config)
    ]


def _test(file: Path) -> Run:
    """What tools/test.py measured.

    Raises:
        InputError: The tested checkpoint is not the training's last one.
    """
    run, config = _logged_run(file.parent, 'test')
    run = run._replace(metrics=_metrics(json.loads(file.read_text())))
    checkpoint = Path(config.load_from)
    step = re.fullmatch(r'(?:epoch|iter)_(\d+)', checkpoint.stem)
    if step and int(step[1]) < _last_step(config):
        raise InputError(
            f'it tested {checkpoint.name} of an unfinished training to '
            f'{_last_step(config)}'
        )
    # The checkpoint's folder is the training's. If that was moved, a test in
    # WORK_DIR/test/ still lies within it.
    for folder in (checkpoint.parent, file.parents[2]):
        trained = folder / f'{run.config}.py'
        if trained.is_file():
            if run.seed is None:
                run = run._replace(seed=_seed(_read_config(trained)))
            return run._replace(train_seconds=_train_seconds(folder))
    return run


def _logged_run(log_dir: Path, by: str) -> tuple[Run, Config]:
    """A run without its figures, and the config that it dumped.

    Args:
        log_dir: the run's folder, WORK_DIR/TIME.
    """
    dumped = sorted(log_dir.parent.glob('*.py'))
    copy = log_dir / 'vis_data' / 'config.py'
    if len(dumped) > 1:  # several configs ran in this work directory
        text = copy.read_text()
        dumped = [file for file in dumped if file.read_text() == text]
    if len(dumped) != 1:
        raise InputError(f'{log_dir.parent} does not say which config it ran')
    config = _read_config(copy if copy.is_file() else dumped[0])
    epochs = config.train_cfg.get('max_epochs')
    name, seed = dumped[0].stem, _seed(config)
    return Run(name, seed, log_dir.name, by, {}, epochs, None), config


def _metrics(figures: dict) -> dict[str, float]:
    """The figures of boxes and masks, without mmdet's prefix 'coco/'."""
    return {
        key.split('/')[1]: value
        for key, value in figures.items()
        if re.match('[^/]+/(bbox|segm)_', key)
    }


def _read_config(file: Path) -> Config:
    return Config.fromfile(file, import_custom_modules=False)


def _seed(config: Config) -> int | None:
    return (config.get('randomness') or {}).get('seed')


def _last_step(config: Config) -> int:
    """Epochs of a whole training, or iterations if it counts those."""
    loop = config.train_cfg
    return loop.get('max_epochs') or loop.max_iters


def _read_scalars(file: Path) -> list[dict]:
    """Read a scalars.json, except half a line at the end of a killed run."""
    lines = file.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith('\n')]


def _train_seconds(work_dir: Path) -> float | None:
    """Duration of a training's iterations, without its validations.

    Iterations that a resumed training repeats count once.
    """
    times = {}  # seconds of an iteration, by the last one it was averaged to
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in _read_scalars(file):
            if 'iter' in line:
                times[line['step']] = line['time']
    steps = sorted(times)
    total = sum(
        (step - before) * times[step]
        for before, step in zip([0, *steps], steps)
    )
    return round(total, 1) or None
