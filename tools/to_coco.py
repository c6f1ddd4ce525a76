"""Convert pictures and masks, as people have them, to a COCO data set.

    python tools/to_coco.py SOURCE OUT --classes nucleus

SOURCE is a folder (or a COCO JSON) in one of these forms:

    images/ and labels/ or masks/    label images: each object has its own
                                     number, 0 is background; PNG, TIFF, NPY.
                                     In other folders: SOURCE has the label
                                     images and --images names the pictures
    a.png and a_masks.png            label images beside their pictures
    ID/images/ID.png, ID/masks/*.png a mask picture for each object
    a.jpg and a.json                 labelme's drawings
    a COCO JSON and its pictures     of CVAT, Label Studio, Roboflow, ...

Folders train, val and test in it are kept apart: val is chosen from train if
there is none, and test is not used. OUT gets
train.json, val.json, the pictures in train/ and val/, and preview.jpg. Masks
are written as run lengths, which keep holes and separate parts. What cannot be
read is listed at the end; the rest is converted.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.cli import existing, one_sentence, parser_of, score
from common.next_step import print_next
from common.progress import track

from conversion.data_set import split, write
from conversion.forms import Found, find
from conversion.pictures import Picture
from conversion.preview import write_preview

from projects.sprnet.errors import InputError
from projects.sprnet.runtime.image_guard import pages_of

PAGES = (
    'pictures of several pages, of which the first is used; save the others '
    'as files of their own'
)
Read = list[tuple[Picture, str | None]]  # with the part its folders name


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument('source', type=existing, metavar='SOURCE')
    parser.add_argument('out', type=Path, metavar='OUT', help='a new folder')
    parser.add_argument(
        '--images',
        type=existing,
        metavar='FOLDER',
        help='the pictures, if they are not in SOURCE',
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        help='labels in the order of the category ids 1, 2, ... (those of a '
        'COCO JSON in its order, others sorted)',
    )
    parser.add_argument(
        '--semantic',
        action='store_true',
        help='the numbers of label images are classes, in the order of '
        '--classes, and each connected part is an object',
    )
    parser.add_argument(
        '--val',
        type=score,
        default=0.2,
        metavar='SHARE',
        help='share of the pictures for val, chosen at random, unless there '
        'is a folder val (0.2); 0 writes train only',
    )
    return parser.parse_args()


def read_all(
    found: Found, classes: Sequence[str] | None
) -> tuple[Read, list[str]]:
    """Read all pictures; list those that cannot be read, with the reason."""
    pictures: Read = []
    left_out: list[str] = []
    owners: dict[Path, Path] = {}
    for source in track(found.sources, found.form):
        try:
            picture = source.read()
            other = owners.setdefault(picture.path, source.file)
            if other != source.file:
                raise InputError(f'its image belongs to {other} already')
            labels = {one.label for one in picture.objects}
            if unknown := labels.difference(classes or labels):
                raise InputError(
                    f'labels {sorted(unknown)} are not in --classes'
                )
        except InputError as error:
            left_out.append(f'{source.file}: {error}')
            continue
        except Exception as error:  # of any type, for a foreign file
            left_out.append(
                f'{source.file}: it does not have the form of {found.form}: '
                f'{error!r}'
            )
            continue
        if pages_of(picture.path) > 1:
            picture = picture._replace(notes=[*picture.notes, PAGES])
        pictures.append((picture, source.part))
    return pictures, left_out


def near_doubles(labels: Iterable[str]) -> list[str]:
    """Find labels that differ by case or spaces only; each group as text."""
    groups: dict[str, list[str]] = {}
    for label in sorted(labels):
        groups.setdefault(' '.join(label.split()).lower(), []).append(label)
    return [
        ', '.join(map(repr, group))
        for group in groups.values()
        if len(group) > 1
    ]


def report(
    pictures: Read, parts: dict[str, list[Picture]], classes: Sequence[str]
) -> None:
    """Print what was found."""
    counts = {
        name: Counter(o.label for p in part for o in p.objects)
        for name, part in parts.items()
    }
    for name, part in parts.items():
        empty = sum(not p.objects for p in part)
        print(
            f'{name}: {len(part)} pictures ({empty} without objects), '
            f'{counts[name].total()} objects'
        )
    for number, label in enumerate(classes, start=1):
        numbers = [f'{c[label]} in {name}' for name, c in counts.items()]
        print(f'  class {number}: {label!r}, {", ".join(numbers)}')
    for group in near_doubles(classes):
        print(f'  {group} may mean the same: give them one name')
    notes = Counter(note for p, _ in pictures for note in p.notes)
    for note, count in notes.items():
        print(f'  {count} {note}')
    folders = Counter(part for _, part in pictures)
    if unused := len(pictures) - sum(map(len, parts.values())):
        print(
            f'  {unused} pictures of a folder test are not used: '
            'convert them on their own for a last evaluation'
        )
    others = folders.pop(None, 0)
    if folders and others:
        print(f'  {others} pictures of other folders count as train')
    elif folders and 'train' not in folders:
        print(
            f'  there is no folder train: {" and ".join(parts)} are chosen '
            f'from {"val" if "val" in folders else "test"}'
        )


def convert(args: argparse.Namespace) -> list[str]:
    """Convert the data set; list what was left out."""
    source, out = (Path(os.path.abspath(p)) for p in (args.source, args.out))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f'{args.out} is not empty; name a new folder')
    images = args.images and Path(os.path.abspath(args.images))
    found = find(source, images, args.classes, args.semantic)
    pictures, left_out = read_all(found, args.classes)
    if not pictures:
        return left_out
    labels = {o.label for p, _ in pictures for o in p.objects}
    order = [*found.classes, *sorted(labels - {*found.classes})]
    classes = args.classes or order
    try:
        parts = split(pictures, args.val)
    except InputError as error:
        if not left_out:
            raise
        raise InputError(
            f'{error}; {len(left_out)} left out, such as {left_out[0]}'
        ) from None
    folder = source if source.is_dir() else source.parent
    write(parts, classes, images or folder, out)
    print(
        f'{found.form}: {len(pictures)} pictures read, {len(left_out)} files '
        'left out'
    )
    report(pictures, parts, classes)
    preview = args.out / 'preview.jpg'
    write_preview(sum(parts.values(), []), classes, preview)
    print(f'Some of it is drawn to {preview}.')
    print_next('new_config.py', args.out, argv=())
    return left_out


def main() -> None:
    args = parse_args()
    with one_sentence():
        left_out = convert(args)
    if left_out:
        again = f'For another try with all of them, remove {args.out} first.'
        end = [again] if args.out.exists() else []
        sys.exit('\n'.join(['to_coco.py: left out:', *left_out, *end]))


if __name__ == '__main__':
    main()
