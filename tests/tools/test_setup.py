"""Messages of `make setup`, with stand-ins for the programs that it runs."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest
from support.helpers import ROOT


def setup(python, venv, requirements='requirements.txt', **environment):
    return subprocess.run(
        [ROOT / 'tools' / 'setup.sh', str(python), str(venv), requirements],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def script(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(['#!/bin/sh', *lines]) + '\n')
    path.chmod(0o755)
    return path


def test_a_second_run_does_nothing(tmp_path):
    wanted = subprocess.run(
        'cat requirements-build.txt requirements-tools.txt requirements.txt '
        '| cksum',
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout
    (tmp_path / '.ready').write_text(wanted)
    done = setup('no-such-python', tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
    other = setup('no-such-python', tmp_path, 'requirements-onedl.txt')
    assert other.returncode == 1


@pytest.mark.parametrize(
    'python,environment,sentence',
    [
        ('no-such-python', {}, 'no-such-python was not found; install'),
        (sys.executable, {'CXX': 'no-such-c++'}, 'C++ compiler no-such-c++'),
    ],
    ids=['python', 'compiler'],
)
def test_a_missing_program_is_named(tmp_path, python, environment, sentence):
    done = setup(python, tmp_path / 'venv', **environment)
    assert done.returncode == 1
    assert sentence in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    'refused,sentence',
    [
        ('*version_info*', 'the pinned packages need Python 3.10 to 3.12'),
        ('*ensurepip*', 'python3-venv'),
    ],
)
def test_an_unusable_python_is_named(tmp_path, refused, sentence):
    python = script(
        tmp_path / 'python',
        f'case "$2" in {refused}) exit 1;; esac',
        f'exec {shlex.quote(sys.executable)} "$@"',
    )
    done = setup(python, tmp_path / 'venv')
    assert done.returncode == 1 and sentence in done.stderr


@pytest.mark.parametrize(
    'message,requirements,sentence',
    [
        (
            'OSError: [Errno 28] No space left on device',
            'requirements.txt',
            'the disk is full',
        ),
        (
            'NewConnectionError: Failed to establish a new connection',
            'requirements.txt',
            'could not reach the package index',
        ),
        (
            'ERROR: No matching distribution found for torch',
            'requirements.txt',
            'No matching distribution found for torch',
        ),
        ('error: nvcc', 'requirements.txt', 'STACK=onedl'),
        ('error: nvcc', 'requirements-onedl.txt', 'not be installed (log'),
    ],
)
def test_a_failed_installation_is_explained(
    tmp_path, message, requirements, sentence
):
    script(
        tmp_path / 'venv' / 'bin' / 'python',
        'case "$*" in',
        '  *"pip install -v"*) ' + f'echo {shlex.quote(message)}; exit 1;;',
        '  *"pip install"*) exit 0;;',
        '  *mmcv*) exit 1;;',
        '  *psutil*) echo 2;;',
        'esac',
    )
    done = setup(sys.executable, tmp_path / 'venv', requirements)
    assert done.returncode == 1
    assert sentence in done.stderr.splitlines()[-1]
    assert not (tmp_path / 'venv' / '.ready').exists()


def test_the_modules_install_as_a_package(tmp_path):
    copy, target = tmp_path / 'copy', tmp_path / 'target'
    for name in ('projects', 'tools', 'configs'):  # packages by their look
        shutil.copytree(ROOT / name, copy / name)
    shutil.copy(ROOT / 'pyproject.toml', copy)
    command = [sys.executable, '-m', 'pip', 'install', '--no-deps', '-q']
    options = ['--no-build-isolation', '--no-index', '--target', target, copy]
    subprocess.run(list(map(str, command + options)), check=True)
    assert (target / 'projects' / 'sprnet' / 'runtime' / 'tta.py').is_file()
