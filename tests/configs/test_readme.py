"""configs/sprnet/README.md: are its tables those of the kept results?"""

import re
import subprocess
import sys

from helpers import CONFIGS, ROOT

README = (CONFIGS / 'README.md').read_text()


def test_tables_come_from_the_kept_results():
    command = re.search(
        r'    python (tools/paper_tables.py configs.*)', README
    ).group(1)
    made = subprocess.run(
        [sys.executable, *command.split()],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    shown = README.split('<!-- tables -->\n\n')[1].split('\n<!-- end -->')[0]
    assert shown == made
    assert len(re.findall(r' ± ', shown)) > 50


def test_links_and_names_exist():
    for path in re.findall(
        r'(?:configs/sprnet|tools|tests)/[\w./-]+\w', README
    ):
        assert (ROOT / path).exists(), path
    for folder in re.findall(r'^\| `([\w./]+)` \|', README, re.MULTILINE):
        assert (CONFIGS / folder).is_dir()
