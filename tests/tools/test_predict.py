"""tools/predict.py, and the DetInferencer below it, on our configs."""

import json
import sys
from pathlib import Path

import cv2
import mmcv
import numpy as np
import predict
import pytest
import torch
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from PIL import Image
from prediction.coco_results import CocoResults
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from shapes_data.scenes import CLASSES
from support.helpers import CONFIGS, SHAPES_CONFIG, build_model

RETINANET_CONFIG = CONFIGS / 'object_detection' / 'retinanet_r18_fpn_shapes.py'
DETECTIONS = 5  # of every image, whatever they score


def untrained(folder, config):
    """A config that always detects something, and a checkpoint of it."""
    own = folder / f'always_{config.name}'
    own.write_text(
        f'_base_ = {str(config)!r}\n'
        'model = dict(\n'
        '    backbone=dict(base_channels=8),\n'
        '    neck=dict(in_channels=[8, 16, 32, 64]),\n'
        f'    test_cfg=dict(score_thr=0.0, max_per_img={DETECTIONS}),\n'
        ')\n'
    )
    checkpoint = own.with_suffix('.pth')
    torch.save(
        dict(
            state_dict=build_model(own).state_dict(),
            meta=dict(dataset_meta=dict(classes=CLASSES)),
        ),
        checkpoint,
    )
    return own, checkpoint


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp('model'), SHAPES_CONFIG)


@pytest.fixture(scope='module')
def inferencer(model):
    config, checkpoint = map(str, model)
    return DetInferencer(model=config, weights=checkpoint, device='cpu')


def images(shapes):
    return sorted((shapes / 'val2017').glob('*.jpg'))


def call(monkeypatch, *arguments):
    """The sentence that the tool ends in, None after success."""
    argv = ['predict.py', '--device', 'cpu', *map(str, arguments)]
    monkeypatch.setattr(sys, 'argv', argv)
    try:
        predict.main()
    except SystemExit as end:
        return end.code
    return None


def masks_of(prediction):
    return [coco_mask.decode(mask) for mask in prediction['masks']]


def assert_close(found, expected):
    """Two of DetInferencer's predictions, but for rounding."""
    assert found['labels'] == expected['labels']
    for key in ('scores', 'bboxes'):
        np.testing.assert_allclose(found[key], expected[key], atol=1e-3)
    for one, other in zip(masks_of(found), masks_of(expected)):
        assert (one != other).mean() < 1e-3


def kinds_of_files(picture, folder):
    """One picture as every kind of file that photographs come as."""
    folder.mkdir(parents=True)
    turned = picture.getexif()
    turned[0x0112] = 6
    picture.crop((0, 0, 96, 60)).save(folder / 'turned.jpg', exif=turned)
    for mode, suffix in (
        ('L', 'pgm'),
        ('P', 'png'),
        ('RGBA', 'webp'),
        ('CMYK', 'tif'),
        ('RGB', 'jfif'),
    ):
        form = 'JPEG' if suffix == 'jfif' else None
        picture.convert(mode).save(folder / f'{mode}.{suffix}', form)
    grey = np.asarray(picture.convert('L')).astype(np.uint16) * 257
    cv2.imwrite(str(folder / 'deep.png'), grey)


def write_clip(file, pictures):
    height, width = pictures[0].shape[:2]
    code = cv2.VideoWriter.fourcc(*'MJPG')
    writer = cv2.VideoWriter(str(file), code, 5, (width, height))
    for picture in pictures:
        writer.write(picture)
    writer.release()


def frames_of(file):
    video = mmcv.VideoReader(str(file))
    return list(video), video.fps


@pytest.fixture(scope='module')
def run(model, shapes, tmp_path_factory):
    """A run over all that there is, its inputs and results."""
    place = tmp_path_factory.mktemp('run')
    inputs, out = place / 'inputs', place / 'out'
    first, second = images(shapes)[:2]
    kinds_of_files(Image.open(first), inputs / 'kinds')
    for folder in ('a', 'b'):
        (inputs / folder).mkdir()
        (inputs / folder / 'same.jpg').write_bytes(first.read_bytes())
    (inputs / 'b' / 'same.png').write_bytes(second.read_bytes())
    (inputs / 'b' / 'notes.txt').write_text('passed over')
    (inputs / 'b' / 'text.jpg').write_text('no image')
    (inputs / 'b' / 'empty.png').write_text('')
    cv2.imwrite(str(inputs / 'b' / 'thin.png'), np.zeros((1, 9000, 3)))
    write_clip(
        inputs / 'clip.avi', [cv2.imread(str(f)) for f in images(shapes)]
    )
    (inputs / 'broken.mp4').write_text('no video')
    with pytest.MonkeyPatch.context() as patch:
        said = call(
            patch,
            *model,
            inputs / 'a',
            inputs / 'b',
            f'{inputs}/kinds/*.*',
            inputs / 'kinds' / 'RGB.jfif',
            inputs / 'a' / 'same.jpg',
            inputs / 'clip.avi',
            inputs / 'broken.mp4',
            '--batch-size',
            2,
            '--score-thr',
            0,
            '--out-dir',
            out,
            '--contact-sheet',
            place / 'sheet.png',
        )
    return inputs, out, said


PICTURES = {
    'a/same.jpg': 'a/same',
    'b/same.jpg': 'b/same.jpg',
    'b/same.png': 'b/same.png',
    'kinds/CMYK.tif': 'kinds/CMYK',
    'kinds/L.pgm': 'kinds/L',
    'kinds/P.png': 'kinds/P',
    'kinds/RGB.jfif': 'kinds/RGB',
    'kinds/RGBA.webp': 'kinds/RGBA',
    'kinds/deep.png': 'kinds/deep',
    'kinds/turned.jpg': 'kinds/turned',
}
NOT_COLOURED = ('.pgm', '.jfif')


def test_what_cannot_be_read_is_named_at_the_end(run):
    inputs, _, said = run
    bad = ['b/empty.png', 'b/text.jpg', 'b/thin.png', 'broken.mp4']
    assert said == 'predict.py: cannot be read: ' + ', '.join(
        f'{inputs}/{name}' for name in bad
    )


def test_every_picture_is_drawn_under_its_path(run):
    _, out, _ = run
    expected = {
        f'{name}.jpg' if name.endswith(NOT_COLOURED) else name
        for name in PICTURES
    }
    files = [p for p in (out / 'vis').rglob('*') if p.is_file()]
    drawn = {p.relative_to(out / 'vis').as_posix(): p for p in files}
    assert drawn.keys() == expected | {'clip.avi.mp4'}
    for name in expected:
        assert cv2.imread(str(drawn[name])).std() > 10
    sheet = cv2.imread(str(out.parent / 'sheet.png'))
    assert sheet.shape[1] == 4 * 480  # 10 pictures


def test_predictions_are_detinferencers(run, inferencer):
    inputs, out, _ = run
    found = {p for p in (out / 'preds').rglob('*.json')}
    assert {
        str(p.relative_to(out / 'preds').with_suffix(''))
        for p in found
        if p.parent.name != 'clip.avi'
    } == set(PICTURES.values())
    # Alone: of a batch's pictures of other sizes the padding is another.
    for name in ('a/same.jpg', 'kinds/CMYK.tif', 'kinds/deep.png'):
        expected = inferencer(str(inputs / name))['predictions'][0]
        file = out / 'preds' / f'{PICTURES[name]}.json'
        assert len(expected['labels']) == DETECTIONS
        assert_close(json.loads(file.read_text()), expected)


def test_a_video_becomes_a_video_and_a_json_a_frame(run, inferencer):
    inputs, out, _ = run
    frames, _ = frames_of(inputs / 'clip.avi')
    drawn, fps = frames_of(out / 'vis' / 'clip.avi.mp4')
    assert len(drawn) == len(frames) == 5 and fps == 5
    assert drawn[0].shape == frames[0].shape
    assert abs(drawn[0].astype(int) - frames[0]).mean() > 10
    folder = out / 'preds' / 'clip.avi'
    assert len(list(folder.iterdir())) == 5
    for n in (0, 4):
        expected = inferencer(frames[n])['predictions'][0]
        file = folder / f'{n:06d}.json'
        assert_close(json.loads(file.read_text()), expected)


def test_coco_json_has_it_all_once_more(run):
    _, out, _ = run
    coco = COCO(out / 'coco.json')
    assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list(
        CLASSES
    )
    entries = {
        (i['file_name'], i.get('frame_id')): i for i in coco.imgs.values()
    }
    assert len(entries) == len(coco.imgs) == len(PICTURES) + 5
    turned = entries['kinds/turned.jpg', None]
    assert (turned['height'], turned['width']) == (96, 60)
    jsons = {(name, None): f'{stem}.json' for name, stem in PICTURES.items()}
    jsons.update({('clip.avi', n): f'clip.avi/{n:06d}.json' for n in range(5)})
    assert jsons.keys() == entries.keys()
    for key, file in jsons.items():
        expected = json.loads((out / 'preds' / file).read_text())
        found = coco.imgToAnns[entries[key]['id']]
        assert [a['category_id'] - 1 for a in found] == expected['labels']
        assert [a['score'] for a in found] == expected['scores']
        corners = np.array([a['bbox'] for a in found])
        corners[:, 2:] += corners[:, :2]
        np.testing.assert_allclose(corners, expected['bboxes'], atol=1e-4)
        for one, mask in zip(found, masks_of(expected)):
            assert (coco.annToMask(one) == mask).all()
            assert one['area'] == mask.sum()


def renumbered(shapes, folder):
    """The shapes' JSON under other ids."""
    file = shapes / 'annotations' / 'instances_val2017.json'
    coco = json.loads(file.read_text())
    for key, part in (('id', 'images'), ('image_id', 'annotations')):
        for one in coco[part]:
            one[key] *= 100
    for key, part in (('id', 'categories'), ('category_id', 'annotations')):
        for one in coco[part]:
            one[key] = 50 - one[key]
    out = folder / 'renumbered.json'
    out.write_text(json.dumps(coco))
    return out


def test_ids_of_an_annotation_file(monkeypatch, model, shapes, tmp_path):
    ann_file, out = renumbered(shapes, tmp_path), tmp_path / 'out'
    arguments = '--out-dir', out, '--ann-file', ann_file
    assert call(monkeypatch, *model, *images(shapes)[1:3], *arguments) is None
    truth = COCO(ann_file)
    found = truth.loadRes(str(out / 'coco.json'))
    assert {a['image_id'] for a in found.anns.values()} == {200, 300}
    for image in (200, 300):
        name = truth.imgs[image]['file_name'].replace('.jpg', '.json')
        expected = json.loads((out / 'preds' / name).read_text())
        assert [a['category_id'] for a in found.imgToAnns[image]] == [
            49 - label for label in expected['labels']
        ]


def test_a_detector_without_masks(monkeypatch, shapes, tmp_path):
    model = untrained(tmp_path, RETINANET_CONFIG)
    arguments = images(shapes)[0], '--out-dir', tmp_path / 'out'
    assert call(monkeypatch, *model, *arguments) is None
    one, *others = COCO(tmp_path / 'out' / 'coco.json').anns.values()
    assert len(others) == DETECTIONS - 1 and 'segmentation' not in one
    assert one['area'] == pytest.approx(one['bbox'][2] * one['bbox'][3])


def test_wrong_input_gets_one_sentence(monkeypatch, model, shapes, tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'clip.mp4').write_text('')
    ann_file = shapes / 'annotations' / 'instances_val2017.json'
    rle = 'model.mask_head.mask_output.type=RLEMasks'
    for arguments, words in (
        (['nowhere.jpg'], 'nowhere.jpg does not exist'),
        (['nowhere/*.jpg'], 'nowhere/*.jpg does not exist'),
        ([tmp_path / 'empty'], f'{tmp_path / "empty"} has no images'),
        ([tmp_path / 'clip.mp4', '--ann-file', ann_file], 'clip.mp4 is none'),
        ([ann_file, '--ann-file', ann_file], f'has no image {ann_file}'),
        ([ann_file, '--cfg-options', rle], 'RLEMasks cannot be drawn'),
    ):
        out = ['--out-dir', tmp_path / 'out']
        said = call(monkeypatch, *model, *arguments, *out)
        assert said.startswith('predict.py: ')
        assert words in said and '\n' not in said, said


def test_wrong_annotation_files(shapes, tmp_path):
    out, ann_file = tmp_path / 'coco.json', tmp_path / 'ann.json'
    for content in ('', '[]', '{"images": [{}]}'):
        ann_file.write_text(content)
        with pytest.raises(ValueError, match='ann.json is no COCO JSON'):
            CocoResults(out, CLASSES, ann_file)
    ann_file = renumbered(shapes, tmp_path)
    with pytest.raises(ValueError, match='json has no category dog, which'):
        CocoResults(out, [*CLASSES, 'dog'], ann_file)
    results = CocoResults(out, CLASSES, ann_file)
    name = images(shapes)[0].name
    assert results.ids_of([Path('a') / name]) == {Path('a') / name: 100}
    with pytest.raises(ValueError, match='are the same image, 0'):
        results.ids_of([Path('a') / name, Path('b') / name])
    with pytest.raises(ValueError, match='json has no image a/x.jpg'):
        results.ids_of([Path('a/x.jpg')])


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--score-thr', 2], 'argument --score-thr: 2 is no score in 0..1'),
        (['--batch-size', 0], 'argument --batch-size: 0 is no number above 0'),
        (['--device', 'gpu'], 'argument --device: gpu cannot be used here: '),
    ],
)
def test_wrong_options(monkeypatch, model, arguments, words, capsys):
    assert call(monkeypatch, *model, 'x.jpg', *arguments) == 2
    assert words in capsys.readouterr().err


def test_a_video_that_cannot_be_written_is_named(tmp_path):
    frames = iter([np.zeros((96, 96, 3), np.uint8)])
    with pytest.raises(OSError, match='cannot write .*x.nothing'):
        predict.write_video(frames, tmp_path / 'x.nothing', 5)


def test_no_more_than_a_batch_is_loaded(inferencer):
    loaded = 0

    def items():
        nonlocal loaded
        for _ in range(7):
            loaded += 1
            picture = np.zeros((96, 96, 3), np.uint8)
            data = inferencer.pipeline(picture)
            yield predict.Item(None, {}, None, picture, data)

    for done, (_, sample) in enumerate(predict.detect(inferencer, items(), 3)):
        assert isinstance(sample, DetDataSample)
        assert loaded == min(3 * (done // 3 + 1), 7)
    assert done == 6


def test_an_interrupted_run_leaves_a_whole_json(tmp_path):
    prediction = dict(bboxes=[(1, 2, 4, 8)], scores=[0.5], labels=[0])
    image = dict(id=1, file_name='x.jpg', height=9, width=9)
    results = CocoResults(tmp_path / 'coco.json', ['thing'], None)
    with pytest.raises(KeyboardInterrupt), results:
        results.add(image, prediction)
        raise KeyboardInterrupt
    coco = COCO(tmp_path / 'coco.json')
    assert coco.anns[1]['bbox'] == [1, 2, 3, 6]
    assert coco.imgs[1] == image


def test_detinferencer_as_its_documentation_has_it(
    inferencer, shapes, tmp_path
):
    files = [str(file) for file in images(shapes)[:3]]
    saved = inferencer(
        files, batch_size=2, out_dir=str(tmp_path), no_save_pred=False
    )
    arrays = inferencer([cv2.imread(file) for file in files], batch_size=3)
    folder = inferencer(str(shapes / 'val2017'), return_vis=True)
    assert len(folder['visualization']) == len(folder['predictions']) == 5
    for n, file in enumerate(files):
        name = file.rsplit('/', 1)[1]
        assert cv2.imread(str(tmp_path / 'vis' / name)).shape == (96, 96, 3)
        written = tmp_path / 'preds' / name.replace('.jpg', '.json')
        assert json.loads(written.read_text()) == saved['predictions'][n]
        assert_close(arrays['predictions'][n], saved['predictions'][n])
    (sample,) = inferencer(files[0], return_datasamples=True)['predictions']
    assert sample.pred_instances.masks.shape == (DETECTIONS, 96, 96)
