import json

import pytest
import torch
from mmdet.registry import METRICS
from mmdet.structures.mask import encode_mask_results
from support.helpers import BOX_CONFIG, SHAPES_CONFIG, build_model, sample

SIZE = (96, 128)
ORIGINAL = (75, 90)


def write_truth(file, instances, classes):
    """Write some detections of an image as its annotations."""
    rles = encode_mask_results(instances.masks.numpy())
    truth = dict(
        images=[dict(id=1, height=ORIGINAL[0], width=ORIGINAL[1])],
        categories=[dict(id=i, name=str(i)) for i in range(classes)],
        annotations=[
            dict(
                id=i,
                image_id=1,
                category_id=label,
                iscrowd=0,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=area,
                segmentation=dict(rle, counts=rle['counts'].decode()),
            )
            for i, (label, (x1, y1, x2, y2), rle, area) in enumerate(
                zip(
                    instances.labels.tolist(),
                    instances.bboxes.tolist(),
                    rles,
                    instances.masks.sum((1, 2)).tolist(),
                ),
                start=1,
            )
        ],
    )
    file.write_text(json.dumps(truth))


def evaluate(file, result, classes):
    metric = METRICS.build(
        dict(
            type='CocoAPARMetric', ann_file=str(file), metric=['bbox', 'segm']
        )
    )
    metric.dataset_meta = dict(classes=[str(i) for i in range(classes)])
    metric.process({}, [result.to_dict()])
    return metric.evaluate(1)


@pytest.mark.parametrize(
    'config',
    [SHAPES_CONFIG, BOX_CONFIG],
    ids=['MultiScaleFusion', 'BoxGrid'],
)
def test_rle_is_the_dense_masks_and_has_their_scores(tmp_path, config):
    dense = build_model(config).eval()
    options = {'mask_head.mask_output.type': 'RLEMasks'}
    rle = build_model(config, **options).eval()
    torch.nn.init.normal_(dense.mask_head.decoder.classifier.weight)
    torch.nn.init.normal_(dense.bbox_head.retina_cls.weight, std=0.3)
    rle.load_state_dict(dense.state_dict())
    images = torch.randn(1, 3, *SIZE)
    results = []
    for model in (dense, rle):
        model.bbox_head.test_cfg.score_thr = 0.0
        image = sample([], [], SIZE)
        scale = (SIZE[1] / ORIGINAL[1], SIZE[0] / ORIGINAL[0])
        image.set_metainfo(dict(ori_shape=ORIGINAL, scale_factor=scale))
        with torch.no_grad():
            results += model.predict(images, [image])

    tensors, runs = (r.pred_instances for r in results)
    assert tensors.masks.shape == (100, *ORIGINAL)
    assert tensors.masks.dtype == torch.bool
    assert runs.masks == encode_mask_results(tensors.masks.numpy())
    for field in set(tensors.keys()) - {'masks'}:
        assert torch.equal(tensors[field], runs[field]), field

    classes = dense.bbox_head.num_classes
    visible = tensors[tensors.masks.flatten(1).any(1)]
    write_truth(tmp_path / 'truth.json', visible[::5], classes)
    expected = evaluate(tmp_path / 'truth.json', results[0], classes)
    assert evaluate(tmp_path / 'truth.json', results[1], classes) == expected
    assert 0 < expected['coco/segm_mAP'] < 1
