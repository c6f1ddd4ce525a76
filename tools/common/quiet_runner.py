import logging
import re

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from projects.sprnet.runtime.metrics import TITLE

# What MMEngine logs of itself: hundreds of lines before the first step
ONLY_IN_THE_FILE = re.compile(
    r'\s*-*\s*System environment:|Config:|Hooks will be executed|Exp name:'
    r'|Checkpoints will be saved to|[Ll]oads? (model|checkpoint) (from|by)'
    r'|"(FileClient|HardDiskBackend)"|Distributed training is not used'
)
FIGURES = re.compile(r'Epoch\((val|test)\).*_mAP: ')


@RUNNERS.register_module()
class QuietRunner(Runner):
    """A Runner whose terminal shows what its log file has, but for MMEngine's
    report of itself and figures that a table shows already."""

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'QuietRunner':
        """Build it from a config, which MMEngine writes to the work directory
        for others to use."""
        cfg.pop('runner_type', None)
        return super().from_cfg(cfg)

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """See Runner."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(TerminalFilter())
        return logger


class TerminalFilter(logging.Filter):
    """Let what a terminal shows pass."""

    def __init__(self) -> None:
        super().__init__()
        self._has_table = False

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter."""
        text = record.getMessage()
        if text.startswith(TITLE):
            self._has_table = True
        elif self._has_table and FIGURES.match(text):
            self._has_table = False
            return False
        return not ONLY_IN_THE_FILE.match(text)
