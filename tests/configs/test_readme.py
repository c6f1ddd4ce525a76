"""Markdown pages: their tables, links and paths."""

import re
import subprocess
import sys

import pytest
from support.helpers import CONFIGS, ROOT

RESULTS = (CONFIGS / 'RESULTS.md').read_text()
PAGES = sorted(
    page
    for folder in ('.', 'configs', 'projects', 'tests', 'tools')
    for page in (ROOT / folder).glob('**/*.md' if folder != '.' else '*.md')
)


COMMANDS = re.findall(r'    python (tools/paper_tables.py configs.*)', RESULTS)
SHOWN = re.findall(
    r'<!-- tables -->\n\n(.*?)\n<!-- end -->', RESULTS, re.DOTALL
)


@pytest.mark.parametrize('command,shown', zip(COMMANDS, SHOWN, strict=True))
def test_tables_come_from_the_saved_results(command, shown):
    made = subprocess.run(
        [sys.executable, *command.split()],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    # The forks of MMDetection print what they do not find.
    assert shown == made[made.index('All figures') :]


def test_the_tables_have_figures():
    assert len(re.findall(r' ± ', SHOWN[0])) > 50


def anchor(heading):
    """GitHub's link to a heading."""
    return re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')


@pytest.mark.parametrize('page', PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_names_exist(page):
    text = page.read_text()
    for link in re.findall(r'\]\((?!https?:)([^)]*)\)', text):
        path, _, section = link.partition('#')
        target = page.parent / path if path else page
        assert target.exists(), link
        if section:
            headings = re.findall(r'^#+ (.*)$', target.read_text(), re.M)
            assert section in map(anchor, headings), link
    own_path = r'(?<![\w/])(?:configs/sprnet|tools|tests)/[\w./-]+\w'
    for path in re.findall(own_path, text):
        assert (ROOT / path).exists(), path


def test_folders_of_the_index_exist():
    index = (CONFIGS / 'README.md').read_text()
    folders = re.findall(r'^\| `([\w./]+/)` \|', index, re.MULTILINE)
    assert len(folders) > 5
    assert all((CONFIGS / folder).is_dir() for folder in folders)
