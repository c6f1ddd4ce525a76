"""tools/gpu_check.py: what it says without a GPU, and when parts fail."""

import json
import os
import time
from pathlib import Path

import gpu_check
import pytest
import torch
from gpu import training
from gpu.parts import run_pytest
from gpu.processes import PartError, Run, call
from gpu.report import marks, page
from support.in_process import complaint, run_command


def run_until(folder, seconds):
    return Run(folder, 'cpu', time.monotonic() + seconds)


def test_without_a_gpu_one_sentence_says_so(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert 'finds no GPU on this machine' in complaint(gpu_check)
    assert not list(tmp_path.iterdir())


def test_mmcv_without_cuda_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(
        gpu_check, 'get_compiling_cuda_version', lambda: 'not available'
    )
    assert 'make setup OPS=all' in complaint(gpu_check)


def test_a_failed_part_is_reported_and_the_others_go_on(
    monkeypatch, tmp_path, capsys
):
    out = tmp_path / 'out'

    def first(run, results):
        results['tests'] = [dict(name='t', outcome='passed', measured={})]
        raise PartError('the reason')

    def second(run, results):
        assert 'the reason' in (out / 'report.md').read_text()
        raise ZeroDivisionError

    def third(run, results):
        results['facts'] = {'some': 'thing'}

    parts = dict(tests=first, training=second, environment=third)
    parts = {name: (function, 1) for name, function in parts.items()}
    monkeypatch.setattr(gpu_check, 'PARTS', parts)
    with pytest.raises(SystemExit) as end:
        run_command(gpu_check, '--device', 'cpu', '--out-dir', out)
    assert end.value.code == 1
    report = json.loads((out / 'report.json').read_text())['parts']
    assert [part['state'] for part in report.values()] == [
        'FAILED',
        'FAILED',
        'passed',
    ]
    text = (out / 'report.md').read_text()
    for words in ('the reason', '1 passed', 'ZeroDivision', 'some: thing'):
        assert words in text
    assert 'environment ... passed' in capsys.readouterr().out


def test_time_that_a_part_leaves_is_the_next_ones(monkeypatch, tmp_path):
    left = []
    parts = {
        name: (lambda run, results: left.append(run.end), seconds)
        for name, seconds in (('environment', 1000), ('suite', 10))
    }
    monkeypatch.setattr(gpu_check, 'PARTS', parts)
    start = time.monotonic()
    run_command(
        gpu_check, '--device', 'cpu', '--out-dir', tmp_path, '--minutes', 4
    )
    # Without a GPU, each part has 60 times as long.
    expected = [1000 * 60 / 2, 1010 * 60 / 2]
    assert [end - start for end in left] == pytest.approx(expected, abs=5)


def alive(process: int) -> bool:
    """Whether a process runs; one that ended may wait for its parent."""
    status = Path(f'/proc/{process}/status')
    return status.exists() and 'State:\tZ' not in status.read_text()


def test_a_command_that_takes_too_long_ends_with_its_children(tmp_path):
    file = tmp_path / 'child'
    script = tmp_path / 'slow.sh'
    script.write_text(f'#!/bin/sh\nsleep 60 & echo $! >{file}\nwait\n')
    script.chmod(0o755)
    with pytest.raises(PartError, match='the time is over'):
        call(run_until(tmp_path, 1), tmp_path / 'log', [script])
    child = int(file.read_text())
    for _ in range(50):
        if not alive(child):
            break
        time.sleep(0.1)
    assert not alive(child)


def test_a_failed_commands_last_lines_are_kept(tmp_path):
    words = [
        '-c',
        'print("before", flush=True); raise SystemExit("the cause")',
    ]
    with pytest.raises(PartError, match=r'(?s)failed:.*before\nthe cause'):
        call(run_until(tmp_path, 60), tmp_path / 'log', words)


def test_tests_that_finished_before_the_end_are_kept(tmp_path):
    file = tmp_path / 'test_some.py'
    file.write_text(
        'import time\n'
        'def test_first(record_property):\n'
        "    record_property('figure', 0.5)\n"
        'def test_second():\n'
        "    assert False, 'why'\n"
        'def test_third():\n'
        '    time.sleep(120)\n'
    )
    results = {}
    log = tmp_path / 'some.jsonl'

    def finished():
        return log.exists() and len(log.read_text().splitlines()) == 2

    class UntilTwoFinished(Run):
        def left(self):
            deadline = time.monotonic() + 300
            while not finished() and time.monotonic() < deadline:
                time.sleep(0.1)
            return 0

    run = UntilTwoFinished(tmp_path, 'cpu', 0)
    with pytest.raises(PartError, match='the time is over'):
        run_pytest(
            run, results, 'some', str(file), '-n1', f'--rootdir={tmp_path}'
        )
    found = {t['name'].split('::')[1]: t for t in results['tests']}
    assert found['test_first']['measured'] == dict(figure=0.5)
    assert found['test_second']['outcome'] == 'failed'
    assert 'why' in found['test_second']['message']


def rounds(*seconds):
    return {'1': dict(mib=1.0, seconds=list(seconds))}


def test_marks_are_reached_or_not_or_not_measured():
    float32 = {
        'RetinaNet': rounds(1.0, 2.0, 4.0),
        'SPRNet-GFPN': rounds(1.05, 2.1, 9.0),  # 1.05, 1.05, 2.25
        'SPRNet-box': rounds(1.2, 2.4, 4.8),
        'Mask R-CNN': rounds(1.4, 2.8, 5.6),  # of SPRNet-box's 1.17
    }
    results = dict(throughput={'float32': float32, '--amp': {}})
    rows = {row[0]: row[2:] for row in marks(results)}
    assert rows['SPRNet-GFPN / RetinaNet, float32, batch 1'] == [
        '1.050',
        'yes',
    ]
    assert rows['SPRNet-box / RetinaNet, float32, batch 1'] == ['1.200', 'NO']
    assert rows['Mask R-CNN / SPRNet-GFPN, float32, batch 1'][1] == 'yes'
    assert rows['Mask R-CNN / SPRNet-box, float32, batch 1'][1] == 'NO'
    for absent in ('float32, batch 8', '--amp, batch 1'):
        row = rows[f'SPRNet-GFPN / RetinaNet, {absent}']
        assert row == ['', 'not measured']


def test_the_page_shows_what_each_part_found():
    test = dict(
        name='tests/gpu/test_x.py::test_y[plus/z.py]',
        outcome='failed',
        measured=dict(mask=0.00012345),
        message='text\nE   assert 3 == 4\nmore',
    )
    trained = dict(
        loss=1.5,
        iteration=0.05,
        memory=300,
        gpu={name: 0.125 for name in training.FIGURES},
        cpu={name: 0.126 for name in training.FIGURES},
    )
    parts = dict(
        tests=dict(tests=[test]),
        suite=dict(tests=[]),
        training=dict(trainings={'1 GPU': trained, 'all GPUs (1)': {}}),
        benchmark=dict(
            throughput={
                'float32': {'RetinaNet': rounds(0.1, 0.2)},
                '--amp': {'RetinaNet': dict(error='RuntimeError: why')},
            }
        ),
    )
    parts = {k: dict(v, state='passed', seconds=1) for k, v in parts.items()}
    text = page(dict(run=dict(device='a GPU'), parts=parts))
    for words in (
        '- device: a GPU',
        '- tests/gpu/test_x.py::test_y[plus/z.py]: `assert 3 == 4`',
        '| test_x.py::test_y[plus/z.py] | mask 0.000123 |',
        '| 1 GPU | 1.5 | 0.05 | 300 | 0.125 | 0.126 | 0.125 | 0.126 |',
        '| RetinaNet | 6.7 |  |  |  |',
        '- RetinaNet, --amp: RuntimeError: why',
        'compiled: not measured',
    ):
        assert words in text, words


def fake_training(monkeypatch, on_cpu):
    """Let the training's commands write their files at once."""

    def write(run, log, words, **environment):
        words = [str(word) for word in words]
        if '--work-dir' not in words:
            return
        folder = Path(words[words.index('--work-dir') + 1])
        if 'train' in words[0]:
            data = folder / 'time' / 'vis_data'
            data.mkdir(parents=True)
            line = dict(loss=2.0, time=0.1)
            (data / 'scalars.json').write_text(json.dumps(line))
            (folder / 'last_checkpoint').write_text('epoch_2.pth')
        else:
            (folder / 'time').mkdir(parents=True)
            ap = on_cpu if folder.name == 'cpu' else 0.25
            figures = {name: ap for name in training.FIGURES}
            (folder / 'time' / 'x.json').write_text(json.dumps(figures))

    monkeypatch.setattr(training, 'call', write)


@pytest.mark.parametrize('on_cpu', [0.256, float('nan')])
def test_a_cpu_with_another_ap_is_a_fault(on_cpu, monkeypatch, tmp_path):
    fake_training(monkeypatch, on_cpu)
    results = {}
    with pytest.raises(PartError, match='1 GPU: .*coco/bbox_mAP'):
        training.training(run_until(tmp_path, 60), results)
    assert results['trainings']['1 GPU']['gpu']['coco/bbox_mAP'] == 0.25


def test_a_cpu_with_nearly_the_same_ap_is_none(monkeypatch, tmp_path):
    fake_training(monkeypatch, 0.254)
    results = {}
    for _ in range(2):  # the second run replaces the first one's files
        training.training(run_until(tmp_path, 60), results)
    found = results['trainings']
    assert list(found) == ['1 GPU', '1 GPU, --amp', 'all GPUs (1)']
    assert found['1 GPU']['cpu']['coco/segm_mAP'] == 0.254
    assert 'cpu' not in found['all GPUs (1)']
    assert os.listdir(tmp_path / 'training') != []
