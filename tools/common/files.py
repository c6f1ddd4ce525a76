"""Find a user's files in a folder, and tell them from what commands wrote."""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from mmdet.apis.det_inferencer import IMG_EXTENSIONS

# Of the pictures that commands look for in folders
PICTURES = (*IMG_EXTENSIONS, '.jfif', '.gif', '.avif')
RESULTS = '.sprnet_results'  # marks a folder of pictures and JSONs of ours
COPIES = '.sprnet_copies'  # marks a data set that to_coco.py wrote


def mark(folder: Path, name: str = RESULTS) -> bool:
    """Make a folder and mark it as ours, unless it has other files; tell
    whether it has the mark."""
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        (folder / name).touch()
    return (folder / name).exists()


def is_result(file: Path, folder: Path) -> bool:
    """Tell whether a file is in a marked folder below ``folder``."""
    return any(
        (place / RESULTS).exists()
        for place in file.parents
        if folder in place.parents
    )


def folders_below(
    folder: Path, ours: Sequence[str] = (RESULTS,)
) -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder and those below it, with the names of their files.

    Symbolic links are followed last, and each folder is entered once, so that
    loops of links end. A link to a folder around ``folder`` is such a loop.

    Args:
        folder: Is read even if it has a mark.
        ours: Marks of the folders below it to leave out.
    """
    real = os.path.realpath(folder)
    around = {*map(str, Path(real).parents)}
    waiting = [Path(folder)]
    while waiting:
        links: list[Path] = []
        for start in waiting:
            for text, inner, names in os.walk(start):
                place, target = Path(text), os.path.realpath(text)
                is_ours = place != folder and not {*ours}.isdisjoint(names)
                if is_ours or target in around:
                    inner.clear()
                    continue
                around.add(target)
                links += [place / n for n in inner if (place / n).is_symlink()]
                yield place, names
        waiting = sorted(links)


def files_below(
    folder: Path,
    suffixes: Collection[str],
    ours: Sequence[str] = (RESULTS,),
) -> list[Path]:
    """The files of some suffixes, in small letters, in a folder and those
    below it, as :func:`folders_below` finds them, sorted."""
    return sorted(
        place / name
        for place, names in folders_below(folder, ours)
        for name in names
        if os.path.splitext(name)[1].lower() in suffixes
    )
