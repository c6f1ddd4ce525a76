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
from soak.conftest import same_weights
from support.helpers import ROOT, SHAPES_CONFIG
from support.rank_step import model_and_data
from tools.test_mmdet_tool import coco_lines, command, environment, run

from projects.sprnet import spr_head

STEP = ROOT / 'tests' / 'support' / 'rank_step.py'
PORT = '29621'

ranks_of = pytest.mark.parametrize('ranks', [2, 4])


@ranks_of
def test_a_step_on_images_of_different_sizes_and_none_with_objects(
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
    found = [torch.load(tmp_path / f'rank{r}.pth') for r in range(ranks)]
    assert all(
        same_weights(rank['weights'], found[0]['weights']) for rank in found
    )
    # In one process: the mask losses of all images over all their pixels.
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
            found[0]['grads'][f'mask_head.{key}'],
            parameter.grad,
            atol=1e-6,
            rtol=1e-4,
        )
    record_property(
        f'a step on {ranks} ranks, each with an image of its own size, one '
        'without objects',
        (1, 'nothing: the mask gradients of all images in one process'),
    )


def training(shapes: Path, ranks: int) -> list:
    """The command of a training that does not end by itself."""
    options = [
        'train_cfg.max_epochs=999',
        'default_hooks.checkpoint.max_keep_ckpts=1',
    ]
    arguments = command('', shapes, '--work-dir', 'run', options=options)[2:]
    tool = ROOT / 'tools' / 'dist_train.sh'
    words = [tool, SHAPES_CONFIG, ranks, *arguments]
    return [str(word) for word in words]


@pytest.fixture
def launch(shapes, tmp_path):
    """Start a training as one node; its output is in output<node>. Whatever
    it leaves is killed in the end."""

    def start(ranks: int, node: int = 0, nodes: int = 1) -> psutil.Popen:
        with open(tmp_path / f'output{node}', 'w') as file:
            return psutil.Popen(
                training(shapes, ranks),
                cwd=tmp_path,
                env=environment(
                    PYTHON=sys.executable,
                    PORT=PORT,
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
    deadline = time.monotonic() + 120
    while not re.search(r'Epoch\(train\) +\[ *2\]', output.read_text()):
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.1)


def seconds_to_end(launcher: psutil.Popen, others: list) -> float:
    """Wait, at most a minute, until a launcher failed and its ranks ended."""
    began = time.monotonic()
    assert launcher.wait(60) != 0
    _, alive = psutil.wait_procs(others, timeout=60)
    assert not alive
    seconds = time.monotonic() - began
    assert seconds < 60
    return seconds


@ranks_of
@pytest.mark.parametrize('victim', ['first', 'last'])
def test_a_rank_dies(ranks, victim, launch, tmp_path, record_property):
    launcher = launch(ranks)
    wait_for_training(tmp_path / 'output0')
    workers = {
        int(process.environ()['RANK']): process
        for process in launcher.children()
    }
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


@pytest.mark.parametrize('victim', [0, 1])
def test_a_node_dies(victim, launch, tmp_path, record_property):
    nodes = [launch(1, node, nodes=2) for node in range(2)]
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
def one_rank(unbroken, shapes, tmp_path_factory):
    """The line of figures of one rank's test."""
    folder = tmp_path_factory.mktemp('one')
    done = run(
        command('test.py', shapes, SHAPES_CONFIG, checkpoint(unbroken)), folder
    )
    assert done.returncode == 0, done.stderr
    return figures(done)


def checkpoint(unbroken) -> Path:
    return unbroken.folder / 'epoch_3.pth'


def figures(done) -> str:
    (line,) = coco_lines(done)
    return line.split(']', 1)[1]


@ranks_of
def test_each_image_is_gathered_once(
    ranks, unbroken, one_rank, shapes, tmp_path, record_property
):
    arguments = command('', shapes, '--out', 'found.pkl')[2:]
    done = run(
        [
            ROOT / 'tools' / 'dist_test.sh',
            *(SHAPES_CONFIG, checkpoint(unbroken), ranks, *arguments),
        ],
        tmp_path,
        PYTHON=sys.executable,
        PORT=PORT,
    )
    assert done.returncode == 0, done.stderr
    assert figures(done) == one_rank
    ids = [image['img_id'] for image in mmengine.load(tmp_path / 'found.pkl')]
    images = json.loads(
        (shapes / 'annotations' / 'instances_val2017.json').read_text()
    )['images']
    assert len(images) % ranks
    assert sorted(ids) == sorted(image['id'] for image in images)
    record_property(
        f'a test of {len(images)} images on {ranks} ranks',
        (1, 'nothing: each image once, the figures of one rank'),
    )
