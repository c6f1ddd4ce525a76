"""Two and four ranks over gloo. Run by `make soak`."""

import json
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import mmengine
import psutil
import pytest
import torch
from launch import free_port
from soak.conftest import last_weights
from support.commands import (
    coco_figures,
    command,
    environment,
    run,
    same_weights,
    small,
)
from support.helpers import ROOT, SHAPES_CONFIG
from support.rank_step import model_and_data

from projects.sprnet import spr_head

STEP = ROOT / 'tests' / 'support' / 'rank_step.py'
PORT = str(free_port())
TIMEOUT = 5  # seconds

two_and_four = pytest.mark.parametrize('ranks', [2, 4])


@two_and_four
def test_a_step_on_images_of_different_sizes_one_without_objects(
    ranks, tmp_path, monkeypatch, record_property
):
    subprocess.run(
        [
            *(sys.executable, '-m', 'torch.distributed.run'),
            *(f'--nproc-per-node={ranks}', f'--master-port={PORT}'),
            *(STEP, tmp_path),
        ],
        check=True,
        timeout=300,
    )
    first, *others = (
        torch.load(tmp_path / f'rank{r}.pth') for r in range(ranks)
    )
    for other in others:
        assert same_weights(other['weights'], first['weights'])
    # In one process: the sum of the images' mask losses, divided by the number
    # of masks in all images
    model, images, samples = model_and_data()
    counts = []

    def mask_losses():
        return sum(
            model(images[r], [samples[r]], mode='loss')['loss_mask']
            for r in range(ranks)
        )

    monkeypatch.setattr(
        spr_head, 'reduce_mean', lambda count: counts.append(count) or count
    )
    mask_losses()
    assert 0 in counts and sum(counts) > 0
    monkeypatch.setattr(spr_head, 'reduce_mean', lambda _: sum(counts[:ranks]))
    mask_losses().backward()
    for key, parameter in model.mask_head.named_parameters():
        torch.testing.assert_close(
            first['grads'][f'mask_head.{key}'],
            parameter.grad,
            atol=1e-6,
            rtol=1e-4,
        )
    record_property(
        f'a step on {ranks} ranks, each with an image of its own size, one '
        'without objects',
        (1, 'nothing: the mask gradients of all images in one process'),
    )


@pytest.fixture
def launch(shapes, tmp_path):
    """Start or resume one node of a training that does not end by itself.

    Its output goes to output<node>. Processes that are left are killed after
    the test.
    """

    def start(
        ranks: int, *more: str, folder='run', node: int = 0, nodes: int = 1
    ) -> psutil.Popen:
        options = small(
            shapes,
            'train_cfg.max_epochs=999',
            'default_hooks.checkpoint.max_keep_ckpts=1',
            *more,
        )
        where = ('--resume', '--work-dir', folder)
        train = command(
            'dist_train.sh', SHAPES_CONFIG, ranks, *where, *options
        )
        with open(tmp_path / f'output{node}', 'w') as file:
            return psutil.Popen(
                train,
                cwd=tmp_path,
                env=environment(
                    PORT=PORT,
                    MASTER_ADDR='127.0.0.1',
                    NNODES=str(nodes),
                    NODE_RANK=str(node),
                    SOAK=str(tmp_path),
                ),
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    yield start
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get('SOAK') == str(tmp_path):
                process.kill()


def wait_for_training(output: Path) -> None:
    """Wait until a training is in its second epoch."""
    deadline = time.monotonic() + 120
    while not re.search(r'Epoch\(train\) +\[ *2\]', output.read_text()):
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.1)


def seconds_to_end(launcher: psutil.Popen, others: list) -> float:
    """Seconds, at most 60, until a launcher fails and its ranks have ended."""
    began = time.monotonic()
    assert launcher.wait(60) != 0
    _, alive = psutil.wait_procs(others, timeout=60)
    assert not alive
    seconds = time.monotonic() - began
    assert seconds < 60
    return seconds


def ranks_of(launcher: psutil.Popen) -> dict[int, psutil.Process]:
    """The processes of a launcher, by rank."""
    return {int(p.environ()['RANK']): p for p in launcher.children()}


@two_and_four
@pytest.mark.parametrize('victim', ['first', 'last'])
def test_a_rank_dies(ranks, victim, launch, tmp_path, record_property):
    launcher = launch(ranks)
    wait_for_training(tmp_path / 'output0')
    workers = ranks_of(launcher)
    assert len(workers) == ranks
    others = launcher.children(recursive=True)
    workers[0 if victim == 'first' else ranks - 1].kill()
    seconds = seconds_to_end(launcher, others)
    output = (tmp_path / 'output0').read_text()
    assert 'Signal 9 (SIGKILL) received' in output, output
    record_property(
        f'the {victim} of {ranks} ranks is killed',
        (
            1,
            f'the rest ended in {seconds:.0f} s, with the rank and the signal',
        ),
    )


def test_a_rank_hangs(launch, tmp_path, record_property):
    launcher = launch(2, f'env_cfg.dist_cfg.timeout={TIMEOUT}')
    wait_for_training(tmp_path / 'output0')
    others = launcher.children(recursive=True)
    ranks_of(launcher)[1].suspend()
    seconds = seconds_to_end(launcher, others)
    output = (tmp_path / 'output0').read_text()
    assert re.search('(?i)timed out', output), output
    record_property(
        f'a rank hangs, with a timeout of {TIMEOUT} s',
        (1, f'all ended in {seconds:.0f} s, with the timeout'),
    )


def test_the_launcher_dies(launch, tmp_path, record_property):
    launcher = launch(2)
    wait_for_training(tmp_path / 'output0')
    others = launcher.children(recursive=True)
    launcher.kill()
    seconds = seconds_to_end(launcher, others)
    record_property(
        'the launcher of 2 ranks is killed',
        (1, f'its ranks and their workers ended in {seconds:.0f} s'),
    )


def test_sigterm_saves_within_an_epoch(launch, tmp_path, record_property):
    """The launcher hands the signal to its ranks."""
    options = (
        'train_cfg.max_epochs=3',
        'train_dataloader.batch_size=1',
        'randomness.seed=1',
        'default_hooks.preemption.interval=2',
    )
    assert launch(2, *options, folder='unbroken').wait() == 0
    launcher = launch(2, *options)
    wait_for_training(tmp_path / 'output0')
    others = launcher.children(recursive=True)
    launcher.terminate()
    seconds = seconds_to_end(launcher, others)
    folder = tmp_path / 'run'
    assert 'interrupted.pth' in (folder / 'last_checkpoint').read_text()
    assert launch(2, *options).wait() == 0
    resumed, unbroken = map(last_weights, (folder, tmp_path / 'unbroken'))
    assert same_weights(resumed, unbroken)
    record_property(
        'SIGTERM within an epoch of 2 ranks, resumed',
        (1, f'nothing: saved in {seconds:.0f} s, the same weights'),
    )


@pytest.mark.parametrize('victim', [0, 1])
def test_a_node_dies(victim, launch, tmp_path, record_property):
    nodes = [launch(1, node=node, nodes=2) for node in range(2)]
    wait_for_training(tmp_path / 'output0')
    survivor = 1 - victim
    others = nodes[survivor].children(recursive=True)
    for process in [*nodes[victim].children(recursive=True), nodes[victim]]:
        process.kill()
    nodes[victim].wait()
    seconds = seconds_to_end(nodes[survivor], others)
    output = (tmp_path / f'output{survivor}').read_text()
    assert re.search(r'Connection (closed|reset) by peer', output), output
    record_property(
        f'node {victim} of 2 dies, its launcher too',
        (1, f'the other ended in {seconds:.0f} s, as the connection broke'),
    )


@pytest.fixture(scope='module')
def checkpoint(unbroken) -> Path:
    return unbroken.folder / 'epoch_3.pth'


@pytest.fixture(scope='module')
def figures_of_one_rank(checkpoint, shapes, tmp_path_factory):
    test = command('test.py', SHAPES_CONFIG, checkpoint, *small(shapes))
    done = run(test, tmp_path_factory.mktemp('one'))
    assert done.returncode == 0, done.stderr
    return coco_figures(done)


@two_and_four
def test_each_image_is_gathered_once(
    ranks, checkpoint, figures_of_one_rank, shapes, tmp_path, record_property
):
    arguments = ('--out', 'results.pkl', *small(shapes))
    test = command(
        'dist_test.sh', SHAPES_CONFIG, checkpoint, ranks, *arguments
    )
    done = run(test, tmp_path, PORT=PORT)
    assert done.returncode == 0, done.stderr
    assert coco_figures(done) == figures_of_one_rank
    results = mmengine.load(tmp_path / 'results.pkl')
    ids = [result['img_id'] for result in results]
    images = json.loads(
        (shapes / 'annotations' / 'instances_val2017.json').read_text()
    )['images']
    assert len(images) % ranks  # so that the sampler pads the last batch
    assert sorted(ids) == sorted(image['id'] for image in images)
    record_property(
        f'a test of {len(images)} images on {ranks} ranks',
        (1, 'nothing: each image once, the figures of one rank'),
    )
