"""Messages of `make setup`, with stand-ins for the programs that it runs."""

import os
import re
import shlex
import subprocess
import sys
import types

import pytest
from support.helpers import ROOT

from tools.setup_core_ops import FRONT, OPERATORS, reduce_operators

FILES = dict(stock='requirements.txt', onedl='requirements-onedl.txt')
SETUP = ROOT / 'tools' / 'setup.sh'


def stacks():
    """setup.sh's table of Pythons and stacks."""
    (table,) = re.findall(
        r"^stacks='\n(.*?)'$", SETUP.read_text(), re.M | re.S
    )
    return dict(line.split() for line in table.splitlines())


def setup(python, venv, stack='', *ops, **environment):
    command = [SETUP, python, venv, stack, *ops]
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


def wanted(stack='stock'):
    """The first words of the file that marks a finished environment."""
    files = f'requirements-build.txt requirements-tools.txt {FILES[stack]}'
    command = ['sh', '-c', f"cat {files} | cksum | tr ' ' -"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return f'{stack} {done.stdout.strip()}'


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


def python_of(folder, version):
    """A Python of another version that otherwise is this one."""
    return script(
        folder / f'python{version}',
        f'case "$2" in *version_info*) echo {version}; exit;; esac',
        f'exec {shlex.quote(sys.executable)} "$@"',
    )


def without_gpu(folder):
    """An environment in which nvidia-smi fails."""
    fake = script(folder / 'no-gpu' / 'nvidia-smi', 'exit 9')
    return dict(PATH=f'{fake.parent}{os.pathsep}{os.environ["PATH"]}')


@pytest.mark.parametrize(
    'had,asked', [('core', ''), ('all', ''), ('all', 'core'), ('all', 'all')]
)
@pytest.mark.parametrize('stack', ['stock', 'onedl'])
def test_a_second_run_does_nothing(tmp_path, had, asked, stack):
    (tmp_path / '.ready').write_text(f'{wanted(stack)} {had}\n')
    for same in ('', stack):
        done = setup('no-such-python', tmp_path, same, asked)
        assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
    other = 'stock' if stack == 'onedl' else 'onedl'
    assert setup('no-such-python', tmp_path, other, asked).returncode == 1


def test_all_operators_replace_some(tmp_path):
    fake_python(tmp_path)
    (tmp_path / '.ready').write_text(f'{wanted()} core\n')
    done = setup(python_of(tmp_path, '3.11'), tmp_path, '', 'all')
    assert 'compiled with all operators' in done.stdout
    assert 'pip uninstall -y mmcv' in (tmp_path / 'calls').read_text()
    assert (tmp_path / '.ready').read_text() == f'{wanted()} all\n'


def test_the_table_has_the_pythons_that_are_promised():
    versions = [f'3.{minor}' for minor in range(10, 15)]
    assert list(stacks()) == versions
    assert set(stacks().values()) == set(FILES)
    project = (ROOT / 'pyproject.toml').read_text()
    assert f'requires-python = ">={versions[0]}"' in project
    readme = ' '.join((ROOT / 'README.md').read_text().split())
    assert f'Python {versions[0]} to {versions[-1]}' in readme


@pytest.mark.parametrize('version', [f'3.{n}' for n in range(10, 15)])
def test_a_python_takes_the_stack_that_works_there(tmp_path, version):
    fake_python(tmp_path)
    done = setup(python_of(tmp_path, version), tmp_path)
    assert done.returncode == 0, done.stderr
    stack = stacks()[version]
    first = done.stdout.splitlines()[0]
    assert f'from {FILES[stack]},' in first and version in first
    assert (tmp_path / '.ready').read_text().startswith(f'{stack} ')
    assert f'-r {FILES[stack]}' in (tmp_path / 'calls').read_text()


@pytest.mark.parametrize('version', ['3.12', '3.14'])
def test_the_user_chooses_the_forks(tmp_path, version):
    fake_python(tmp_path)
    done = setup(python_of(tmp_path, version), tmp_path, 'onedl')
    assert FILES['onedl'] in done.stdout.splitlines()[0]


@pytest.mark.parametrize(
    'version,stack,sentence',
    [
        ('3.9', '', 'need Python 3.10 to 3.14'),
        ('3.15', 'onedl', 'need Python 3.10 to 3.14'),
        ('3.13', 'stock', 'STACK=stock needs Python 3.10 to 3.12'),
        ('3.11', 'fork', 'STACK=fork is neither "stock" nor "onedl"'),
    ],
)
def test_what_does_not_exist_is_said_at_once(
    tmp_path, version, stack, sentence
):
    venv = tmp_path / 'venv'
    done = setup(python_of(tmp_path, version), venv, stack)
    assert done.returncode == 1 and sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not venv.exists()


@pytest.mark.parametrize('cuda', [True, False])
def test_the_size_of_cuda_is_said_before(tmp_path, cuda):
    report = '"requires_dist": ["nvidia-cublas"]' if cuda else '"filelock"'
    fake_python(
        tmp_path,
        '  *"import torch") exit 1;;',
        f"  *dry-run*) echo '{report}';;",
    )
    python = python_of(tmp_path, '3.13')
    said = setup(python, tmp_path, **without_gpu(tmp_path)).stdout
    assert ('PIP_EXTRA_INDEX_URL=' in said.split('torch and')[0]) == cuda


def test_a_gpu_that_torch_cannot_use_is_named(tmp_path):
    gpu = script(
        tmp_path / 'programs' / 'nvidia-smi', 'echo "NVIDIA X, 470.1"'
    )
    (tmp_path / 'torch.py').write_text(
        'import types\n'
        '__version__ = "2.13.0"\n'
        'version = types.SimpleNamespace(cuda="13.0")\n'
        'cuda = types.SimpleNamespace(is_available=lambda: False)\n'
    )
    fake_python(
        tmp_path, f'  "- NVIDIA"*) exec {shlex.quote(sys.executable)} "$@";;'
    )
    path = f'{gpu.parent}{os.pathsep}{os.environ["PATH"]}'
    environment = dict(PATH=path, PYTHONPATH=str(tmp_path))
    said = setup(python_of(tmp_path, '3.13'), tmp_path, **environment).stdout
    assert 'NVIDIA X, driver 470.1' in said
    assert 'torch 2.13.0' in said and 'CUDA 13.0' in said
    assert 'compiled for the CPU' in said


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
    said = setup(python_of(tmp_path, '3.11'), tmp_path, '', ops).stdout
    assert some in said and f' for {devices}{":" if ops else ";"}' in said
    environment = (tmp_path / 'bin' / 'env').read_text()
    assert ('CUDA_VISIBLE_DEVICES=\n' in environment) == bool(code)


def test_unknown_operators_are_named(tmp_path):
    done = setup(sys.executable, tmp_path, '', 'some')
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
    'case,sentence',
    [
        ('*ensurepip*) exit 1', 'python3-venv'),
        ('*sysconfig*) echo /nowhere; exit', 'python3-dev'),
    ],
)
def test_an_unusable_python_is_named(tmp_path, case, sentence):
    python = script(
        tmp_path / 'python',
        f'case "$2" in {case};; esac',
        f'exec {shlex.quote(sys.executable)} "$@"',
    )
    done = setup(python, tmp_path / 'venv')
    assert done.returncode == 1 and sentence in done.stderr


@pytest.mark.parametrize(
    'messages,stack,ops,sentence',
    [
        (
            ['OSError: [Errno 28] No space left on device'],
            'stock',
            'core',
            'the disk is full',
        ),
        (
            ['NewConnectionError: Failed to establish a new connection'],
            'stock',
            'core',
            'could not reach the package index',
        ),
        (
            ['ERROR: No matching distribution found for torch'],
            'stock',
            'all',
            'No matching distribution found for torch',
        ),
        (
            [
                "nms.cpp:3:1: error: 'Tensor' was not declared",
                'error: subprocess-exited-with-error',
                '  ERROR: Failed building wheel for mmcv',
            ],
            'stock',
            'core',
            "nms.cpp:3:1: error: 'Tensor' was not declared (log",
        ),
        (['error: nvcc'], 'stock', 'all', 'STACK=onedl'),
        (['error: nvcc'], 'onedl', 'core', 'be installed: error: nvcc (log'),
    ],
)
def test_a_failed_installation_is_explained(
    tmp_path, messages, stack, ops, sentence
):
    step = 'pip download' if ops == 'core' else 'pip install -v'
    fake_python(
        tmp_path,
        f'  *"{step}"*) echo {shlex.quote(chr(10).join(messages))}; exit 1;;',
        '  *"import importlib"*) exit 1;;',
    )
    done = setup(python_of(tmp_path, '3.11'), tmp_path, stack, ops)
    assert done.returncode == 1
    assert sentence in done.stderr.splitlines()[-1]
    assert not (tmp_path / '.ready').exists()


def test_a_package_that_does_not_load_is_explained(tmp_path):
    message = 'ImportError: libGL.so.1: cannot open shared object file'
    fake_python(
        tmp_path, f'  *"import mmcv.ops, mmdet") echo {message}; exit 1;;'
    )
    done = setup(python_of(tmp_path, '3.13'), tmp_path)
    assert done.returncode == 1 and f'load: {message} (log' in done.stderr


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
