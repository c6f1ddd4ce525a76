"""The files that predict.py finds, and the names of its outputs."""

import re
from pathlib import Path

import pytest
from prediction.inputs import input_files, json_names


@pytest.mark.parametrize(
    'files,names',
    [
        (['a.jpg', 'b.png'], ['a.json', 'b.json']),
        (['a.jpg', 'a.png'], ['a.jpg.json', 'a.png.json']),
        (
            ['a.jpg', 'a.png', 'a.jpg.tif'],
            ['a.jpg.json', 'a.png.json', 'a.jpg.tif.json'],
        ),
        (['a.jpg', 'b/a.jpg'], ['a.json', 'b/a.json']),
        (['a', 'a.b'], ['a.json', 'a.b.json']),
    ],
)
def test_each_json_has_a_name_of_its_own(files, names):
    found = json_names({Path('in', file): Path(file) for file in files})
    assert [path.as_posix() for path in found.values()] == names


@pytest.mark.parametrize(
    'pattern,found',
    [
        ('*', ['1.jpg']),
        ('**', ['1.jpg', 'a/2.PNG', 'a/clip.avi']),
        ('**/*.npy', ['1.npy', 'a/2.npy']),
    ],
)
def test_a_glob_finds_pictures_or_the_files_of_its_suffix(
    pattern, found, tmp_path
):
    (tmp_path / 'a').mkdir()
    files = ['1.jpg', '1.npy', 'README', 'a/2.PNG', 'a/2.npy', 'a/clip.avi']
    for file in files:
        (tmp_path / file).write_text('')
    images, videos = input_files([f'{tmp_path}/{pattern}'])
    assert {*images, *videos} == {tmp_path / file for file in found}


@pytest.mark.parametrize(
    'files', [['a.pgm', 'a.pgm.jpg'], ['a.avi', 'a.avi.mp4']]
)
def test_files_that_would_be_drawn_to_one_picture_are_refused(files, tmp_path):
    paths = [tmp_path / file for file in files]
    for path in paths:
        path.write_text('')
    words = f'{paths[0]} and {paths[1]} would both be drawn to {files[1]}'
    with pytest.raises(ValueError, match=re.escape(words)):
        input_files(list(map(str, paths)))
