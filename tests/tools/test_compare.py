"""tools/compare.py: its recall, its pictures; ground truth of data sets."""

from common.configs import load_config
from common.images import ground_truth
from common.pictures import draw_objects, make_visualizer

import compare
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from shapes_data.scenes import CLASSES
from support.helpers import CONFIGS, SHAPES_CONFIG, build_model
from support.in_process import (
    ANY_CHECKPOINT,
    complaint,
    is_picture,
    run_command,
    save_checkpoint,
)

from projects.sprnet.runtime import FolderVisualizer

FPN_CONFIG = CONFIGS / 'sprnet_r18_fpn_shapes.py'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Weights that also load into models without gates or a mask head."""
    folder = tmp_path_factory.mktemp('checkpoint')
    return save_checkpoint(build_model(), folder / 'untrained.pth')


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

    truth, detected = objects(12), objects(15)
    hits = compare.recalled(truth, detected)
    expected = [
        any(
            label == other
            and (mask & cover).sum() / (mask | cover).sum() >= 0.5
            for other, cover in zip(detected.labels, detected.masks)
        )
        for label, mask in zip(truth.labels, truth.masks)
    ]
    assert hits.tolist() == expected
    assert 0 < hits.sum() < 12
    assert compare.recalled(truth, detected[:0]).tolist() == [False] * 12
    assert compare.recalled(truth[:0], detected).shape == (0,)


def test_ground_truth_has_the_annotations_but_no_crowds(shapes):
    name = 'annotations/instances_train2017.json'
    config = load_config(SHAPES_CONFIG, dict(data_root=str(shapes)))
    config.val_dataloader.dataset.ann_file = name
    dataset = DATASETS.build(config.val_dataloader.dataset)
    coco = COCO(shapes / name)
    count = 0
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        truth = ground_truth(info, (96, 96))
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


def test_an_image_without_objects_is_drawn_enlarged():
    image = np.random.default_rng(0).integers(0, 255, (96, 120, 3), np.uint8)
    truth = ground_truth(dict(instances=[], height=96, width=120), (96, 120))
    visualizer = make_visualizer(Config(), dict(classes=CLASSES))
    picture = draw_objects(visualizer, image, truth, 400)
    assert picture.shape == (320, 400, 3) and picture.std() > 10
    assert '0 of 0 (recall -)' in compare.title('a', truth, np.zeros(0, bool))


def test_options_of_the_visualizer_reach_every_picture():
    options = dict(labels='never', alpha=0.1)
    config = load_config(
        SHAPES_CONFIG, {f'visualizer.{k}': v for k, v in options.items()}
    )
    meta = dict(classes=CLASSES)
    visualizer = make_visualizer(config, meta)
    assert isinstance(visualizer, FolderVisualizer)
    assert (visualizer.labels, visualizer.alpha) == ('never', 0.1)
    other = make_visualizer(load_config(SHAPES_CONFIG, {}), meta)
    assert (other.labels, other.dataset_meta) == ('auto', meta)


def test_draws_every_image_and_prints_recalls(
    checkpoint, shapes, tmp_path, capsys
):
    run_command(
        compare,
        *(SHAPES_CONFIG, checkpoint, FPN_CONFIG, checkpoint),
        *('--image-ids', 3, 1, '--score-thr', 0, '--out-dir', tmp_path),
        *('--cfg-options', f'data_root={shapes}'),
        *('model.test_cfg.score_thr=0.0', 'model.test_cfg.max_per_img=5'),
        ANY_CHECKPOINT,
    )
    assert {f.name for f in tmp_path.glob('*.png')} == {'1.png', '3.png'}
    assert all(is_picture(file) for file in tmp_path.glob('*.png'))
    coco = COCO(shapes / 'annotations' / 'instances_val2017.json')
    objects = len(coco.getAnnIds(imgIds=[1, 3], iscrowd=False))
    out = capsys.readouterr().out
    for config in (SHAPES_CONFIG, FPN_CONFIG):
        assert f'{config.stem}: 0 of {objects} (recall 0.000)' in out


def test_wrong_input_ends_in_one_sentence(checkpoint, shapes, tmp_path):
    coco = CONFIGS / 'sprnet_r50_gfpn_1x_coco.py'
    retinanet = CONFIGS / 'object_detection' / 'retinanet_r18_fpn_shapes.py'
    for config_a, config_b, options, words in (
        (SHAPES_CONFIG, FPN_CONFIG, ['--image-ids', 99], 'no image 99'),
        (SHAPES_CONFIG, coco, [], 'classes of'),
        (retinanet, FPN_CONFIG, [], 'RetinaNet predicts no masks'),
    ):
        options += ['--out-dir', tmp_path, '--cfg-options']
        options += [f'data_root={shapes}', ANY_CHECKPOINT]
        models = config_a, checkpoint, config_b, checkpoint
        assert words in complaint(compare, *models, *options)
