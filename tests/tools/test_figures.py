"""The figure commands: their numbers, their pictures, their complaints."""

import sys
from pathlib import Path

import compare
import cv2
import gate_maps
import gradient_flow
import numpy as np
import positive_pixels
import pytest
import torch
import torch.nn.functional as F
from common import gates
from common.configs import load_model
from mmdet.registry import DATASETS
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from shapes_data.scenes import CLASSES
from support.helpers import CONFIGS, SHAPES_CONFIG, build_model, sample

from projects.sprnet.pixels import best_pixels
from projects.sprnet.pixels import positive_pixels as positives_of

SIZES = [(16, 20), (8, 10), (4, 5), (2, 3), (1, 2)]  # of 128 x 160 pixels
RETINANET_CONFIG = CONFIGS / 'object_detection' / 'retinanet_r18_fpn_shapes.py'


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    """Untrained SPRNets with GFPN and FPN, and a RetinaNet."""
    folder = tmp_path_factory.mktemp('checkpoints')
    models = dict(
        gfpn=build_model(),
        fpn=build_model(CONFIGS / 'sprnet_r18_fpn_shapes.py'),
        retinanet=build_model(RETINANET_CONFIG),
    )
    files = {}
    for name, model in models.items():
        files[name] = folder / f'{name}.pth'
        torch.save(
            dict(
                state_dict=model.state_dict(),
                meta=dict(dataset_meta=dict(classes=CLASSES)),
            ),
            files[name],
        )
    return files


def images(shapes):
    return sorted((shapes / 'val2017').glob('*.jpg'))


def call(monkeypatch, tool, *arguments):
    """Run a tool's main() with these arguments."""
    argv = [tool.__file__, *map(str, arguments)]
    monkeypatch.setattr(sys, 'argv', argv)
    tool.main()


def is_picture(file: Path, least: int = 300) -> bool:
    """At least ``least`` pixels a side, and not of one colour."""
    picture = cv2.imread(str(file))
    return min(picture.shape[:2]) >= least and picture.std() > 10


def test_gate_maps_are_the_gates_scores(checkpoints, shapes):
    model = load_model(
        Config.fromfile(SHAPES_CONFIG), checkpoints['gfpn'], 'cpu'
    )
    kept = []
    handle = model.backbone.register_forward_hook(
        lambda _, __, maps: kept.append(maps)
    )
    finer, coarser = gates.score_maps(model, images(shapes)[0])
    handle.remove()
    assert (finer.level, coarser.level) == (3, 4)
    # Resized to 192 pixels, so 96 pixels of the image are the whole map.
    assert finer.extent == coarser.extent == (96, 96)

    neck = model.neck
    with torch.no_grad():
        x3, x4, x5 = (
            conv(x) for conv, x in zip(neck.lateral_convs, kept[0][1:])
        )
        p3_gate, p4_gate = (gate.sep for gate in neck.gates)
        x5 = F.interpolate(x5, size=x4.shape[2:])
        merged = x4 * p4_gate(x4).sigmoid() + x5 * p4_gate(x5).sigmoid()
        merged = F.interpolate(merged, size=x3.shape[2:])
        for found, score in (
            (finer.own, p3_gate(x3)),
            (finer.above, p3_gate(merged)),
            (coarser.own, p4_gate(x4)),
            (coarser.above, p4_gate(x5)),
        ):
            expected = score.sigmoid()[0].mean(0).numpy()
            np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    'gate,limits',
    [
        ('sigmoid', (0, 1)),
        ('tanh', (-1, 1)),
        ('relu_tanh', (0, 1)),
        ('square', (0, None)),
    ],
)
def test_colour_bar_of_a_gate(gate, limits):
    model = build_model(**{'neck.gate': gate})
    assert gates.find_gates(model)[0].limits == limits


def head_and_sample(**options):
    head = build_model(
        **{f'mask_head.sampler.{k}': v for k, v in options.items()}
    ).mask_head
    # Of a padded image, so that some anchors are invalid.
    image = sample(
        [(10, 20, 60, 90), (80, 70, 127, 127), (3, 3, 9, 9)], [0] * 3
    )
    image.set_metainfo(
        dict(
            img_shape=(120, 128),
            pad_shape=(120, 128),
            batch_input_shape=(128, 160),
        )
    )
    anchors = torch.cat(head.anchor_generator.grid_priors(SIZES, device='cpu'))
    return head, image, anchors.view(-1, 9, 4)


def test_positive_pixels_are_those_that_train():
    head, image, anchors = head_and_sample()
    found, others = positive_pixels.positives_and_negatives(head, image)
    feats = [torch.zeros(1, 1, *size) for size in SIZES]
    trained = head.positives(image.gt_instances, image.metainfo, feats)
    assert found.indices.tolist() == trained.pixels.tolist()
    pixels, objects = positives_of(anchors, image.gt_instances.bboxes, 0.7)
    assert found.indices.tolist() == pixels.tolist()
    assert found.objects.tolist() == objects.tolist()
    assert set(objects.tolist()) == {0, 1}

    assert (found.overlaps > 0.7).all() and (others.overlaps <= 0.7).all()
    assert not set(found.indices) & set(others.indices)
    starts = np.cumsum([0, 320, 80, 20, 6])
    for pixel, level, anchor in zip(
        found.indices, found.levels, found.anchors
    ):
        assert level == np.searchsorted(starts, pixel, side='right') - 1
        assert anchor.tolist() in anchors[pixel].tolist()
    centres = (others.anchors[:, :2] + others.anchors[:, 2:]) / 2
    assert (centres <= (128, 120)).all()


def test_an_objects_only_pixel_is_shown_as_its_own():
    head, image, anchors = head_and_sample(type='EveryObjectPixelSampler')
    found, _ = positive_pixels.positives_and_negatives(head, image)
    assert found.objects[-1] == 2
    (pixel,), _ = best_pixels(anchors, image.gt_instances.bboxes[2:])
    assert found.indices[-1] == pixel
    assert found.overlaps[-1] < 0.7


def test_best_pixel_of_each_object():
    head, image, _ = head_and_sample(threshold=0.3)
    found, _ = positive_pixels.positives_and_negatives(head, image)
    best = positive_pixels.best_of_each(found)
    assert best.objects.tolist() == sorted(set(found.objects))
    for one, overlap in zip(best.objects, best.overlaps):
        assert overlap == found.overlaps[found.objects == one].max()


def test_shown_negatives_hardly_overlap_and_lie_inside():
    head, image, _ = head_and_sample()
    found, others = positive_pixels.positives_and_negatives(head, image)
    levels = np.unique(found.levels)
    shown = positive_pixels.some_negatives(others, levels, (120, 128), 5)
    assert len(set(shown.indices)) == 5
    assert set(shown.levels) <= set(levels)
    assert (shown.overlaps < 0.4).all()
    assert (shown.anchors >= 0).all()
    assert (shown.anchors[:, 2:] <= (128, 120)).all()


def test_positive_pixels_of_an_image_without_objects(tmp_path):
    head, image, _ = head_and_sample()
    image.gt_instances = image.gt_instances[:0]
    found, others = positive_pixels.positives_and_negatives(head, image)
    assert len(found.indices) == 0
    shown = positive_pixels.some_negatives(others, [], (120, 128), 5)
    assert len(shown.indices) == 5
    positive_pixels.draw(
        np.zeros((120, 128, 3), np.uint8),
        np.zeros((0, 4), np.float32),
        found,
        shown,
        head.anchor_generator.strides,
        'nothing',
        tmp_path / 'nothing.png',
    )
    assert is_picture(tmp_path / 'nothing.png', 900)


def test_recalled_against_loops():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:20, :20]

    def objects(count):
        masks = [
            (abs(y - cy) <= r) & (abs(x - cx) <= r)
            for cy, cx, r in rng.integers((5, 5, 2), (15, 15, 6), (count, 3))
        ]
        return InstanceData(
            labels=torch.from_numpy(rng.integers(0, 2, count)),
            masks=torch.from_numpy(np.array(masks)),
        )

    truth, found = objects(12), objects(15)
    hits = compare.recalled(truth, found)
    expected = [
        any(
            label == other
            and (mask & cover).sum() / (mask | cover).sum() >= 0.5
            for other, cover in zip(found.labels, found.masks)
        )
        for label, mask in zip(truth.labels, truth.masks)
    ]
    assert hits.tolist() == expected
    assert 0 < hits.sum() < 12
    assert compare.recalled(truth, found[:0]).tolist() == [False] * 12
    assert compare.recalled(truth[:0], found).shape == (0,)


def test_ground_truth_has_the_annotations_but_no_crowds(shapes):
    dataset = Config.fromfile(SHAPES_CONFIG).val_dataloader.dataset
    dataset.data_root = str(shapes)
    dataset.ann_file = 'annotations/instances_train2017.json'
    dataset = DATASETS.build(dataset)
    coco = COCO(shapes / 'annotations' / 'instances_train2017.json')
    count = 0
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        truth = compare.ground_truth(info, (96, 96))
        annotations = [
            a for a in coco.imgToAnns[info['img_id']] if not a['iscrowd']
        ]
        assert truth.labels.tolist() == [
            a['category_id'] - 1 for a in annotations
        ]
        for mask, box, a in zip(truth.masks, truth.bboxes, annotations):
            assert (mask.numpy() == coco.annToMask(a)).all()
            left, top, width, height = a['bbox']
            corners = left, top, left + width, top + height
            assert box.tolist() == pytest.approx(corners)
        count += len(annotations)
    assert count > 0


def test_an_image_without_objects_is_drawn_as_it_is():
    image = np.random.default_rng(0).integers(0, 255, (96, 120, 3), np.uint8)
    info = dict(instances=[], height=96, width=120)
    truth = compare.ground_truth(info, (96, 120))
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = dict(classes=CLASSES)
    picture = compare.drawn(visualizer, image, truth)
    assert picture.shape == (320, 400, 3) and picture.std() > 10
    assert '0 of 0 (recall -)' in compare.title('a', truth, np.zeros(0, bool))


def test_gate_maps_draws(monkeypatch, checkpoints, shapes, tmp_path):
    call(
        monkeypatch,
        gate_maps,
        SHAPES_CONFIG,
        checkpoints['gfpn'],
        *images(shapes)[:2],
        '--out-dir',
        tmp_path,
    )
    for image in images(shapes)[:2]:
        assert is_picture(tmp_path / f'{image.stem}.png')


def test_positive_pixels_draws(monkeypatch, shapes, tmp_path, capsys):
    call(
        monkeypatch,
        positive_pixels,
        SHAPES_CONFIG,
        '--out-dir',
        tmp_path,
        '--number',
        2,
        '--cfg-options',
        f'data_root={shapes}',
        'model.mask_head.sampler.threshold=0.5',
    )
    assert len(list(tmp_path.iterdir())) == 2
    assert all(is_picture(file, 900) for file in tmp_path.iterdir())
    assert '2 pictures drawn' in capsys.readouterr().out


def test_compare_draws_and_sums_up(
    monkeypatch, checkpoints, shapes, tmp_path, capsys
):
    call(
        monkeypatch,
        compare,
        SHAPES_CONFIG,
        checkpoints['gfpn'],
        CONFIGS / 'sprnet_r18_fpn_shapes.py',
        checkpoints['fpn'],
        '--image-ids',
        3,
        1,
        '--score-thr',
        0,
        '--out-dir',
        tmp_path,
        '--cfg-options',
        f'data_root={shapes}',
        'model.test_cfg.score_thr=0.0',
        'model.test_cfg.max_per_img=5',
    )
    assert {f.name for f in tmp_path.iterdir()} == {'1.png', '3.png'}
    assert all(is_picture(file) for file in tmp_path.iterdir())
    coco = COCO(shapes / 'annotations' / 'instances_val2017.json')
    objects = len(coco.getAnnIds(imgIds=[1, 3], iscrowd=False))
    out = capsys.readouterr().out
    for name in ('sprnet_r18_gfpn_shapes', 'sprnet_r18_fpn_shapes'):
        assert f'{name}: 0 of {objects} (recall 0.000)' in out


def test_gradient_flow_draws_configs_side_by_side(
    monkeypatch, shapes, tmp_path
):
    configs = [RETINANET_CONFIG, CONFIGS / 'sprnet_r18_gfpn_shapes.py']
    call(
        monkeypatch,
        gradient_flow,
        *configs,
        '--iters',
        2,
        '--interval',
        1,
        '--out-dir',
        tmp_path,
        '--cfg-options',
        f'data_root={shapes}',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'train_dataloader.batch_size=2',
        'model.backbone.base_channels=8',
        'model.neck.in_channels=[8,16,32,64]',
    )
    assert is_picture(tmp_path / 'gradient_flow.png', 600)
    for config in configs:
        assert is_picture(tmp_path / config.stem / 'gradient_flow.png', 600)
        (log,) = (tmp_path / config.stem).glob('*/*.log')
        assert log.read_text().count('gradient/P4-C5: ') == 2
        assert not list((tmp_path / config.stem).glob('*.pth'))


def test_wrong_input_gets_one_sentence(
    monkeypatch, checkpoints, shapes, tmp_path, capsys
):
    gfpn, fpn = checkpoints['gfpn'], checkpoints['fpn']
    image = images(shapes)[0]
    empty = tmp_path / 'empty'
    empty.mkdir()
    other = tmp_path / image.name
    other.write_bytes(image.read_bytes())
    data = ['--cfg-options', f'data_root={shapes}']
    fpn_config = CONFIGS / 'sprnet_r18_fpn_shapes.py'
    coco_config = CONFIGS / 'sprnet_r50_gfpn_1x_coco.py'
    pair = [SHAPES_CONFIG, gfpn, fpn_config, fpn]
    for tool, arguments, words in (
        (gate_maps, [fpn_config, fpn, image], 'FPN has no gates'),
        (gate_maps, ['no.py', gfpn, image], 'no.py does not exist'),
        (gate_maps, [image, gfpn, image], 'Only py/yml/yaml/json'),
        (gate_maps, [SHAPES_CONFIG, image, image], 'checkpoint was refused'),
        (gate_maps, [SHAPES_CONFIG, gfpn, empty], f'{empty} has no images'),
        (gate_maps, [SHAPES_CONFIG, gfpn, image, other], 'the same name'),
        (positive_pixels, [RETINANET_CONFIG, *data], 'type SPRHead'),
        (
            positive_pixels,
            [SHAPES_CONFIG, '--image-ids', 1, 99, *data],
            'no image 99 in',
        ),
        (positive_pixels, [SHAPES_CONFIG, '--number', 0], 'no number above 0'),
        (
            positive_pixels,
            [SHAPES_CONFIG, '--cfg-options', 'data_root=nowhere'],
            'nowhere/annotations/instances_train2017.json',
        ),
        (compare, [*pair, '--image-ids', 99, *data], 'no image 99 in'),
        (compare, [*pair[:2], coco_config, fpn, *data], 'classes of'),
        (
            compare,
            [RETINANET_CONFIG, checkpoints['retinanet'], *pair[2:], *data],
            'RetinaNet predicts no masks',
        ),
        (
            gradient_flow,
            [SHAPES_CONFIG, '--iters', 2, '--interval', 3],
            '--interval 3 is more than --iters 2',
        ),
        (gradient_flow, [SHAPES_CONFIG] * 2, 'two configs of the same name'),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            call(monkeypatch, tool, *arguments, '--out-dir', tmp_path / 'out')
        said = end.value.code
        if said == 2:  # argparse's
            said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith(Path(tool.__file__).name + ': ')
        assert words in said and '\n' not in said, said
