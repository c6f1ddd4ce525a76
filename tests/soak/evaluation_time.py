"""What an evaluation of COCO's size costs, beside MMDetection's.

    python tests/soak/evaluation_time.py [--images N] [--classes K] ...

Images of 427x640 with seven objects each are detected at random. Stock
CocoMetric encodes dense masks and compares with pycocotools. SPRNet predicts
run lengths and compares with faster-coco-eval. Each side has a process of its
own, one thread, and the same detections; times are CPU times. The time in
which dense masks are pasted is not counted for stock CocoMetric, although run
lengths need none.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ['OMP_NUM_THREADS'] = '1'
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from mmdet.evaluation import CocoMetric  # noqa: E402

from projects.sprnet.pasting import DenseMasks  # noqa: E402
from projects.sprnet.rle import RLEMasks  # noqa: E402
from projects.sprnet.runtime import CocoAPARMetric  # noqa: E402

HEIGHT, WIDTH = 427, 640
OBJECTS = 7  # of an image, about as many as COCO's
# Figures in the order of COCOeval's stats
OURS = ['mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l']
OURS += ['AR_1', 'AR_10', 'AR_100', 'AR_s', 'AR_m', 'AR_l']
STOCK = ['mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l']
STOCK += ['AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000']


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 4) within an image, from 10 to 300 pixels long."""
    sides = np.exp(rng.uniform(np.log(10), np.log(300), (count, 2)))
    corners = rng.uniform(0, 1, (count, 2)) * ([WIDTH, HEIGHT] - sides)
    return np.concatenate([corners, corners + sides], axis=1)


def shapes() -> torch.Tensor:
    """Blobs of many forms, (500, 32, 32) probabilities."""
    torch.manual_seed(0)
    logits = F.interpolate(torch.randn(500, 1, 6, 6), 32, mode='bicubic')
    y, x = torch.meshgrid(*2 * [torch.linspace(-1, 1, 32)], indexing='ij')
    return (2 * logits[:, 0] + 4 * (0.8 - x**2 - y**2)).sigmoid()


def write_truth(file: Path, images: int, classes: int) -> np.ndarray:
    """Write annotations; return the objects' boxes (images, OBJECTS, 4)."""
    rng, blobs = np.random.default_rng(0), shapes()
    names = [dict(id=n, name=f'class {n}') for n in range(1, classes + 1)]
    annotations, boxes = [], []
    encode = RLEMasks()
    for image in range(images):
        of_image = random_boxes(rng, OBJECTS)
        boxes.append(of_image)
        cells = blobs[rng.integers(len(blobs), size=OBJECTS)]
        size = [(HEIGHT, WIDTH)]
        (masks,) = encode(cells, [torch.from_numpy(of_image)], size, 0.5)
        for (x1, y1, x2, y2), mask in zip(of_image.tolist(), masks):
            counts = mask['counts'].decode()
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image,
                    category_id=int(rng.integers(1, classes + 1)),
                    iscrowd=int(rng.random() < 0.01),
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    segmentation=dict(size=mask['size'], counts=counts),
                )
            )
    pictures = [
        dict(id=n, height=HEIGHT, width=WIDTH, file_name=f'{n}.jpg')
        for n in range(images)
    ]
    file.write_text(
        json.dumps(
            dict(images=pictures, categories=names, annotations=annotations)
        )
    )
    return np.array(boxes)


def predict(file: Path, args: argparse.Namespace, output: object):
    """Yield the detections of each image, with the masks of ``output``, and
    the CPU time of the masks."""
    rng, blobs = np.random.default_rng(1), shapes()
    truth = json.loads(file.read_text())['annotations']
    for image in range(args.images):
        objects = truth[OBJECTS * image : OBJECTS * (image + 1)]
        near = np.array([one['bbox'] for one in objects])
        near[:, 2:] += near[:, :2]
        near = np.repeat(near, 3, axis=0) + rng.normal(0, 4, (3 * OBJECTS, 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 2)
        labels = np.repeat([one['category_id'] - 1 for one in objects], 3)
        others = args.detections - len(near)
        boxes = np.concatenate([near, random_boxes(rng, others)])
        labels = np.append(labels, rng.integers(args.classes, size=others))
        boxes = torch.tensor(boxes, dtype=torch.float32)
        cells = blobs[rng.integers(len(blobs), size=len(boxes))]
        start = time.process_time()
        (masks,) = output(cells, [boxes], [(HEIGHT, WIDTH)], 0.5)
        seconds = time.process_time() - start
        yield (
            dict(
                img_id=image,
                ori_shape=(HEIGHT, WIDTH),
                pred_instances=dict(
                    bboxes=boxes,
                    scores=torch.tensor(rng.random(len(boxes))).float(),
                    labels=torch.tensor(labels),
                    masks=masks,
                ),
            ),
            seconds,
        )


def run_side(file: Path, args: argparse.Namespace) -> dict:
    """Evaluate by one side; return its times, figures and memory."""
    ours = args.side == 'ours'
    options = dict(ann_file=str(file), metric=['bbox', 'segm'])
    if ours:
        metric, output = CocoAPARMetric(**options), RLEMasks()
    else:
        items = STOCK
        metric = CocoMetric(
            proposal_nums=(1, 10, 100), metric_items=items, **options
        )
        output = DenseMasks()
    names = [f'class {n}' for n in range(1, args.classes + 1)]
    metric.dataset_meta = dict(classes=names)
    encoding = 0.0
    for sample, seconds in predict(file, args, output):
        start = time.process_time()
        metric.process({}, [sample])
        encoding += time.process_time() - start + ours * seconds
    start = time.process_time()
    figures = metric.evaluate(args.images)
    comparing = time.process_time() - start
    status = Path('/proc/self/status').read_text()
    peak = int(status.split('VmHWM:')[1].split()[0]) / 2**20
    kinds = [
        [figures[f'coco/{kind}_{n}'] for n in (OURS if ours else STOCK)]
        for kind in ('bbox', 'segm')
    ]
    return dict(
        run_lengths_s=round(encoding, 1),
        comparison_s=round(comparing, 1),
        peak_gib=round(peak, 2),
        figures=kinds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--images', type=int, default=5000)
    parser.add_argument('--classes', type=int, default=80)
    parser.add_argument('--detections', type=int, default=100)
    parser.add_argument('--side', choices=['ours', 'stock'])
    parser.add_argument('--truth', type=Path, help='of one side')
    args = parser.parse_args()
    if args.side:
        print(json.dumps(run_side(args.truth, args)))
        return
    with TemporaryDirectory() as folder:
        file = Path(folder, 'truth.json')
        write_truth(file, args.images, args.classes)
        sides = {}
        for side in ('ours', 'stock'):
            command = [sys.executable, __file__, *sys.argv[1:]]
            command += ['--side', side, '--truth', str(file)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            sides[side] = json.loads(done.stdout.splitlines()[-1])
            print(side, {k: v for k, v in sides[side].items()}, flush=True)
    ours, stock = (
        side['run_lengths_s'] + side['comparison_s'] for side in sides.values()
    )
    print(f'ratio of the times: {ours / stock:.3f}')
    equal = sides['ours']['figures'] == sides['stock']['figures']
    print('all figures are equal' if equal else 'figures differ')
    sys.exit(not equal)


if __name__ == '__main__':
    main()
