"""tools/predict.py, and the DetInferencer that it uses, on our configs."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

from common.configs import load_config, load_model

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
from prediction.inputs import Item
from prediction.pictures import write_video
from prediction.polygons import polygons_of
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from shapes_data.scenes import CLASSES
from support.helpers import CONFIGS, SHAPES_CONFIG, build_model
from support.in_process import (
    complaint,
    run_command,
    save_checkpoint,
    val_images,
)
from support.loaders import ChannelFiles, LoadNumpy  # noqa: F401

RETINANET_CONFIG = CONFIGS / 'object_detection' / 'retinanet_r18_fpn_shapes.py'
DETECTIONS = 5  # of every image, whatever they score


def untrained(folder, config):
    """A small config that always detects something, and its checkpoint."""
    small = folder / f'always_{config.name}'
    small.write_text(
        f'_base_ = {str(config)!r}\n'
        'model = dict(\n'
        '    backbone=dict(base_channels=8),\n'
        '    neck=dict(in_channels=[8, 16, 32, 64]),\n'
        f'    test_cfg=dict(score_thr=0.0, max_per_img={DETECTIONS}),\n'
        ')\n'
    )
    return small, save_checkpoint(
        build_model(small), small.with_suffix('.pth')
    )


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp('model'), SHAPES_CONFIG)


@pytest.fixture(scope='module')
def inferencer(model):
    config, checkpoint = map(str, model)
    return DetInferencer(model=config, weights=checkpoint, device='cpu')


def masks_of(prediction):
    return [coco_mask.decode(mask) for mask in prediction['masks']]


def assert_close(prediction, expected):
    """Two of DetInferencer's predictions are equal but for rounding."""
    assert prediction['labels'] == expected['labels']
    for key in ('scores', 'bboxes'):
        np.testing.assert_allclose(prediction[key], expected[key], atol=1e-3)
    for mask, expected_mask in zip(masks_of(prediction), masks_of(expected)):
        assert (mask != expected_mask).mean() < 1e-3


def kinds_of_files(picture, folder):
    """Write a picture in every file format that photographs have."""
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
    """A run over all kinds of input: its folders and its last sentence."""
    folder = tmp_path_factory.mktemp('run')
    inputs, out = folder / 'inputs', folder / 'out'
    first, second = val_images(shapes)[:2]
    kinds_of_files(Image.open(first), inputs / 'kinds')
    for name in ('a', 'b'):
        (inputs / name).mkdir()
        (inputs / name / 'same.jpg').write_bytes(first.read_bytes())
    (inputs / 'b' / 'same.png').write_bytes(second.read_bytes())
    (inputs / 'b' / 'notes.txt').write_text('ignored')
    (inputs / 'b' / 'text.jpg').write_text('no image')
    (inputs / 'b' / 'empty.png').write_text('')
    cv2.imwrite(str(inputs / 'b' / 'thin.png'), np.zeros((1, 9000, 3)))
    write_clip(
        inputs / 'clip.avi', [cv2.imread(str(f)) for f in val_images(shapes)]
    )
    (inputs / 'broken.mp4').write_text('no video')
    (inputs / 'b' / 'half.jpg').write_bytes(first.read_bytes()[:-900])
    sentence = complaint(
        predict,
        *(*model, '--device', 'cpu'),
        *(inputs / 'a', inputs / 'b', f'{inputs}/kinds/*.*'),
        *(inputs / 'kinds' / 'RGB.jfif', inputs / 'a' / 'same.jpg'),
        *(inputs / 'clip.avi', inputs / 'broken.mp4'),
        *('--batch-size', 2, '--score-thr', 0, '--out-dir', out),
        *('--contact-sheet', folder / 'sheet.png', '--label-images'),
    )
    return inputs, out, sentence


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


def test_unreadable_files_are_named_at_the_end(run):
    inputs, _, sentence = run
    bad = [
        'b/empty.png',
        'b/half.jpg',
        'b/text.jpg',
        'b/thin.png',
        'broken.mp4',
    ]
    for name in bad:
        assert re.search(rf'(read:|;) {inputs}/{name} \(.{{9}}', sentence)


def test_a_video_that_is_cut_keeps_its_frames(model, shapes, tmp_path):
    clip, out = tmp_path / 'clip.avi', tmp_path / 'out'
    write_clip(clip, [cv2.imread(str(val_images(shapes)[0]))] * 20)
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])
    sentence = complaint(predict, *model, clip, '--out-dir', out)
    count = len(list((out / 'preds' / 'clip.avi').iterdir()))
    assert 7 < count < 12
    assert f'{clip} (it can be read up to frame {count - 1}, but' in sentence
    assert 'announces 20 frames' in sentence


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
    assert {
        str(p.relative_to(out / 'preds').with_suffix(''))
        for p in (out / 'preds').rglob('*.json')
        if p.parent.name != 'clip.avi'
    } == set(PICTURES.values())
    # Only pictures whose batch did not pad them
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
    assert abs(drawn[0].astype(int) - frames[0]).mean() > 5
    folder = out / 'preds' / 'clip.avi'
    assert len(list(folder.iterdir())) == 5
    for n in (0, 4):
        expected = inferencer(frames[n])['predictions'][0]
        file = folder / f'{n:06d}.json'
        assert_close(json.loads(file.read_text()), expected)


def test_label_images_number_the_objects(run):
    _, out, _ = run
    names = [*PICTURES.values(), 'clip.avi/000004']
    for name in names:
        file = out / 'labels' / f'{name}.png'
        numbers = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        assert numbers.dtype == np.uint16
        prediction = json.loads((out / 'preds' / f'{name}.json').read_text())
        masks = masks_of(prediction)
        assert ((numbers > 0) == np.any(masks, axis=0)).all()
        best = np.argmax(prediction['scores'])
        assert ((numbers == 1) == masks[best]).all()


def test_coco_json_has_all_predictions(run):
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
        anns = coco.imgToAnns[entries[key]['id']]
        assert [a['category_id'] - 1 for a in anns] == expected['labels']
        assert [a['score'] for a in anns] == expected['scores']
        corners = np.array([a['bbox'] for a in anns])
        corners[:, 2:] += corners[:, :2]
        np.testing.assert_allclose(corners, expected['bboxes'], atol=1e-4)
        for ann, mask in zip(anns, masks_of(expected)):
            assert (coco.annToMask(ann) == mask).all()
            assert ann['area'] == mask.sum()


def renumbered(shapes, folder):
    """The shapes' JSON with other ids."""
    file = shapes / 'annotations' / 'instances_val2017.json'
    coco = json.loads(file.read_text())
    for key, part in (('id', 'images'), ('image_id', 'annotations')):
        for entry in coco[part]:
            entry[key] *= 100
    for key, part in (('id', 'categories'), ('category_id', 'annotations')):
        for entry in coco[part]:
            entry[key] = 50 - entry[key]
    out = folder / 'renumbered.json'
    out.write_text(json.dumps(coco))
    return out


def test_ids_of_an_annotation_file(model, shapes, tmp_path):
    ann_file, out = renumbered(shapes, tmp_path), tmp_path / 'out'
    arguments = '--out-dir', out, '--ann-file', ann_file
    run_command(predict, *model, *val_images(shapes)[1:3], *arguments)
    truth = COCO(ann_file)
    results = truth.loadRes(str(out / 'coco.json'))
    assert {a['image_id'] for a in results.anns.values()} == {200, 300}
    for image in (200, 300):
        name = truth.imgs[image]['file_name'].replace('.jpg', '.json')
        expected = json.loads((out / 'preds' / name).read_text())
        assert [a['category_id'] for a in results.imgToAnns[image]] == [
            49 - label for label in expected['labels']
        ]


def test_an_object_of_just_the_threshold_is_shown(
    model, shapes, tmp_path, capsys
):
    image = val_images(shapes)[0]
    run_command(predict, *model, image, '--out-dir', tmp_path / 'all')
    (found,) = (tmp_path / 'all' / 'preds').iterdir()
    scores = sorted(set(json.loads(found.read_text())['scores']))
    assert len(scores) > 1
    pictures = []
    for count, least in ((1, scores[-1]), (0, scores[-1] + 1e-6)):
        out = tmp_path / str(count)
        arguments = image, '--out-dir', out, '--label-images'
        run_command(predict, *model, *arguments, '--score-thr', least)
        printed = capsys.readouterr().out
        assert f'\n{count} objects with a' in printed
        assert f'\n{count} of them have a number in {out}/labels\n' in printed
        (labels,) = (out / 'labels').iterdir()
        assert cv2.imread(str(labels), cv2.IMREAD_UNCHANGED).max() == count
        (picture,) = (out / 'vis').iterdir()
        pictures.append(cv2.imread(str(picture)))
    assert (pictures[0] != pictures[1]).any()


def test_objects_that_others_cover_are_counted(
    model, shapes, tmp_path, capsys
):
    image = val_images(shapes)[0]
    options = '--score-thr', 0, '--label-images', '--out-dir', tmp_path
    # The frame, which becomes the mask, is larger than the image.
    wide = 'model.mask_head.frame=100', 'model.test_cfg.mask_thr_binary=0.01'
    run_command(predict, *model, image, *options, '--cfg-options', *wide)
    (labels,) = (tmp_path / 'labels').iterdir()
    numbers = np.unique(cv2.imread(str(labels), cv2.IMREAD_UNCHANGED))
    left = np.count_nonzero(numbers)
    assert 0 < left < DETECTIONS
    assert (
        f'\n{left} of them have a number in {tmp_path}/labels; objects of a '
        f'better score cover the other {DETECTIONS - left}\n'
    ) in capsys.readouterr().out


def test_a_folder_is_searched_with_its_folders(
    model, shapes, tmp_path, capsys
):
    inputs, out = tmp_path / 'inputs', tmp_path / 'out'
    files = ['1.jpg', 'a/1.jpg', 'a/b/1.jpg', 'a/b/2.JPG']
    for file, image in zip(files, val_images(shapes)):
        (inputs / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, inputs / file)
    arguments = inputs, '--out-dir', out, '--score-thr', 1
    run_command(predict, *model, *arguments)
    printed = ' '.join(capsys.readouterr().out.split())
    assert '0 objects with a score of at least 1 (--score-thr)' in printed
    assert f'all {len(files) * DETECTIONS} of any score' in printed
    assert 'earlier run' not in printed
    run_command(predict, *model, *arguments)
    assert f'{out} has results of an earlier run' in capsys.readouterr().out
    assert {
        image['file_name'] for image in COCO(out / 'coco.json').imgs.values()
    } == set(files)
    for file in files:
        assert (out / 'vis' / file).is_file()
        assert (out / 'preds' / file).with_suffix('.json').is_file()


def own_loader(model, *steps):
    """The model's config, with other steps that load an image."""
    config = model[0].with_name('own_loader.py')
    config.write_text(
        f'_base_ = {str(model[0])!r}\n'
        f'load = {[dict(type=step) for step in steps]}\n'
        'test_dataloader = dict(dataset=dict(pipeline=[\n'
        '    *load, *_base_.test_dataloader.dataset.pipeline[1:]\n'
        ']))\n'
    )
    return config, model[1]


def test_images_that_only_the_configs_pipeline_loads(
    model, shapes, inferencer, tmp_path
):
    image = cv2.imread(str(val_images(shapes)[0]))
    for name in ('a/1', 'b/1'):
        (tmp_path / name).parent.mkdir()
        np.save(tmp_path / f'{name}.npy', image)
    (tmp_path / 'b' / '2.npy').write_text('no array')
    own, out = own_loader(model, 'LoadNumpy'), tmp_path / 'out'
    sentence = complaint(
        predict, *own, f'{tmp_path}/**/*.npy', '--out-dir', out
    )
    assert f'cannot be read: {tmp_path}/b/2.npy (' in sentence
    expected = inferencer(image)['predictions'][0]
    for name in ('a/1', 'b/1'):
        predicted = json.loads((out / 'preds' / f'{name}.json').read_text())
        assert_close(predicted, expected)
        drawn = cv2.imread(str(out / 'vis' / f'{name}.npy.jpg'))
        assert drawn.shape == image.shape
        assert abs(drawn.astype(int) - image).mean() < 60

    for channel, name in enumerate('abc'):
        cv2.imwrite(str(tmp_path / f'site_{name}.png'), image[..., channel])
    (tmp_path / 'site.png').write_text('names the files of the channels')
    own = own_loader(model, 'ChannelFiles', 'LoadMultiChannelImageFromFiles')
    run_command(predict, *own, tmp_path / 'site.png', '--out-dir', out)
    predicted = json.loads((out / 'preds' / 'site.json').read_text())
    assert_close(predicted, expected)

    video = tmp_path / 'clip.avi'
    write_clip(video, [image])
    words = f'{video} is a video, but the test pipeline of {own[0]} has no'
    assert words in complaint(predict, *own, video, '--out-dir', out)


def test_a_detector_without_masks(shapes, tmp_path):
    model = untrained(tmp_path, RETINANET_CONFIG)
    arguments = val_images(shapes)[0], '--out-dir', tmp_path / 'out'
    run_command(predict, *model, *arguments)
    anns = COCO(tmp_path / 'out' / 'coco.json').anns
    assert len(anns) == DETECTIONS and 'segmentation' not in anns[1]
    _, _, width, height = anns[1]['bbox']
    assert anns[1]['area'] == pytest.approx(width * height)
    text = complaint(predict, *model, *arguments, '--label-images')
    assert f'needs masks, which the model of {model[0]} does not' in text


def test_the_configs_form_of_masks_does_not_matter(model, shapes, tmp_path):
    image = val_images(shapes)[0]
    rle = '--cfg-options', 'model.mask_head.mask_output.type=RLEMasks'
    files = []
    for name, options in (('dense', ()), ('rle', rle)):
        out = '--out-dir', tmp_path / name, '--score-thr', 0
        run_command(predict, *model, image, *out, *options)
        files.append((tmp_path / name / 'coco.json').read_text())
        files.append((tmp_path / name / 'vis' / image.name).read_bytes())
    assert files[:2] == files[2:]
    assert any(a['segmentation'] for a in json.loads(files[0])['annotations'])


@pytest.mark.parametrize('command', ['predict', 'others'])
def test_the_checkpoint_is_read_once(model, command, monkeypatch):
    reads, load = [], torch.load
    monkeypatch.setattr(
        torch, 'load', lambda *a, **k: reads.append(a) or load(*a, **k)
    )
    if command == 'predict':
        args = SimpleNamespace(
            config=model[0],
            checkpoint=model[1],
            cfg_options={},
            device='cpu',
        )
        predict.build_inferencer(args)
    else:
        load_model(load_config(model[0], {}), model[1], 'cpu')
    assert len(reads) == 1


def test_wrong_input_ends_in_one_sentence(model, shapes, tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'clip.mp4').write_text('')
    ann_file = shapes / 'annotations' / 'instances_val2017.json'
    video = [tmp_path / 'clip.mp4', '--ann-file', ann_file]
    for arguments, words in (
        (['nowhere.jpg'], 'nowhere.jpg does not exist'),
        (['nowhere/*.jpg'], 'nowhere/*.jpg does not exist'),
        ([tmp_path / 'empty'], f'{tmp_path / "empty"} has no images'),
        (video, f'--ann-file {ann_file} is for images, but {video[0]}'),
        ([ann_file, '--ann-file', ann_file], f'has no image {ann_file}'),
        ([ann_file, '--score-thr', 2], 'argument --score-thr: 2 '),
        (
            [ann_file, '--contact-sheet', 'x.y'],
            '--contact-sheet: x.y must end',
        ),
        ([ann_file, '--batch-size', 0], 'argument --batch-size: 0 '),
        ([ann_file, '--device', 'gpu'], 'argument --device: gpu '),
    ):
        out = ['--out-dir', tmp_path / 'out']
        assert words in complaint(predict, *model, *arguments, *out)


def test_wrong_annotation_files(shapes, tmp_path):
    out, ann_file = tmp_path / 'coco.json', tmp_path / 'ann.json'
    for content in ('', '[]', '{"images": [{}]}'):
        ann_file.write_text(content)
        with pytest.raises(ValueError, match='ann.json is not a COCO'):
            CocoResults(out, CLASSES, ann_file)
    ann_file = renumbered(shapes, tmp_path)
    with pytest.raises(ValueError, match='json has no category dog'):
        CocoResults(out, [*CLASSES, 'dog'], ann_file)
    results = CocoResults(out, CLASSES, ann_file)
    name = val_images(shapes)[0].name
    assert results.ids_of([Path('a') / name]) == {Path('a') / name: 100}
    with pytest.raises(ValueError, match='are the same image of'):
        results.ids_of([Path('a') / name, Path('b') / name])
    with pytest.raises(ValueError, match='json has no image a/x.jpg'):
        results.ids_of([Path('a/x.jpg')])


def test_a_video_that_cannot_be_written_is_named(tmp_path):
    frames = iter([np.zeros((96, 96, 3), np.uint8)])
    with pytest.raises(OSError, match='cannot write .*x.nothing'):
        write_video(frames, tmp_path / 'x.nothing', 5)


def test_no_more_than_a_batch_is_loaded(inferencer):
    loaded = []
    picture = np.zeros((96, 96, 3), np.uint8)

    def items():
        for n in range(7):
            loaded.append(n)
            data = inferencer.pipeline(picture)
            yield Item(None, {}, None, picture, data)

    for n, (_, sample) in enumerate(predict.detect(inferencer, items(), 3)):
        assert isinstance(sample, DetDataSample)
        assert len(loaded) == min(3 * (n // 3 + 1), 7)
    assert n == 6


def test_an_interrupted_run_leaves_a_complete_json(tmp_path):
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
    files = [str(file) for file in val_images(shapes)[:3]]
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


def test_polygons_beside_the_run_lengths(model, shapes, tmp_path):
    image = val_images(shapes)[0]
    run_command(
        predict, *model, image, '--polygons', '--out-dir', tmp_path / 'out'
    )
    prediction = json.loads(
        (tmp_path / 'out' / 'preds' / f'{image.stem}.json').read_text()
    )
    anns = COCO(tmp_path / 'out' / 'coco.json').anns
    expected = [polygons_of(mask) for mask in prediction['masks']]
    assert prediction['polygons'] == expected and any(expected)
    assert [one['polygons'] for one in anns.values()] == expected
