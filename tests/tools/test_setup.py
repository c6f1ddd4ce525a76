"""Messages of `make setup`, with stand-ins for the programs that it runs."""

import os
import shlex
import shutil
import subprocess
import sys
import types

import pytest
from support.helpers import ROOT

from tools.setup_core_ops import FRONT, OPERATORS, reduce_operators


def setup(python, venv, requirements='requirements.txt', *ops, **environment):
    command = [ROOT / 'tools' / 'setup.sh', python, venv, requirements, *ops]
    return subprocess.run(
        list(map(str, command)),
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


def wanted(requirements='requirements.txt'):
    files = f'requirements-build.txt requirements-tools.txt {requirements}'
    command = ['sh', '-c', f'cat {files} | cksum']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def fake_python(venv, *cases):
    """A Python of an environment whose pip does what ``cases`` say."""
    return script(
        venv / 'bin' / 'python',
        f'echo "$*" >>{shlex.quote(str(venv / "calls"))}',
        'case "$*" in',
        *cases,
        '  *psutil*) echo 2;;',
        'esac',
    )


@pytest.mark.parametrize(
    'had,asked', [('core', ''), ('all', ''), ('all', 'core'), ('all', 'all')]
)
def test_a_second_run_does_nothing(tmp_path, had, asked):
    (tmp_path / '.ready').write_text(f'{wanted()} {had}\n')
    done = setup('no-such-python', tmp_path, 'requirements.txt', asked)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
    other = setup('no-such-python', tmp_path, 'requirements-onedl.txt', asked)
    assert other.returncode == 1


def test_all_operators_replace_some(tmp_path):
    fake_python(tmp_path)
    (tmp_path / '.ready').write_text(f'{wanted()} core\n')
    done = setup(sys.executable, tmp_path, 'requirements.txt', 'all')
    assert 'compiled with all operators' in done.stdout
    assert 'pip uninstall -y mmcv' in (tmp_path / 'calls').read_text()
    assert (tmp_path / '.ready').read_text() == f'{wanted()} all\n'


@pytest.mark.parametrize('ops,some', [('', 'needs are'), ('all', 'with all')])
@pytest.mark.parametrize(
    'code,devices', [(0, 'the CPU and CUDA'), (1, 'the CPU')]
)
def test_operators_are_for_cuda_too(tmp_path, ops, some, code, devices):
    fake_python(
        tmp_path,
        f'  *CUDA_HOME*) exit {code};;',
        '  *"import importlib"*) exit 1;;',
        '  *pip*) env >>$(dirname "$0")/env;;',
    )
    said = setup(sys.executable, tmp_path, 'requirements.txt', ops).stdout
    assert some in said and f' for {devices}{":" if ops else ";"}' in said
    environment = (tmp_path / 'bin' / 'env').read_text()
    assert ('CUDA_VISIBLE_DEVICES=\n' in environment) == bool(code)


def test_unknown_operators_are_named(tmp_path):
    done = setup(sys.executable, tmp_path, 'requirements.txt', 'some')
    assert done.stderr == 'setup: OPS=some is neither "core" nor "all"\n'


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
    'message,requirements,ops,sentence',
    [
        (
            'OSError: [Errno 28] No space left on device',
            'requirements.txt',
            'core',
            'the disk is full',
        ),
        (
            'NewConnectionError: Failed to establish a new connection',
            'requirements.txt',
            'core',
            'could not reach the package index',
        ),
        (
            'ERROR: No matching distribution found for torch',
            'requirements.txt',
            'all',
            'No matching distribution found for torch',
        ),
        ('error: nvcc', 'requirements.txt', 'all', 'STACK=onedl'),
        ('error: g++', 'requirements.txt', 'core', 'STACK=onedl'),
        ('error: g++', 'requirements-onedl.txt', 'core', 'be installed (log'),
    ],
)
def test_a_failed_installation_is_explained(
    tmp_path, message, requirements, ops, sentence
):
    step = 'pip download' if ops == 'core' else 'pip install -v'
    fake_python(
        tmp_path,
        f'  *"{step}"*) echo {shlex.quote(message)}; exit 1;;',
        '  *"import importlib"*) exit 1;;',
    )
    done = setup(sys.executable, tmp_path, requirements, ops)
    assert done.returncode == 1
    assert sentence in done.stderr.splitlines()[-1]
    assert not (tmp_path / '.ready').exists()


def test_the_modules_install_as_a_package(tmp_path):
    copy, target = tmp_path / 'copy', tmp_path / 'target'
    for name in ('projects', 'tools', 'configs'):  # packages by their look
        shutil.copytree(ROOT / name, copy / name)
    shutil.copy(ROOT / 'pyproject.toml', copy)
    command = [sys.executable, '-m', 'pip', 'install', '--no-deps', '-q']
    options = ['--no-build-isolation', '--no-index', '--target', target, copy]
    subprocess.run(list(map(str, command + options)), check=True)
    assert (target / 'projects' / 'sprnet' / 'runtime' / 'tta.py').is_file()


def mmcv_sources(folder, operators):
    """A source package of mmcv with two operators that are not needed."""
    sources = folder / 'mmcv' / 'ops' / 'csrc' / 'pytorch'
    (sources / 'cpu').mkdir(parents=True)
    (sources / 'cuda').mkdir()
    for name in ('nms.cpp', 'carafe.cpp', 'cpu/nms.cpp', 'cpu/psamask.cpp'):
        (sources / name).write_text(f'// {name}')
    (sources / 'pybind.cpp').write_text(
        '#include <torch/extension.h>\n'
        'Tensor nms(Tensor boxes);\n'
        'PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {\n'
        + ''.join(
            f'  m.def("{name}", &{name}, "{name}",\n        py::arg("x"));\n'
            for name in ['carafe', *operators, 'psamask']
        )
        + '}\n'
    )
    for name in ('nms', 'nms_rotated', 'carafe'):
        (sources / 'cuda' / f'{name}_cuda.cu').touch()
    (sources / 'cuda' / 'cudabind.cpp').write_text(
        '#include "a"\n#include "b"\n\n'
        + '\n\n'.join(
            f'Tensor {name}_cuda(Tensor x) {{\n  x;\n\n  return x;\n}}\n\n'
            f'REGISTER_DEVICE_IMPL({name}_impl, CUDA,\n    {name}_cuda);'
            for name in ('carafe', 'iou3d_nms', 'nms', 'roi_align_rotated')
        )
    )
    (folder / 'setup.py').write_text("ext_name = 'mmcv._ext'\n")
    return sources


def test_one_file_with_the_needed_operators_is_left(tmp_path):
    sources = mmcv_sources(tmp_path, OPERATORS)
    reduce_operators(tmp_path)
    (left,) = sources.glob('*.cpp')
    text = left.read_text()
    included = [line.split('"')[1] for line in text.splitlines()[1:3]]
    assert [(sources / path).read_text() for path in included] == [
        '// cpu/nms.cpp',
        '// nms.cpp',
    ]
    assert text.count('m.def(') == len(OPERATORS)
    assert 'carafe' not in text and 'psamask' not in text
    assert 'mmcv._core_ext' in (tmp_path / 'setup.py').read_text()


def test_the_kernels_of_the_needed_operators_are_left(tmp_path):
    folder = mmcv_sources(tmp_path, OPERATORS) / 'cuda'
    reduce_operators(tmp_path)
    assert [file.name for file in folder.glob('*.cu')] == ['nms_cuda.cu']
    assert (folder / 'cudabind.cpp').read_text() == (
        '#include "a"\n#include "b"\n\n'
        'Tensor nms_cuda(Tensor x) {\n  x;\n\n  return x;\n}\n\n'
        'REGISTER_DEVICE_IMPL(nms_impl, CUDA,\n    nms_cuda);\n\n'
    )


def test_a_package_without_an_operator_is_refused(tmp_path):
    mmcv_sources(tmp_path, OPERATORS[1:])
    with pytest.raises(ValueError, match=f'no operator {OPERATORS[0]}'):
        reduce_operators(tmp_path)


def test_the_front_module_names_what_is_missing(monkeypatch):
    core = types.ModuleType('mmcv._core_ext')
    core.nms = len
    monkeypatch.setitem(sys.modules, 'mmcv._core_ext', core)
    front = types.ModuleType('mmcv._ext')
    exec(FRONT, vars(front))
    assert front.nms is len
    assert not hasattr(front, '__path__')
    with pytest.raises(NotImplementedError, match='carafe.*make setup OPS'):
        front.carafe(1, x=2)
