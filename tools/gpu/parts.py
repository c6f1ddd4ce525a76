"""What the parts run, except the training.

A part fills a dictionary of results as it goes, so that nothing is lost if it
fails.
"""

import json
from importlib.metadata import PackageNotFoundError, version

from common.threads import available_cpus

import setuptools  # noqa: F401  brings distutils, which collect_env imports
import torch
from mmcv.ops import get_compiling_cuda_version
from mmdet.utils import collect_env

from .processes import PartError, Run, call

GPU_MEMORY = 2  # GiB that a process of pytest may take
TESTS_OF_A_GPU = 'tests/gpu'


def environment(run: Run, results: dict) -> None:
    """The machine and its software, as mmengine lists them."""
    results['facts'] = {
        **{key: str(value) for key, value in collect_env().items()},
        'CUDA of mmcv': get_compiling_cuda_version(),
        'ONNX Runtime': ', '.join(onnx_providers()) or 'not installed',
        'TensorRT': installed('tensorrt'),
    }
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        results['facts'][f'memory of GPU {number}'] = (
            f'{gpu.total_memory / 2**30:.0f} GiB'
        )


def installed(package: str) -> str:
    """A package's version, or that it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return 'not installed'


def onnx_providers() -> list[str]:
    """What the installed ONNX Runtime can run on."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        return []
    return onnxruntime.get_available_providers()


def tests(run: Run, results: dict) -> None:
    """The tests that compare the GPU with the CPU."""
    run_pytest(run, results, 'tests', TESTS_OF_A_GPU, '--dist=worksteal')


def suite(run: Run, results: dict) -> None:
    """The other tests; their commands take the GPU, as users' do."""
    run_pytest(
        run,
        results,
        'suite',
        'tests/configs' if run.rehearsal else 'tests',
        f'--ignore={TESTS_OF_A_GPU}',
        '--dist=loadfile',
    )


def workers(device: str) -> int:
    """Number of pytest's processes that a machine has CPUs and memory for."""
    count = available_cpus()
    if device == 'cpu':
        return count
    memory = torch.cuda.get_device_properties(device).total_memory / 2**30
    return max(1, min(count, int(memory / GPU_MEMORY)))


def run_pytest(run: Run, results: dict, name: str, *arguments: str) -> None:
    """Run tests; put what they report into ``results['tests']``.

    Raises:
        PartError: A test failed, or none ran, or the time is over.
    """
    log = run.folder / f'{name}.jsonl'
    log.unlink(missing_ok=True)
    words = ['-m', 'pytest', '-q', '-p', 'tools.gpu.test_log']
    words += ['-n', workers(run.device), *arguments]
    try:
        call(
            run,
            run.folder / f'{name}.log',
            words,
            TEST_LOG=str(log.absolute()),
            TEST_DEVICE=run.device,
            OMP_NUM_THREADS='1',
        )
    finally:
        if log.exists():
            lines = log.read_text().splitlines()
            results['tests'] = [json.loads(line) for line in lines]
    if not any(t['outcome'] == 'passed' for t in results.get('tests', [])):
        raise PartError('no test passed')


def benchmark(run: Run, results: dict) -> None:
    """Images per second and memory, beside other models."""
    parts = ['throughput', 'compiled']
    if 'CUDAExecutionProvider' in onnx_providers():
        parts.append('runtimes')
    options = ['--device', run.device, '--rounds', 1 if run.rehearsal else 10]
    if run.rehearsal:
        parts = ['throughput', 'runtimes']  # compiling takes minutes
        options += ['--quick', '--size', 96, 192]
    failures = []
    for part in parts:
        out = run.folder / 'benchmark' / part
        words = ['tools/benchmark.py', '--parts', part, '--out-dir', out]
        try:
            call(run, run.folder / f'{part}.log', [*words, *options])
        except PartError as error:
            failures.append(f'{part}: {error}')
        file = out / 'results.json'
        if file.exists():
            results.update(json.loads(file.read_text()))
    if failures:
        raise PartError('\n'.join(failures))
