"""Ranks on one node and on several, under Slurm too: how they start and end.

`make soak` lets real trainings hang and die.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from datetime import timedelta

from common import ranks
from common.launcher_link import LAUNCHER

import launch
import psutil
import pytest
import torch
import torch.distributed as dist
from support.commands import command, run
from support.helpers import ROOT, SHAPES_CONFIG
from support.in_process import complaint, run_command


@pytest.fixture
def started(monkeypatch):
    """What launch.py hands to torch.distributed.run."""
    for name in ('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'PORT'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    monkeypatch.delenv(LAUNCHER, raising=False)
    calls = []
    monkeypatch.setattr(launch.run, 'main', calls.append)
    yield calls
    os.environ.pop(LAUNCHER, None)


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that a number of GPUs are visible."""
    return lambda count: monkeypatch.setattr(
        torch.cuda, 'device_count', lambda: count
    )


@pytest.fixture
def used_port():
    with socket.socket() as server:
        server.bind(('', 0))
        server.listen()
        yield str(server.getsockname()[1])


def options(arguments):
    return dict(a.split('=', 1) for a in arguments if a.startswith('--'))


def test_a_node_takes_a_free_port(started, capsys):
    for _ in range(2):
        run_command(launch, 2, 'train.py', 'c.py', '--amp')
    for arguments in started:
        given = options(arguments[:-4])
        assert given['--nproc-per-node'] == '2' and given['--nnodes'] == '1'
        assert not launch.port_in_use(int(given['--master-port']))
        script = str(ROOT / 'tools' / 'train.py')
        tail = [script, 'c.py', '--amp', '--launcher=pytorch']
        assert arguments[-4:] == tail
    ports = {options(a[:-4])['--master-port'] for a in started}
    assert len(ports) == 2
    assert 'starting 2 ranks on the CPU' in capsys.readouterr().out


def test_nodes_share_address_and_port(started, monkeypatch):
    monkeypatch.setenv('NNODES', '2')
    monkeypatch.setenv('MASTER_ADDR', '10.0.0.1')
    monkeypatch.setenv('NODE_RANK', '1')
    run_command(launch, 1, 'test.py')
    given = options(started[0][:-2])
    assert given['--master-addr'] == '10.0.0.1'
    assert given['--master-port'] == '29500'
    assert given['--nnodes'] == '2' and given['--node-rank'] == '1'


@pytest.mark.parametrize(
    'variables, words',
    [
        ({'NNODES': '2'}, ['NNODES=2', 'NODE_RANK']),
        ({'NNODES': '2', 'NODE_RANK': '0'}, ['NNODES=2', 'MASTER_ADDR']),
        ({'NNODES': 'two'}, ['NNODES=two']),
        ({'NODE_RANK': '1'}, ['NODE_RANK=1']),
        ({'PORT': '99999'}, ['PORT=99999', '65535']),
    ],
)
def test_wrong_environment_is_one_sentence(
    variables, words, started, monkeypatch
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    sentence = complaint(launch, 1, 'train.py')
    assert all(word in sentence for word in words)
    assert not started


def test_a_port_in_use_is_one_sentence(started, used_port, monkeypatch):
    monkeypatch.setenv('PORT', used_port)
    assert f'PORT={used_port} is in use' in complaint(launch, 1, 'train.py')
    # Another node's ranks meet at the first node.
    monkeypatch.setenv('NNODES', '2')
    monkeypatch.setenv('MASTER_ADDR', 'first')
    monkeypatch.setenv('NODE_RANK', '1')
    run_command(launch, 1, 'train.py')
    assert len(started) == 1


@pytest.mark.parametrize(
    'count, visible, ranks, words',
    [
        (2, None, 4, ['4 ranks', 'this node has 2']),
        (2, '0,1', 4, ['4 ranks', 'CUDA_VISIBLE_DEVICES=0,1 has 2']),
        (0, '8', 1, ['1 ranks', 'CUDA_VISIBLE_DEVICES=8 has 0']),
        (2, '0,1', 2, []),
        (0, '', 2, []),
        (0, '-1', 2, []),
    ],
)
def test_fewer_gpus_than_ranks_is_one_sentence(
    count, visible, ranks, words, started, gpus, monkeypatch
):
    gpus(count)
    if visible is not None:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    if not words:
        run_command(launch, ranks, 'train.py')
        assert len(started) == 1
        return
    sentence = complaint(launch, ranks, 'train.py')
    assert all(word in sentence for word in words)
    assert not started


def test_the_environment_of_nccl_is_left_alone(started, monkeypatch):
    monkeypatch.setenv('NCCL_SOCKET_IFNAME', 'ib0')
    before = dict(os.environ)
    run_command(launch, 2, 'train.py')
    assert os.environ.pop(LAUNCHER) == str(os.getpid())
    assert os.environ == before


CHILD = """
import time
from common.launcher_link import end_with_launcher
end_with_launcher()
print('ready', flush=True)
time.sleep(60)
"""
PARENT = f"""
import os, subprocess, sys
os.environ[{LAUNCHER!r}] = str(os.getpid())
child = subprocess.Popen([sys.executable, '-c', {CHILD!r}])
print(child.pid, flush=True)
child.wait()
"""


def python(code, **variables):
    path = str(ROOT / 'tools')
    return subprocess.Popen(
        [sys.executable, '-c', code],
        env={**os.environ, 'PYTHONPATH': path, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_launcher_that_is_killed_takes_its_ranks_along():
    launcher = python(PARENT)
    rank = psutil.Process(int(launcher.stdout.readline()))
    assert launcher.stdout.readline() == 'ready\n'
    launcher.kill()
    with suppress(psutil.NoSuchProcess):
        rank.wait(5)
    launcher.communicate()


def test_a_rank_whose_launcher_is_gone_does_not_start():
    gone = python('')
    gone.communicate()
    orphan = python(CHILD, **{LAUNCHER: str(gone.pid)})
    output, errors = orphan.communicate(timeout=20)
    assert orphan.returncode == 1 and not output
    assert errors == 'the launcher of this rank has ended\n'


def hang(folder):
    """The second of two ranks, which joins and then does nothing."""
    dist.init_process_group(
        'gloo', f'file://{folder}/store', rank=1, world_size=2
    )
    time.sleep(60)


def test_a_rank_does_not_wait_for_one_that_hangs(tmp_path, monkeypatch):
    """The config sets how long."""
    child = os.fork()
    if not child:
        try:
            hang(tmp_path)
        finally:
            os._exit(0)
    join = dist.init_process_group

    def join_by_file(backend, **options):
        store = f'file://{tmp_path}/store'
        join(backend, store, rank=0, world_size=2, **options)

    monkeypatch.setattr(dist, 'init_process_group', join_by_file)
    monkeypatch.setenv('RANK', '0')
    option = 'env_cfg.dist_cfg.timeout=1'
    argv = [str(SHAPES_CONFIG), '--launcher', 'pytorch']
    ranks.rank_options([*argv, '--cfg-options', option])
    began = time.monotonic()
    with pytest.raises(RuntimeError, match='(?i)timed out'):
        dist.all_reduce(torch.zeros(1))
    assert time.monotonic() - began < 10
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    dist.destroy_process_group()


@pytest.mark.parametrize(
    'given, seconds',
    [([], 600), (['--cfg-options', 'env_cfg.dist_cfg.timeout=9'], 9)],
)
def test_the_timeout_comes_from_config_and_options(
    given, seconds, monkeypatch
):
    calls = []
    monkeypatch.setattr(
        dist, 'init_process_group', lambda *a, **k: calls.append(k)
    )
    monkeypatch.setenv('RANK', '0')
    argv = [str(SHAPES_CONFIG), '--launcher=pytorch', *given]
    assert 'model_wrapper_cfg.device_ids=None' in ranks.rank_options(argv)
    assert calls == [dict(timeout=timedelta(seconds=seconds))]
    with pytest.raises(SystemExit, match='timeout=soon must be'):
        ranks.rank_options(
            [*argv[:2], '--cfg-options', 'env_cfg.dist_cfg.timeout=soon']
        )


def test_jobs_of_slurm_have_ports_of_their_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    ports = []
    for job in ('100', '101'):
        monkeypatch.delenv('MASTER_PORT', raising=False)
        monkeypatch.setenv('SLURM_JOB_ID', job)
        argv = [str(SHAPES_CONFIG), '--launcher', 'slurm']
        assert ranks.rank_options(argv) == []
        ports.append(os.environ['MASTER_PORT'])
    assert ports == ['15100', '15101']
    monkeypatch.setenv('MASTER_PORT', '4')
    ranks.rank_options(argv)
    assert os.environ['MASTER_PORT'] == '4'


@pytest.mark.parametrize('restarts, resumes', [('0', False), ('2', True)])
def test_a_requeued_job_of_slurm_resumes(restarts, resumes, tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    done = run(
        command('slurm_train.sh', 'part', 'job', 'c.py', 'dir', '--amp'),
        tmp_path,
        PATH=f'{tmp_path}:{os.environ["PATH"]}',
        SLURM_RESTART_COUNT=restarts,
    )
    assert done.returncode == 0, done.stderr
    assert ('--resume' in done.stdout.splitlines()) == resumes
