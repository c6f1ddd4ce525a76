"""Threads of the commands: how many, and how they wait."""

import ast
import os
import subprocess
import sys

from common.threads import available_cpus, cpu_quota

import pytest
from support.helpers import ROOT

UNLIMITED = float('inf')


def groups(tmp_path, cgroup, **files):
    """A /proc/self/cgroup, and a /sys/fs/cgroup with files."""
    (tmp_path / 'cgroup').write_text(cgroup)
    root = tmp_path / 'root'
    for name, text in files.items():
        path = root / name.replace('__', '/')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / 'cgroup', root


@pytest.mark.parametrize(
    'cgroup,files,quota',
    [
        ('0::/\n', {}, UNLIMITED),
        ('0::/\n', {'cpu.max': 'max 100000\n'}, UNLIMITED),
        ('0::/\n', {'cpu.max': '150000 100000\n'}, 1.5),
        (
            '0::/a/b\n',
            {'a__cpu.max': '200000 100000\n', 'a__b__cpu.max': 'max 100000\n'},
            2,
        ),
        ('0::/gone\n', {'cpu.max': '50000 100000\n'}, 0.5),
        (
            '2:cpuset:/\n1:cpu,cpuacct:/job\n0::/\n',
            {
                'cpu__job__cpu.cfs_quota_us': '300000\n',
                'cpu__job__cpu.cfs_period_us': '100000\n',
            },
            3,
        ),
        (
            '1:cpu:/\n',
            {
                'cpu__cpu.cfs_quota_us': '-1\n',
                'cpu__cpu.cfs_period_us': '100000\n',
            },
            UNLIMITED,
        ),
    ],
)
def test_the_cpus_of_a_cgroup(tmp_path, cgroup, files, quota):
    assert cpu_quota(*groups(tmp_path, cgroup, **files)) == quota


def test_no_cgroups_are_no_limit(tmp_path):
    assert cpu_quota(tmp_path / 'missing', tmp_path) == UNLIMITED


def test_affinity_and_quota_bound_the_cpus(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(6)))
    for quota, cpus in ((UNLIMITED, 6), (2.9, 2), (0.5, 1)):
        monkeypatch.setattr('common.threads.cpu_quota', lambda q=quota: q)
        assert available_cpus() == cpus


def environment_of(*variables, **environment):
    """OpenMP's variables after a command's imports."""
    code = 'import common, os; print(*map(os.environ.get, {!r}))'
    kept = {k: v for k, v in os.environ.items() if not k.startswith('OMP_')}
    done = subprocess.run(
        [sys.executable, '-c', code.format(variables)],
        env={**kept, **environment, 'PYTHONPATH': str(ROOT / 'tools')},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_threads_wait_passively_unless_the_user_says_otherwise():
    assert environment_of('OMP_WAIT_POLICY') == ['PASSIVE']
    names = 'OMP_WAIT_POLICY', 'OMP_NUM_THREADS'
    set_by_user = dict(zip(names, ('ACTIVE', '7')))
    assert environment_of(*names, **set_by_user) == ['ACTIVE', '7']


@pytest.mark.parametrize(
    'command',
    sorted((ROOT / 'tools').glob('*.py')),
    ids=lambda path: path.stem,
)
def test_every_command_sets_its_threads_before_it_loads_torch(command):
    imported = [
        (node.module or '').split('.')[0]
        if isinstance(node, ast.ImportFrom)
        else node.names[0].name.split('.')[0]
        for node in ast.parse(command.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    others = [m for m in imported if m not in sys.stdlib_module_names]
    standalone = {'onnx_client', 'setup_core_ops'}  # load no torch
    assert command.stem in standalone or others[0] == 'common', others
