"""The files that commands find in a user's folder."""

from common.files import COPIES, RESULTS, files_below, mark
from common.images import folder_images

from conversion.pictures import images_below
from prediction.inputs import input_files
from support.annotated import (
    assert_whole,
    convert,
    numbers,
    picture,
    write_numbers,
)

NUMBERS = numbers().astype('uint8')


def names(files, folder):
    return [file.relative_to(folder).as_posix() for file in files]


def test_results_of_commands_are_no_inputs(tmp_path):
    picture(tmp_path / 'a.jpg')
    (tmp_path / 'out').mkdir()
    assert mark(tmp_path / 'out') and mark(tmp_path / 'set', COPIES)
    picture(tmp_path / 'out' / 'vis' / 'a.jpg')
    picture(tmp_path / 'set' / 'train' / 'a.jpg')
    assert names(folder_images(tmp_path), tmp_path) == [
        'a.jpg',
        'set/train/a.jpg',
    ]
    assert names(images_below(tmp_path), tmp_path) == ['a.jpg']
    found, _ = input_files([f'{tmp_path}/**/*.jpg'])
    assert names(found, tmp_path) == ['a.jpg', 'set/train/a.jpg']
    # They are if they are named.
    for text in (tmp_path / 'out', f'{tmp_path}/out/vis/*.jpg'):
        found, _ = input_files([str(text)])
        assert names(found, tmp_path) == ['out/vis/a.jpg']


def test_a_folder_with_files_of_a_user_is_not_marked(tmp_path):
    picture(tmp_path / 'a.jpg')
    assert not mark(tmp_path) and not (tmp_path / RESULTS).exists()


def test_converting_into_the_source_twice_gives_the_same(tmp_path):
    for name in 'ab':
        picture(tmp_path / 'images' / f'{name}.jpg')
        write_numbers(tmp_path / 'labels' / f'{name}.png', NUMBERS)
    for out in ('one', 'two'):
        parts, left_out = convert(tmp_path, tmp_path / out, '--val', 0)
        assert not left_out and len(parts['train'].imgs) == 2
        assert_whole(parts['train'], 'a.jpg')


def test_links_to_folders_are_followed_once(tmp_path):
    source, store = tmp_path / 'in', tmp_path / 'store'
    picture(source / 'a.jpg')
    picture(store / 'deep' / 'b.jpg')
    (source / 'week').symlink_to(store)
    (source / 'again').symlink_to(source / 'week')
    for place in (source, store / 'deep'):  # loops, and a loop around them
        (place / 'loop').symlink_to(source)
        (place / 'up').symlink_to(tmp_path)
    (source / 'gone').symlink_to(tmp_path / 'nowhere')
    found = files_below(source, ('.jpg',))
    assert names(found, source) == ['a.jpg', 'again/deep/b.jpg']


def test_a_split_of_links_is_converted(tmp_path):
    (tmp_path / 'in').mkdir()
    for part in ('train', 'val'):
        store = tmp_path / 'store' / part
        picture(store / 'images' / f'{part}.jpg')
        write_numbers(store / 'masks' / f'{part}.png', NUMBERS)
        (tmp_path / 'in' / part).symlink_to(store)
    parts, left_out = convert(tmp_path / 'in', tmp_path / 'out')
    assert not left_out
    for part in ('train', 'val'):
        assert_whole(parts[part], f'{part}.jpg')
