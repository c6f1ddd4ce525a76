"""The tables of results, from work directories of mmengine's form."""

import fcntl
import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import paper_tables
import pytest
import yaml
from mmengine.config import Config
from support.helpers import CONFIGS, ROOT, SHAPES_CONFIG
from tables.results import collect

TABLES = {
    str(table['table']): table
    for table in yaml.safe_load((CONFIGS / 'paper_tables.yml').read_text())
}
METRICS = [
    f'{kind}_{name}'
    for kind in ('bbox', 'segm')
    for name in (
        *('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l'),
        *('AR_1', 'AR_10', 'AR_100', 'AR_s', 'AR_m', 'AR_l'),
    )
]
BASELINE = 'retinanet_r50_fpn_paper-400_coco'
SIGMOID = 'retinanet_r50_gfpn_paper-400_coco'


def dump(work_dir, time, config, seed=None, load_from=None):
    """What mmengine writes at a run's start."""
    cfg = Config(dict(train_cfg=dict(max_epochs=3), load_from=load_from))
    if seed is not None:
        cfg.randomness = dict(seed=seed)
    (work_dir / time / 'vis_data').mkdir(parents=True)
    for file in (f'{config}.py', f'{time}/vis_data/config.py'):
        cfg.dump(work_dir / file)


def fake_test(
    work_dir, config, figures, seed=None, time='20260102_000000', epoch=3
):
    """What a test of the checkpoint of an epoch leaves."""
    checkpoint = str(work_dir.parent / f'epoch_{epoch}.pth')
    dump(work_dir, time, config, seed, checkpoint)
    figures = {f'coco/{name}': value for name, value in figures.items()}
    file = work_dir / time / f'{time}.json'
    file.write_text(json.dumps(dict(figures, data_time=0.1, time=0.2)))
    return file


def fake_training(
    work_dir, config, figures, seed=None, time='20260101_000000', epochs=3
):
    """What a training of ten iterations an epoch leaves."""
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


def tables_of(text):
    """Names to rows of cells of the Markdown's tables, without headings."""
    sections = re.split(r'^### Table (\w+): .*\n', text, flags=re.M)[1:]
    return {
        name: [
            [cell.strip() for cell in line.split('|')[1:-1]]
            for line in body.strip().splitlines()[2:]
        ]
        for name, body in zip(sections[::2], sections[1::2])
    }


@pytest.fixture
def tool(monkeypatch, capsys):
    """Runs the command; its status, tables and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['x', *map(str, arguments)])
        code = 0
        try:
            paper_tables.main()
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return (
            code,
            tables_of(out),
            err + (code if isinstance(code, str) else ''),
        )

    return run


@pytest.fixture
def no_runs(tmp_path):
    (tmp_path / 'nothing').mkdir()
    return tmp_path / 'nothing'


@pytest.mark.parametrize('data', ['coco', 'shapes'])
def test_every_figure_of_the_paper(tool, no_runs, data):
    status, shown, _ = tool(no_runs, '--data', data)
    assert status == 0
    for name, table in TABLES.items():
        expected = [
            [
                *map(str, row['labels']),
                *('paper', ''),
                *('-' if f is None else f'{f:.1f}' for f in row['paper']),
            ]
            for row in table['rows']
            if 'paper' in row
        ]
        rows = shown.get(name, [])
        at = len(table['columns'])
        assert [row for row in rows if row[at] == 'paper'] == expected
        ours = name in ('peers', 'plus')
        assert len(expected) == (0 if ours else len(table['rows']))


@pytest.mark.parametrize(
    'name,row',
    [
        ('1', 'R - T|paper||30.8'),
        ('2', 'two|FCIS [6]+OHEM [29]|-|800|ResNet-101-C5-dilated|paper||29.2|'
        '49.5|-|7.1|31.3|50.0'),
        ('2', 'one|SPRNet (Ours)|9|800|ResNet-50-GFPN|paper||32.0|54.3|32.1|'
        '13.8|34.5|49.3'),
        ('3a', 'C33x4|paper||29.2|52.1|30.0|12.2|32.4|48.6'),
        ('3b', 'GFPN|paper||30.4|53.2|30.8|33.6|52.0|35.9'),
        ('3c', 'Deconv|paper||30.0|52.9|30.5|12.4|32.6|49.2'),
        ('3d', '> 0.5|paper||30.2|53.0|30.6|12.1|33.3|49.3'),
        ('4', 'one|SPRNet (Ours) 800|ResNet-50-GFPN|paper||36.0|55.3|38.8|'
        '20.2|39.6|48.6'),
        ('5', '700||paper||35.1|54.2|37.7|18.0|39.3|46.4'),
        ('6', 'RetinaNet|ResNet-101-GFPN|paper||33.1|51.8|54.9|36.6|59.2|'
        '71.0'),
        ('7', 'SPRNet|ResNet-50-GFPN|paper||29.5|45.4|47.9|27.9|52.7|65.6'),
    ],
)  # fmt: skip
def test_figures_typed_from_the_paper(tool, no_runs, name, row):
    assert row.split('|') in tool(no_runs)[1][name]


def test_only_some_tables(tool, no_runs):
    assert set(tool(no_runs, '--only', '3a', '5')[1]) == {'3a', '5'}


def test_nothing_was_run(tool, no_runs):
    for name, rows in tool(no_runs, '--data', 'shapes')[1].items():
        at = len(TABLES[name]['columns'])
        ours = [row for row in rows if row[at] != 'paper']
        assert ours and all('`' in row[at] for row in ours)
        assert {cell for row in ours for cell in row[at + 1 :]} == {''}


def config_of(row, data, metric):
    """The stem of the config that a figure of a row is from."""
    config = row[data]
    if isinstance(config, dict):
        config = config[metric.split('_')[0]]
    return Path(config).stem


@pytest.mark.parametrize('data', ['coco', 'shapes'])
def test_every_row_has_its_runs_figures(tool, tmp_path, data):
    rng = np.random.default_rng(0)
    rows = [row for table in TABLES.values() for row in table['rows']]
    measured = {
        stem: rng.random((3, len(METRICS))).round(3)
        for row in rows
        if data in row
        for metric in ('bbox_', 'segm_')
        for stem in [config_of(row, data, metric)]
        if isinstance(row[data], str) or metric[:4] in row[data]
    }
    for stem, figures in measured.items():
        for seed, one in enumerate(figures):
            work_dir = tmp_path / stem / f'seed-{seed}' / 'test'
            fake_test(work_dir, stem, dict(zip(METRICS, one)), seed)
    _, shown, complaints = tool(tmp_path, '--data', data)
    assert complaints == ''

    def percent(row, metric):
        stem = config_of(row, data, metric)
        return 100 * measured[stem][:, METRICS.index(metric)]

    for name, table in TABLES.items():
        here = [row for row in table['rows'] if data in row]
        at = len(table['columns'])
        if not here:
            assert name not in shown
            continue
        lines = [row for row in shown[name] if row[at] != 'paper']
        for row in here:
            ours = lines.pop(0)
            assert f'`{config_of(row, data, table["metrics"][0])}`' in ours[at]
            assert ours[at + 1].startswith('3 x 3 epochs')
            for metric, cell in zip(table['metrics'], ours[at + 2 :]):
                figures = percent(row, metric)
                mean, spread = map(float, cell.split(' ± '))
                assert mean == pytest.approx(figures.mean(), abs=0.051)
                assert spread == pytest.approx(figures.std(ddof=1), abs=0.051)
            paper = row.get('paper', [None] * len(table['metrics']))
            if data == 'coco':
                difference = lines.pop(0)
                assert difference[at] == 'difference'
                for metric, figure, cell in zip(
                    table['metrics'], paper, difference[at + 2 :]
                ):
                    expected = percent(row, metric).mean()
                    assert (figure is None) == (cell == '')
                    if cell:
                        assert float(cell) == pytest.approx(
                            expected - figure, abs=0.051
                        )
            if 'gain_over' in row:
                (base,) = (
                    one
                    for one in table['rows']
                    if one['labels'] == row['gain_over']
                )
                gains = lines.pop(0)
                assert gains[at].startswith('gain over')
                for i, metric in enumerate(table['metrics']):
                    gain = percent(row, metric) - percent(base, metric)
                    *of_paper, ours = gains[at + 2 + i].split(' / ')
                    mean, spread = map(float, ours.split(' ± '))
                    assert mean == pytest.approx(gain.mean(), abs=0.051)
                    assert spread == pytest.approx(gain.std(ddof=1), abs=0.051)
                    if paper[i] is None:
                        assert of_paper == []
                        continue
                    assert float(of_paper[0]) == pytest.approx(
                        paper[i] - base['paper'][i]
                    )
        assert lines == []


def first_table(tool, *arguments):
    """Table 1's lines by what they show."""
    status, shown, complaints = tool(*arguments)
    assert status == 0
    return {row[1]: row[2:] for row in shown['1']}, complaints


def test_one_run_has_no_spread_and_an_absent_size_is_a_dash(tool, tmp_path):
    stem = 'retinanet_r50_fpn_paper-500_coco'
    fake_test(tmp_path, stem, dict(bbox_mAP=0.5, bbox_mAP_s=-1))
    _, shown, _ = tool(tmp_path)
    row = next(row for row in shown['5'] if row[2] == f'`{stem}`')
    assert row[3:] == ['1 x 3 epochs', '50.0', '', '', '-', '', '']
    assert ['', '', 'difference', '', '+17.5', '', '', '', '', ''] in shown[
        '5'
    ]


def test_gains_are_of_the_seeds_that_both_rows_have(tool, tmp_path):
    for stem, seed, figure in [
        (BASELINE, 0, 0.1), (BASELINE, 1, 0.2),
        (SIGMOID, 1, 0.3), (SIGMOID, 2, 0.9),
    ]:  # fmt: skip
        fake_test(
            tmp_path / stem / str(seed), stem, dict(bbox_mAP=figure), seed
        )
    rows, _ = first_table(tool, tmp_path)
    assert rows[f'gain over `{BASELINE}`'][1] == '+0.6 / +10.0'


def test_a_test_is_preferred_to_its_training(tool, tmp_path):
    fake_training(tmp_path / 'run', BASELINE, dict(bbox_mAP=0.9), seed=7)
    rows, _ = first_table(tool, tmp_path)
    # of the last epoch's validation; 30 iterations of half a second
    assert rows[f'`{BASELINE}`'] == ['1 x 3 epochs, 0.2 min', '30.0']
    fake_test(tmp_path / 'run' / 'test', BASELINE, dict(bbox_mAP=0.4))
    rows, _ = first_table(tool, tmp_path)
    assert rows[f'`{BASELINE}`'] == ['1 x 3 epochs, 0.2 min', '40.0']
    (run,) = collect([tmp_path], print)
    assert run.by == 'test' and run.seed == 7 and run.train_seconds == 15


@pytest.mark.parametrize('epochs', [0, 2])
def test_an_unfinished_training_measures_nothing(tool, tmp_path, epochs):
    file = fake_training(tmp_path, BASELINE, dict(bbox_mAP=0.9), epochs=epochs)
    with open(file, 'a') as scalars:
        scalars.write('{"lr": 0.1, "ti')  # killed there
    rows, complaints = first_table(tool, tmp_path)
    assert rows[f'`{BASELINE}`'] == ['', ''] and complaints == ''


def test_a_test_of_an_unfinished_training_is_named(tool, tmp_path):
    file = fake_test(tmp_path, BASELINE, dict(bbox_mAP=0.9), epoch=2)
    rows, complaints = first_table(tool, tmp_path)
    assert rows[f'`{BASELINE}`'] == ['', '']
    assert complaints == (
        f'paper_tables.py: {file} is left out: it tested epoch_2.pth of a '
        'training to 3, which was not finished\n'
    )


def test_iterations_that_were_repeated_count_once(tmp_path):
    figures = dict(bbox_mAP=0.9)
    fake_training(tmp_path, BASELINE, figures, seed=0, epochs=2)
    fake_training(tmp_path, BASELINE, figures, seed=0, time='20260101_000001')
    (run,) = collect([tmp_path], print)
    assert run.train_seconds == 15 and run.metrics == dict(bbox_mAP=0.3)


def test_the_newest_of_a_seeds_runs(tool, tmp_path):
    for day, figure in ((3, 0.3), (4, 0.2), (2, 0.4)):
        folder, time = tmp_path / str(figure), f'2026010{day}_000000'
        fake_test(folder, BASELINE, dict(bbox_mAP=figure), seed=0, time=time)
    rows, _ = first_table(tool, tmp_path)
    assert rows[f'`{BASELINE}`'] == ['1 x 3 epochs', '20.0']


def test_two_configs_in_one_work_directory(tool, tmp_path):
    fake_test(tmp_path, BASELINE, dict(bbox_mAP=0.3), 0, '20260102_000000')
    fake_test(tmp_path, SIGMOID, dict(bbox_mAP=0.4), 1, '20260102_000001')
    rows, _ = first_table(tool, tmp_path)
    assert rows[f'`{BASELINE}`'][1] == '30.0'
    assert rows[f'`{SIGMOID}`'][1] == '40.0'


@pytest.mark.parametrize('damage', ['{"coco/bbox', '[]', None])
def test_a_damaged_file_is_named_and_the_others_go_in(tool, tmp_path, damage):
    fake_test(tmp_path / 'good', BASELINE, dict(bbox_mAP=0.3))
    bad = fake_test(tmp_path / 'bad', SIGMOID, dict(bbox_mAP=0.3))
    if damage is None:
        (tmp_path / 'bad' / f'{SIGMOID}.py').unlink()
    else:
        bad.write_text(damage)
    rows, complaints = first_table(tool, tmp_path)
    assert rows[f'`{BASELINE}`'][1] == '30.0' and rows[f'`{SIGMOID}`'][1] == ''
    assert complaints.startswith(f'paper_tables.py: {bad} is left out: ')
    assert complaints.count('\n') == 1


def test_a_run_of_no_row_and_one_without_detections(tool, tmp_path):
    fake_test(tmp_path / 'a', 'sprnet_of_mine', dict(bbox_mAP=0.3), seed=1)
    fake_test(tmp_path / 'b', BASELINE, {}, seed=2)
    rows, complaints = first_table(tool, tmp_path)
    assert rows[f'`{BASELINE}`'] == ['', '']
    assert complaints.splitlines() == [
        f'paper_tables.py: {BASELINE}, seed 2, detected nothing',
        'paper_tables.py: sprnet_of_mine, seed 1, is in no table',
    ]


def test_the_kept_file_makes_the_same_tables(tool, tmp_path):
    for seed in (2, 0):
        folder = tmp_path / 'runs' / str(seed)
        fake_training(folder, SIGMOID, dict(bbox_mAP=0.9 - seed / 10), seed)
    fake_test(tmp_path / 'runs' / 'a', BASELINE, dict(bbox_mAP=0.314))
    kept, again = tmp_path / 'kept.jsonl', tmp_path / 'again.jsonl'
    first, second = tmp_path / 'first.md', tmp_path / 'second.md'
    tool(tmp_path / 'runs', '--out', first, '--save', kept)
    tool(kept, '--out', second, '--save', again)
    assert '31.4' in first.read_text() and '26.7 ± 4.7' in first.read_text()
    assert second.read_bytes() == first.read_bytes()
    assert again.read_bytes() == kept.read_bytes()
    runs = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [(run['config'], run['seed']) for run in runs] == [
        (BASELINE, None), (SIGMOID, 0), (SIGMOID, 2),
    ]  # fmt: skip


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
    (tmp_path / 'mine.yml').write_text(MINE)
    fake_test(tmp_path / 'a', 'mine', dict(bbox_mAP=0.5, segm_mAP=0.25))
    fake_test(tmp_path / 'b', SIGMOID, dict(bbox_mAP=0.4))
    mine = ['--tables', tmp_path / 'mine.yml']
    _, shown, _ = tool(tmp_path / 'a', tmp_path / 'b', *mine)
    assert shown['1'][-2:] == [
        ['mine', '`mine`', '1 x 3 epochs', '50.0'],
        ['', f'gain over `{SIGMOID}`', '', '+10.0'],
    ]
    _, shown, _ = tool(tmp_path / 'a', *mine, '--data', 'cells')
    assert shown['wide'] == [
        ['small', '1', 'paper', '', '12.3'],
        ['', '', '`mine`', '1 x 3 epochs', '25.0'],
    ]


@pytest.mark.parametrize(
    'old,new,sentence',
    [
        ('[mine]', '[a, b]', 'labels has 2 entries for the columns'),
        ('[12.3]', '[1, 2]', 'paper has 2 entries for the columns'),
        ('[Sigmoid]', '[Cubic]', "gain_over=['Cubic'] must be the labels"),
        ('mine.py', '{segm: mine.py}', "of ['segm'] for figures of ['bbox']"),
        ('  columns: [model, size]\n', '', "'columns' is missing"),
        ('- table: 1', '- [', 'mine.yml: '),
    ],
)
def test_a_wrong_table_is_named(tool, tmp_path, old, new, sentence):
    file = tmp_path / 'mine.yml'
    file.write_text(MINE.replace(old, new, 1))
    status, _, error = tool(tmp_path, '--tables', file)
    assert status and f'{file}: ' in error and sentence in error


@pytest.mark.parametrize(
    'arguments,sentence',
    [
        ([], 'name results, or tables to --run'),
        (['absent'], 'absent does not exist'),
        (['.', '--tables', 'absent.yml'], 'absent.yml does not exist'),
        (['.', '--out', 'absent/x.md'], 'absent/x.md cannot be written'),
        (['.', '--data', 'voc'], '--data voc is in no table, only coco, sha'),
        (['--run', '3', '--data', 'shapes'], '--run 3: no such table, only'),
        (['.', '--only', '8'], '--only 8: no such table, only'),
        (['--run', '1', '--gpus', '0'], '--gpus must be at least 1'),
        (['--run', '1', '--seeds', '-1'], '--seeds at least 0'),
    ],
)
def test_wrong_arguments_are_named(
    tool, tmp_path, monkeypatch, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    status, _, error = tool(*arguments)
    assert status and sentence in error


class Trainer:
    """In place of subprocess.run: does what train.py and test.py leave."""

    def __init__(self):
        self.fails, self.commands = [], []

    def __call__(self, command, stdout, **options):
        script = next(c for c in command if Path(c).parent.name == 'tools')
        tool = 'train' if 'train' in Path(script).name else 'test'
        config = Path(command[command.index(script) + 1])
        seed = next(int(c.split('=')[1]) for c in command if 'randomness' in c)
        self.commands.append((tool, config.stem, seed, command))
        if (tool, config.stem) in self.fails:
            stdout.write('Traceback')
            raise subprocess.CalledProcessError(1, command)
        work_dir = Path(command[command.index('--work-dir') + 1])
        if tool == 'train':
            last = work_dir / 'last_checkpoint'
            last.write_text('/elsewhere/epoch_3.pth')
        else:
            checkpoint = command[command.index(str(config)) + 1]
            assert checkpoint == str(work_dir.parent / 'epoch_3.pth')
            figures = dict(bbox_mAP=0.5 + seed / 10, segm_mAP=0.4)
            fake_test(work_dir, config.stem, figures, seed)

    def done(self):
        return [command[:3] for command in self.commands]


@pytest.fixture
def trainer(monkeypatch):
    stub = Trainer()
    monkeypatch.setattr(paper_tables.subprocess, 'run', stub)
    return stub


@pytest.fixture
def running(tool, tmp_path):
    """Runs two rows of a small table of one's own."""
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


def test_runs_what_is_missing_each_seed_of_every_row_first(running, trainer):
    status, shown, _ = running('--seeds', 0, 2)
    assert status == 0
    assert trainer.done() == [
        (tool, config, seed)
        for seed in (0, 2)
        for config in ('a', 'b')
        for tool in ('train', 'test')
    ]
    assert list(shown) == ['two']
    assert shown['two'][0] == ['A', '`a`', '2 x 3 epochs', '60.0 ± 14.1']
    assert shown['two'][2][0] == 'A again'
    trainer.commands.clear()
    again = running('--seeds', 0, 2, 3)
    assert again[0] == 0
    assert {seed for _, _, seed in trainer.done()} == {3}


def test_what_the_tools_are_given(running, trainer, tmp_path):
    running('--data-root', tmp_path / 'cells', '--cfg-options', 'x=1', 'y=2')
    folder = tmp_path / 'runs' / 'a' / 'seed-0'
    options = ['--cfg-options', 'randomness.seed=0']
    options += [f'data_root={tmp_path / "cells"}', 'x=1', 'y=2']
    (train, test), script = trainer.commands[:2], paper_tables.ROOT / 'tools'
    assert train[3] == [
        *(sys.executable, str(script / 'train.py'), str(tmp_path / 'a.py')),
        *('--work-dir', str(folder), '--resume', *options),
    ]
    assert test[3] == [
        *(sys.executable, str(script / 'test.py'), str(tmp_path / 'a.py')),
        str(folder / 'epoch_3.pth'),
        *('--work-dir', str(folder / 'test'), *options),
    ]


def test_several_gpus_go_through_the_launcher(running, trainer, tmp_path):
    running('--gpus', 4)
    script = paper_tables.ROOT / 'tools'
    config, folder = str(tmp_path / 'a.py'), tmp_path / 'runs/a/seed-0'
    train, test = (one[3] for one in trainer.commands[:2])
    assert train[:3] == [str(script / 'dist_train.sh'), config, '4']
    checkpoint = str(folder / 'epoch_3.pth')
    assert test[:4] == [str(script / 'dist_test.sh'), config, checkpoint, '4']


@pytest.mark.parametrize('failing', ['train', 'test'])
def test_a_failure_is_named_and_the_others_go_on(
    running, trainer, tmp_path, failing
):
    trainer.fails = [(failing, 'a')]
    status, shown, error = running()
    assert status == 'paper_tables.py: 1 of the runs failed'
    log = tmp_path / 'runs' / 'a' / 'seed-0' / 'output.log'
    assert f'a, seed 0 failed, see {log}' in error
    assert 'Traceback' in log.read_text()
    assert shown['two'][0][3] == '' and shown['two'][1][3] == '50.0'
    # and is tried again
    trainer.fails = []
    trainer.commands.clear()
    assert running()[0] == 0
    assert trainer.done() == [('train', 'a', 0), ('test', 'a', 0)]


def test_results_from_elsewhere_are_not_run_again(running, trainer, tmp_path):
    fake_test(tmp_path / 'old', 'a', dict(bbox_mAP=0.1), seed=0)
    fake_training(tmp_path / 'half', 'b', dict(bbox_mAP=0.9), seed=0)
    running(tmp_path / 'old', tmp_path / 'half')
    assert {config for _, config, _ in trainer.done()} == {'b'}


def test_stopped_it_says_how_to_go_on(running, trainer, monkeypatch):
    def stop(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(paper_tables.subprocess, 'run', stop)
    status, shown, _ = running()
    assert status == 'paper_tables.py: stopped; the same command goes on'


def test_what_another_process_is_at_is_waited_for(running, trainer, tmp_path):
    folder = tmp_path / 'runs' / 'a' / 'seed-0'
    folder.mkdir(parents=True)
    lock = open(folder / 'lock', 'w')  # noqa: SIM115  a thread closes it
    fcntl.flock(lock, fcntl.LOCK_EX)

    def other():
        while not trainer.done():  # only b is left to run
            time.sleep(0.01)
        fake_test(folder / 'test', 'a', dict(bbox_mAP=0.7), seed=0)
        lock.close()

    thread = threading.Thread(target=other)
    thread.start()
    status, shown, error = running()
    thread.join()
    assert status == 0 and 'a, seed 0: another process is at it' in error
    assert trainer.done() == [('train', 'b', 0), ('test', 'b', 0)]
    assert [row[3] for row in shown['two']] == ['70.0', '50.0', '70.0']


def test_time_left():
    a, b = Path('a.py'), Path('b.py')
    left = paper_tables.time_left
    assert left([(a, 0)], {}) == 'time left unknown until a run is done'
    seconds = dict(a=[60.0, 120.0], c=[30.0])
    assert left([(a, 0), (b, 1)], seconds) == 'about 0:02:40 left'


def test_a_config_is_known_by_its_name_alone():
    paths = {
        path
        for table in TABLES.values()
        for row in table['rows']
        for data in ('coco', 'shapes')
        for path in (
            row[data].values()
            if isinstance(row.get(data), dict)
            else [row.get(data)]
        )
        if path
    }
    assert len({Path(path).stem for path in paths}) == len(paths)


def test_a_killed_run_goes_on(shapes, tmp_path):
    """The command itself, stopped while it trains, and started again."""
    (tmp_path / 'tables.yml').write_text(
        f"""
- table: one
  title: One
  columns: [row]
  metrics: [segm_mAP_50, segm_AR_100]
  rows:
  - labels: [SPRNet]
    cells: {SHAPES_CONFIG}
"""
    )
    command = [
        *(sys.executable, ROOT / 'tools' / 'paper_tables.py'),
        *('--run', 'one', '--data', 'cells', '--tables', 'tables.yml'),
        *('--work-dir', 'runs', '--data-root', shapes, '--seeds', '5'),
        '--cfg-options',
        'model.backbone.base_channels=8',
        'model.neck.in_channels=[8,16,32,64]',
        'model.test_cfg.score_thr=0.0',
        'train_dataloader.num_workers=0',
        'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False',
        'train_cfg.max_epochs=3',
        'train_cfg.val_interval=9',
        'train_cfg.val_begin=9',
        'default_hooks.logger.interval=1',
    ]
    started = dict(cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    folder = tmp_path / 'runs' / SHAPES_CONFIG.stem / 'seed-5'
    first = subprocess.Popen([*map(str, command)], **started)
    while not (folder / 'last_checkpoint').is_file():
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.02)
    first.terminate()
    _, error = first.communicate()
    assert first.returncode == 1 and 'stopped; the same command' in error
    assert not (folder / 'test').exists()

    second = subprocess.run(
        [*map(str, command)], **started, stdout=subprocess.PIPE
    )
    assert second.returncode == 0, second.stderr
    assert 'resumed epoch: 1' in (folder / 'output.log').read_text()
    ((label, config, extent, ap50, recall),) = tables_of(second.stdout)['one']
    assert (label, config) == ('SPRNet', f'`{SHAPES_CONFIG.stem}`')
    assert extent.startswith('1 x 3 epochs') and float(recall) >= 0
