import io

import pytest
from PIL import Image

from projects.sprnet.runtime.image_guard import (
    is_inside,
    open_image,
    refuse_huge,
)


@pytest.mark.parametrize(
    'file_name,inside',
    [
        ('1.jpg', True),
        ('c/../1.jpg', True),
        ('../1.jpg', False),
        ('../bc/1.jpg', False),
        ('/a/b/1.jpg', False),
        ('http://a/b/1.jpg', False),
    ],
)
def test_which_file_names_stay_inside_of_a_folder(file_name, inside):
    assert is_inside(file_name, 'a/b') == inside
    assert is_inside(file_name, 'a/b/') == inside


def test_opens_only_the_header_and_only_up_to_max_pixels():
    content = io.BytesIO()
    Image.effect_noise((60, 40), 9).save(content, 'png')
    header = content.getvalue()[:200]
    assert open_image(io.BytesIO(header), 60 * 40).size == (60, 40)
    with pytest.raises(Image.DecompressionBombError, match='60 x 40 .*=2399'):
        open_image(io.BytesIO(header), 60 * 40 - 1)


def test_the_given_limit_wins_over_pillows_own(monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    content = io.BytesIO()
    Image.new('L', (60, 40)).save(content, 'png')
    assert open_image(content, 60 * 40).size == (60, 40)
    with pytest.raises(Image.DecompressionBombError, match='max_pixels=2399'):
        open_image(content, 60 * 40 - 1)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_what_pillow_cannot_open_is_not_refused(tmp_path):
    for name, content in ('a.npy', b'\x93NUMPY'), ('a.png', b''):
        (tmp_path / name).write_bytes(content)
        refuse_huge(tmp_path / name, 1)
    Image.new('L', (60, 40)).save(tmp_path / 'a.png')
    with pytest.raises(Image.DecompressionBombError):
        refuse_huge(tmp_path / 'a.png', 1)
