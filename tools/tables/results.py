"""Results of runs, from their work directories or kept in a file."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

TIME_STAMP = re.compile(r'\d{8}_\d{6}')


class Run(NamedTuple):
    """What an evaluation measured, and of which training.

    Args:
        config: Stem of the config's name.
        seed: Its ``randomness.seed``, None if it was not set.
        started: mmengine's time stamp, such as 20261122_180928.
        by: 'test', or 'validation' at the end of the training.
        metrics: Names, such as segm_mAP_50, to figures from 0 to 1, or -1
            where there is no object of that size; empty if nothing was
            detected.
        epochs: Of the whole training, None if it counts iterations.
        train_seconds: Of its iterations, None if unknown.
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
    """Runs from below folders and from files, see :func:`newest`.

    Args:
        paths: Work directories, or folders of them; or result files: what
            tools/test.py wrote (TIME/TIME.json), a training's
            vis_data/scalars.json, or kept runs (.jsonl).
        complain: Is given a sentence for every file that is left out.
    """
    runs = []
    for path in paths:
        files = sorted(path.rglob('*.json')) if path.is_dir() else [path]
        for file in files:
            try:
                if file.suffix == '.jsonl':
                    lines = file.read_text().splitlines()
                    runs += [Run(**json.loads(line)) for line in lines]
                elif file.name == 'scalars.json':
                    runs += _validation(file)
                elif (
                    TIME_STAMP.fullmatch(file.stem)
                    and file.parent.name == file.stem
                ):
                    runs.append(_test(file))
                elif file == path:
                    raise ValueError('it is not a result file')
            except Exception as error:  # whatever a damaged file leads to
                sentence = ' '.join(str(error).split())
                complain(f'{file} is left out: {sentence}')
    return newest(runs)


def newest(runs: Iterable[Run]) -> list[Run]:
    """For every config and seed the newest of its runs, sorted by both.

    A test is newer than the training it tests. Runs without a seed count as
    one.
    """
    chosen = {}
    for run in sorted(runs, key=lambda run: run.started):
        chosen[run.config, -1 if run.seed is None else run.seed] = run
    return [chosen[key] for key in sorted(chosen)]


def save(runs: Iterable[Run], file: Path) -> None:
    """Keep runs as JSON lines."""
    lines = [json.dumps(run._asdict()) + '\n' for run in runs]
    file.write_text(''.join(lines))


def _validation(file: Path) -> list[Run]:
    """The last validation of a training, none of an unfinished one."""
    log_dir = file.parent.parent
    name, config = _dumped_config(log_dir)
    seconds = train_seconds(log_dir.parent)
    return [
        _run(log_dir, name, config, 'validation', line, _seed(config), seconds)
        for line in _read_scalars(file)
        if _metrics(line) and line['step'] == _final_step(config)
    ]


def _test(file: Path) -> Run:
    """What tools/test.py measured.

    Raises:
        ValueError: It tested a checkpoint of before the training's end.
    """
    log_dir = file.parent
    name, config = _dumped_config(log_dir)
    checkpoint = Path(config.load_from)
    step = re.fullmatch(r'(?:epoch|iter)_(\d+)', checkpoint.stem)
    if step and int(step[1]) < _final_step(config):
        raise ValueError(
            f'it tested {checkpoint.name} of a training to '
            f'{_final_step(config)}, which was not finished'
        )
    seed, seconds = _seed(config), None
    # The training's folder: the checkpoint's or, if it was moved, the one
    # above.
    for folder in (checkpoint.parent, log_dir.parent.parent):
        trained = folder / f'{name}.py'
        if trained.is_file():
            seed = _seed(_read_config(trained)) if seed is None else seed
            seconds = train_seconds(folder)
            break
    figures = json.loads(file.read_text())
    return _run(log_dir, name, config, 'test', figures, seed, seconds)


def _run(
    log_dir: Path,
    name: str,
    config: Config,
    by: str,
    figures: dict,
    seed: int | None,
    seconds: float | None,
) -> Run:
    epochs = config.train_cfg.get('max_epochs')
    started, metrics = log_dir.name, _metrics(figures)
    return Run(name, seed, started, by, metrics, epochs, seconds)


def _metrics(figures: dict) -> dict[str, float]:
    """Those of boxes and masks, without mmdet's prefix 'coco/'."""
    return {
        key.split('/')[1]: value
        for key, value in figures.items()
        if re.match('[^/]+/(bbox|segm)_', key)
    }


def _dumped_config(log_dir: Path) -> tuple[str, Config]:
    """Name and contents of the config that a run dumped.

    Args:
        log_dir: The run's folder, WORK_DIR/TIME.
    """
    named = sorted(log_dir.parent.glob('*.py'))
    own = log_dir / 'vis_data' / 'config.py'
    if len(named) > 1:  # several configs ran in this work directory
        text = own.read_text()
        named = [config for config in named if config.read_text() == text]
    if len(named) != 1:
        raise ValueError(f'{log_dir.parent} does not say which config it ran')
    return named[0].stem, _read_config(own if own.is_file() else named[0])


def _read_config(file: Path) -> Config:
    return Config.fromfile(file, import_custom_modules=False)


def _seed(config: Config) -> int | None:
    return (config.get('randomness') or {}).get('seed')


def _final_step(config: Config) -> int:
    """Epochs of a whole training, or iterations if it counts those."""
    loop = config.train_cfg
    return loop.get('max_epochs') or loop.max_iters


def _read_scalars(file: Path) -> list[dict]:
    """Lines of a scalars.json, without the half one a killed run may leave."""
    lines = file.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith('\n')]


def train_seconds(work_dir: Path) -> float | None:
    """Seconds of a training's iterations, without its validations.

    Iterations that a resumed training repeats count once.
    """
    times = {}
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
