"""Tables of results, made from work directories as mmengine writes them."""

import fcntl
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import paper_tables
import pytest
from mmengine.config import Config
from support.helpers import ROOT, SHAPES_CONFIG
from tables.definitions import configs_of, load_tables
from tables.results import collect
from tables.runs import time_left


def dump(work_dir, time, config, seed=None, load_from=None):
    """Write what mmengine writes at a run's start."""
    cfg = Config(dict(train_cfg=dict(max_epochs=3), load_from=load_from))
    if seed is not None:
        cfg.randomness = dict(seed=seed)
    (work_dir / time / 'vis_data').mkdir(parents=True)
    for file in (f'{config}.py', f'{time}/vis_data/config.py'):
        cfg.dump(work_dir / file)


def fake_test(
    work_dir, config, figures, seed=None, time='20260102_000000', epoch=3
):
    """Write what test.py writes for the checkpoint of an epoch."""
    checkpoint = str(work_dir.parent / f'epoch_{epoch}.pth')
    dump(work_dir, time, config, seed, checkpoint)
    figures = {f'coco/{name}': value for name, value in figures.items()}
    file = work_dir / time / f'{time}.json'
    file.write_text(json.dumps(dict(figures, data_time=0.1, time=0.2)))
    return file


def fake_training(
    work_dir, config, figures, seed=None, time='20260101_000000', epochs=3
):
    """Write what a training of ten iterations an epoch writes."""
    dump(work_dir, time, config, seed)
    lines = []
    for epoch in range(1, epochs + 1):
        for step in (10 * epoch - 5, 10 * epoch):
            lines.append(dict(lr=1, time=0.5, epoch=epoch, iter=1, step=step))
        validation = {f'coco/{k}': v / epoch for k, v in figures.items()}
        lines.append(dict(validation, time=9.0, step=epoch))
    file = work_dir / time / 'vis_data' / 'scalars.json'
    file.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return file


def ap(figure):
    return dict(bbox_mAP=figure)


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run the command; its end, its tables and its messages."""

    def run(*arguments):
        argv = ['paper_tables.py', *map(str, arguments)]
        monkeypatch.setattr(sys, 'argv', argv)
        end = 0
        try:
            paper_tables.main()
        except SystemExit as stop:
            end = stop.code
        out, err = capsys.readouterr()
        return end, out, err + (end if isinstance(end, str) else '')

    return run


# What stands in the tables

TWO_ROWS = """
- table: two
  title: Two rows
  columns: [row, size]
  metrics: [segm_mAP, bbox_mAP_s]
  rows:
  - labels: [A, 1]
    paper: [30.0, null]
    coco: a.py
    cells: a.py
  - labels: [B, 2]
    paper: [31.5, 20.0]
    gain_over: [A, 1]
    coco: {segm: b.py, bbox: c.py}
    cells: absent.py
  - labels: [C, 3]
    gain_over: [A, 1]
    cells: b.py
"""
HEAD = """\
### Table two: Two rows

| row | size | result | runs, training time | mask AP | box AP_S |
| --- | --- | --- | --- | --: | --: |
"""
ON_COCO = """\
| A | 1 | paper |  | 30.0 | - |
|  |  | measured: `a` | 2 runs of 3 epochs | 30.0 ± 7.1 | 15.0 ± 7.1 |
|  |  | measured - paper |  | +0.0 |  |
| B | 2 | paper |  | 31.5 | 20.0 |
|  |  | measured: mask `b`; box `c` | mask 1 run of 3 epochs; box 2 runs of \
3 epochs | 44.0 | 50.0 |
|  |  | measured - paper |  | +12.5 | +30.0 |
|  |  | gain over `a` (paper / measured) |  | +1.5 / +19.0 | +30.0 |
"""
ON_CELLS = """\
| A | 1 | paper |  | 30.0 | - |
|  |  | measured: `a` | 2 runs of 3 epochs | 30.0 ± 7.1 | 15.0 ± 7.1 |
| B | 2 | paper |  | 31.5 | 20.0 |
|  |  | measured: `absent` |  |  |  |
| C | 3 | measured: `b` | 1 run of 3 epochs | 44.0 | - |
|  |  | gain over `a` |  | +19.0 |  |
"""


@pytest.mark.parametrize('data,rows', [('coco', ON_COCO), ('cells', ON_CELLS)])
def test_a_table(tool, tmp_path, data, rows):
    """Means and spreads, gains of the seeds that both rows have, a dash where
    no object has the size, empty cells where nothing was run."""
    (tmp_path / 'tables.yml').write_text(TWO_ROWS)
    for config, seed, mask_ap, small in [
        ('a', 0, 0.25, 0.1), ('a', 1, 0.35, 0.2),
        ('b', 0, 0.44, -1), ('c', 1, 0.1, 0.5), ('c', 2, 0.1, -1),
    ]:  # fmt: skip
        figures = dict(segm_mAP=mask_ap, bbox_mAP_s=small)
        fake_test(tmp_path / f'{config}-{seed}', config, figures, seed)
    arguments = ['--tables', tmp_path / 'tables.yml', '--only', 'two']
    end, out, messages = tool(tmp_path, *arguments, '--data', data)
    assert (end, messages) == (0, '')
    note, shown = out.split('\n\n', 1)
    assert shown == HEAD + rows
    assert note.endswith(' for cells.') == (data == 'cells')


@pytest.mark.parametrize('data,absent', [('coco', 4), ('shapes', 0)])
def test_every_table_of_the_paper(tool, tmp_path, data, absent):
    """All rows have the paper's figures and a line for those of the config."""
    tables = load_tables([paper_tables.PAPER])
    parts = tool(tmp_path, '--data', data)[1].split('### Table ')[1:]
    assert len(parts) == len(tables) - absent == 14 - absent
    for table, text in zip(tables, parts):
        # Not in the paper
        own = table.name in ('peers', 'demo', 'plus', 'rtmdet')
        assert text.count('| paper |') == (0 if own else len(table.rows))
        measured = [s for s in text.splitlines() if '| measured: ' in s]
        configs = [row.configs[data] for row in table.rows if row.configs]
        assert len(measured) == len(configs) > 0
        for line, by_kind in zip(measured, configs):
            assert all(f'`{c.stem}`' in line for c in by_kind.values())


@pytest.mark.parametrize(
    'row',
    [
        'R - T | paper |  | 30.8',
        'two | FCIS [6]+OHEM [29] | - | 800 | ResNet-101-C5-dilated | paper | '
        ' | 29.2 | 49.5 | - | 7.1 | 31.3 | 50.0',
        'one | SPRNet (Ours) | 9 | 800 | ResNet-50-GFPN | paper |  | 32.0 | '
        '54.3 | 32.1 | 13.8 | 34.5 | 49.3',
        'C33x4 | paper |  | 29.2 | 52.1 | 30.0 | 12.2 | 32.4 | 48.6',
        'GFPN | paper |  | 30.4 | 53.2 | 30.8 | 33.6 | 52.0 | 35.9',
        'Deconv | paper |  | 30.0 | 52.9 | 30.5 | 12.4 | 32.6 | 49.2',
        '> 0.5 | paper |  | 30.2 | 53.0 | 30.6 | 12.1 | 33.3 | 49.3',
        'one | SPRNet (Ours) 800 | ResNet-50-GFPN | paper |  | 36.0 | 55.3 | '
        '38.8 | 20.2 | 39.6 | 48.6',
        '700 |  | paper |  | 35.1 | 54.2 | 37.7 | 18.0 | 39.3 | 46.4',
        'RetinaNet | ResNet-101-GFPN | paper |  | 33.1 | 51.8 | 54.9 | 36.6 | '
        '59.2 | 71.0',
        'SPRNet | ResNet-50-GFPN | paper |  | 29.5 | 45.4 | 47.9 | 27.9 | '
        '52.7 | 65.6',
    ],
)
def test_figures_typed_from_the_paper(tool, tmp_path, row):
    assert f'| {row} |\n' in tool(tmp_path)[1]


def test_configs_have_different_names():
    """A run is known by its config's name alone."""
    tables = load_tables([paper_tables.PAPER])
    configs = {c for d in ('coco', 'shapes') for c in configs_of(tables, d)}
    assert len({config.stem for config in configs}) == len(configs) > 60


# Which runs are found


def test_a_test_is_preferred_to_its_training(tmp_path):
    fake_training(tmp_path / 'run', 'a', ap(0.9), seed=7)
    (run,) = collect([tmp_path], print)
    # The last epoch's validation; 30 iterations of half a second
    assert run.by == 'validation' and run.metrics == ap(0.3)
    assert run.train_seconds == 15
    fake_test(tmp_path / 'run' / 'test', 'a', ap(0.4))
    (run,) = collect([tmp_path], print)
    assert run.by == 'test' and run.metrics == ap(0.4)
    assert run.seed == 7 and run.train_seconds == 15


@pytest.mark.parametrize('epochs', [0, 2])
def test_an_unfinished_training_measures_nothing(tmp_path, epochs):
    file = fake_training(tmp_path, 'a', ap(0.9), epochs=epochs)
    with open(file, 'a') as scalars:
        scalars.write('{"lr": 0.1, "ti')  # killed there
    complaints = []
    assert collect([tmp_path], complaints.append) == complaints == []


def test_a_test_of_an_unfinished_training_is_named(tmp_path):
    file = fake_test(tmp_path, 'a', ap(0.9), epoch=2)
    complaints = []
    assert collect([tmp_path], complaints.append) == []
    (complaint,) = complaints
    assert str(file) in complaint and 'epoch_2.pth' in complaint


def test_iterations_that_were_repeated_count_once(tmp_path):
    fake_training(tmp_path, 'a', ap(0.9), seed=0, epochs=2)
    fake_training(tmp_path, 'a', ap(0.9), seed=0, time='20260101_000001')
    (run,) = collect([tmp_path], print)
    assert run.train_seconds == 15 and run.metrics == ap(0.3)


def test_the_newest_of_a_seeds_runs(tmp_path):
    for day, figure in ((3, 0.3), (4, 0.2), (2, 0.4)):
        started = f'2026010{day}_000000'
        fake_test(tmp_path / str(day), 'a', ap(figure), 0, started)
    fake_test(tmp_path / 'other', 'a', ap(0.5), seed=1)
    runs = collect([tmp_path], print)
    assert [run.metrics for run in runs] == [ap(0.2), ap(0.5)]


def test_two_configs_in_one_work_directory(tmp_path):
    fake_test(tmp_path, 'a', ap(0.3), 0, '20260102_000000')
    fake_test(tmp_path, 'b', ap(0.4), 1, '20260102_000001')
    runs = [(run.config, run.metrics) for run in collect([tmp_path], print)]
    assert runs == [('a', ap(0.3)), ('b', ap(0.4))]


@pytest.mark.parametrize('damage', ['{"coco/bbox', '[]', None])
def test_a_damaged_file_is_named_and_the_others_are_read(tmp_path, damage):
    fake_test(tmp_path / 'good', 'a', ap(0.3))
    bad = fake_test(tmp_path / 'bad', 'b', ap(0.3))
    if damage is None:
        (tmp_path / 'bad' / 'b.py').unlink()
    else:
        bad.write_text(damage)
    complaints = []
    (run,) = collect([tmp_path], complaints.append)
    assert run.config == 'a'
    (complaint,) = complaints
    assert str(bad) in complaint and '\n' not in complaint


def test_runs_without_a_row_or_without_detections_are_named(tool, tmp_path):
    fake_test(tmp_path / 'a', 'sprnet_of_mine', ap(0.3), seed=1)
    fake_test(tmp_path / 'b', SHAPES_CONFIG.stem, {}, seed=2)
    _, out, messages = tool(tmp_path, '--data', 'shapes')
    assert ' run of ' not in out
    assert messages.splitlines() == [
        'paper_tables.py: sprnet_of_mine, seed 1, is in no table',
        f'paper_tables.py: {SHAPES_CONFIG.stem}, seed 2, detected nothing',
    ]


def test_saved_results_make_the_same_tables(tool, tmp_path):
    name = SHAPES_CONFIG.stem
    for seed in (2, 0):
        figures = dict(segm_mAP=0.9 - seed / 10)
        fake_training(tmp_path / 'runs' / str(seed), name, figures, seed)
    fake_test(tmp_path / 'runs' / 'a', 'sprnet_r18_fpn_shapes', ap(0.314))
    saved, again = tmp_path / 'saved.jsonl', tmp_path / 'again.jsonl'
    first, second = tmp_path / 'first.md', tmp_path / 'second.md'
    data = ['--data', 'shapes']
    tool(tmp_path / 'runs', *data, '--out', first, '--save', saved)
    tool(saved, *data, '--out', second, '--save', again)
    assert '31.4' in first.read_text() and '26.7 ± 4.7' in first.read_text()
    assert '2 runs of 3 epochs, 0.2 min' in first.read_text()
    assert second.read_bytes() == first.read_bytes()
    assert again.read_bytes() == saved.read_bytes()
    runs = [json.loads(line) for line in saved.read_text().splitlines()]
    assert [(run['config'], run['seed']) for run in runs] == [
        ('sprnet_r18_fpn_shapes', None), (name, 0), (name, 2),
    ]  # fmt: skip


# Options and the tables of a user

MINE = """
- table: 1
  rows:
  - labels: [mine]
    coco: mine.py
    gain_over: [Sigmoid]
- table: wide
  title: Cells
  columns: [model, size]
  metrics: [segm_mAP]
  rows:
  - labels: [small, 1]
    paper: [12.3]
    cells: mine.py
"""


def test_rows_and_tables_of_a_user(tool, tmp_path):
    sigmoid = 'retinanet_r50_gfpn_paper-400_coco'
    (tmp_path / 'mine.yml').write_text(MINE)
    fake_test(tmp_path / 'a', 'mine', dict(bbox_mAP=0.5, segm_mAP=0.25))
    fake_test(tmp_path / 'b', sigmoid, ap(0.4))
    mine = ['--tables', tmp_path / 'mine.yml']
    out = tool(tmp_path / 'a', tmp_path / 'b', *mine, '--only', '1')[1]
    assert out.endswith(
        '| mine | measured: `mine` | 1 run of 3 epochs | 50.0 |\n'
        f'|  | gain over `{sigmoid}` |  | +10.0 |\n'
    )
    out = tool(tmp_path / 'a', *mine, '--data', 'cells')[1]
    assert out.endswith(
        '| small | 1 | paper |  | 12.3 |\n'
        '|  |  | measured: `mine` | 1 run of 3 epochs | 25.0 |\n'
    )


@pytest.mark.parametrize(
    'old,new,named',
    [
        ('[mine]', '[a, b]', ["row ['a', 'b']", 'labels has 2 entries']),
        ('[12.3]', '[1, 2]', ["row ['small', 1]", 'paper has 2 entries']),
        ('[Sigmoid]', '[Cubic]', ["gain_over=['Cubic']"]),
        ('mine.py', '{segm: mine.py}', ['coco', "['segm']", "['bbox']"]),
        ('  columns: [model, size]\n', '', ["'columns' is missing"]),
        ('- table: 1', '- [', []),
    ],
)
def test_a_wrong_table_is_named(tool, tmp_path, old, new, named):
    file = tmp_path / 'mine.yml'
    file.write_text(MINE.replace(old, new, 1))
    end, _, message = tool(tmp_path, '--tables', file)
    assert end and f'{file}: ' in message and '\n' not in message
    assert all(part in message for part in named)


@pytest.mark.parametrize(
    'arguments,named',
    [
        ([], 'RESULTS'),
        (['absent'], 'absent does not exist'),
        (['.', '--tables', 'absent.yml'], 'absent.yml does not exist'),
        (['.', '--out', 'absent/x.md'], '--out absent/x.md'),
        (['.', '--data', 'voc'], '--data voc is in no table'),
        (['--run', '3', '--data', 'shapes'], '--run 3 is no table'),
        (['.', '--only', '8'], '--only 8 is no table'),
        (['--run', '1', '--gpus', '0'], '--gpus: 0'),
        (['--run', '1', '--seeds', '-1'], '--seeds must be at least 0, not -'),
    ],
)
def test_wrong_arguments_are_named(
    tool, tmp_path, monkeypatch, arguments, named
):
    monkeypatch.chdir(tmp_path)
    end, _, message = tool(*arguments)
    assert end and named in message


# --run


class Trainer:
    """Stands in for subprocess.run: leaves what train.py and test.py leave."""

    def __init__(self):
        self.failing, self.commands, self.calls = [], [], []

    def __call__(self, command, stdout, pass_fds, **options):
        (lock,) = pass_fds  # so that it outlives a killed paper_tables.py
        assert Path(f'/proc/self/fd/{lock}').readlink().name == 'lock'
        script = next(c for c in command if Path(c).parent.name == 'tools')
        tool = 'train' if 'train' in Path(script).name else 'test'
        config = Path(command[command.index(script) + 1])
        seed = next(int(c.split('=')[1]) for c in command if 'randomness' in c)
        self.commands.append(command)
        self.calls.append((tool, config.stem, seed))
        if (tool, config.stem) in self.failing:
            stdout.write('Traceback')
            raise subprocess.CalledProcessError(1, command)
        work_dir = Path(command[command.index('--work-dir') + 1])
        if tool == 'train':
            last = work_dir / 'last_checkpoint'
            last.write_text('/elsewhere/epoch_3.pth')
        else:
            fake_test(work_dir, config.stem, ap(0.5 + seed / 10), seed)


@pytest.fixture
def trainer(monkeypatch):
    stub = Trainer()
    monkeypatch.setattr(subprocess, 'run', stub)
    return stub


@pytest.fixture
def running(tool, tmp_path):
    """Run a table whose three rows name two configs."""
    (tmp_path / 'tables.yml').write_text(
        """
- table: two
  title: Two
  columns: [row]
  metrics: [bbox_mAP]
  rows:
  - {labels: [A], cells: a.py}
  - {labels: [B], cells: b.py}
  - {labels: [A again], cells: a.py}
"""
    )
    for name in 'ab':
        (tmp_path / f'{name}.py').write_text('')

    def run(*arguments):
        return tool(
            *('--run', 'two', '--data', 'cells'),
            *('--tables', tmp_path / 'tables.yml'),
            *('--work-dir', tmp_path / 'runs', *arguments),
        )

    return run


def test_missing_runs_are_made_seed_by_seed(running, trainer):
    end, out, _ = running('--seeds', 0, 2)
    assert end == 0
    assert trainer.calls == [
        (tool, config, seed)
        for seed in (0, 2)
        for config in ('a', 'b')
        for tool in ('train', 'test')
    ]
    assert out.count('### Table') == 1
    result = '2 runs of 3 epochs | 60.0 ± 14.1 |\n'
    assert f'| A | measured: `a` | {result}' in out
    assert f'| A again | measured: `a` | {result}' in out
    trainer.calls.clear()
    assert running('--seeds', 0, 2, 3)[0] == 0
    assert {seed for _, _, seed in trainer.calls} == {3}


def test_commands_of_a_run(running, trainer, tmp_path):
    running('--data-root', tmp_path / 'cells', '--cfg-options', 'x=1', 'y=2')
    folder = tmp_path / 'runs' / 'a' / 'seed-0'
    options = ['--cfg-options', 'randomness.seed=0']
    options += [f'data_root={tmp_path / "cells"}', 'x=1', 'y=2']
    config, tools = str(tmp_path / 'a.py'), ROOT / 'tools'
    assert trainer.commands[:2] == [
        [
            *(sys.executable, str(tools / 'train.py'), config),
            *('--work-dir', str(folder), '--resume', *options),
        ],
        [
            *(sys.executable, str(tools / 'test.py'), config),
            str(folder / 'epoch_3.pth'),
            *('--work-dir', str(folder / 'test'), *options),
        ],
    ]


def test_several_gpus_use_the_launcher(running, trainer, tmp_path):
    running('--gpus', 4)
    train, test = trainer.commands[:2]
    config, tools = str(tmp_path / 'a.py'), ROOT / 'tools'
    checkpoint = str(tmp_path / 'runs/a/seed-0/epoch_3.pth')
    assert train[:3] == [str(tools / 'dist_train.sh'), config, '4']
    assert test[:4] == [str(tools / 'dist_test.sh'), config, checkpoint, '4']


@pytest.mark.parametrize('failing', ['train', 'test'])
def test_a_failure_is_named_and_the_others_run(
    running, trainer, tmp_path, failing
):
    trainer.failing = [(failing, 'a')]
    end, out, messages = running()
    assert '1 runs failed' in end
    log = tmp_path / 'runs' / 'a' / 'seed-0' / 'output.log'
    assert f'a, seed 0 failed; see {log}' in messages
    assert 'Traceback' in log.read_text()
    assert '| A | measured: `a` |  |  |\n' in out
    assert '| B | measured: `b` | 1 run of 3 epochs | 50.0 |\n' in out
    # It is tried again.
    trainer.failing = []
    trainer.calls.clear()
    assert running()[0] == 0
    assert trainer.calls == [('train', 'a', 0), ('test', 'a', 0)]


def test_results_from_elsewhere_are_not_run_again(running, trainer, tmp_path):
    fake_test(tmp_path / 'old', 'a', ap(0.1), seed=0)
    fake_training(tmp_path / 'untested', 'b', ap(0.9), seed=0)
    running(tmp_path / 'old', tmp_path / 'untested')
    assert {config for _, config, _ in trainer.calls} == {'b'}


def test_a_run_of_another_process_is_waited_for(running, trainer, tmp_path):
    folder = tmp_path / 'runs' / 'a' / 'seed-0'
    folder.mkdir(parents=True)
    lock = open(folder / 'lock', 'w')  # noqa: SIM115  a thread closes it
    fcntl.flock(lock, fcntl.LOCK_EX)

    def other_process():
        while len(trainer.calls) < 2:  # only b is left to run
            time.sleep(0.01)
        time.sleep(0.3)  # time to end without waiting
        fake_test(folder / 'test', 'a', ap(0.7), seed=0)
        lock.close()

    thread = threading.Thread(target=other_process)
    thread.start()
    end, out, messages = running()
    thread.join()
    assert end == 0 and 'a, seed 0: another process' in messages
    assert trainer.calls == [('train', 'b', 0), ('test', 'b', 0)]
    figures = [line.split(' | ')[-1] for line in out.splitlines()[-3:]]
    assert figures == ['70.0 |', '50.0 |', '70.0 |']


def test_time_left():
    a, b = Path('a.py'), Path('b.py')
    assert 'unknown' in time_left([(a, 0)], {})
    seconds = dict(a=[60.0, 120.0], c=[30.0])
    assert time_left([(a, 0), (b, 1)], seconds) == 'about 0:02:40 left'
