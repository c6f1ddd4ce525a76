import os
from contextlib import suppress
from pathlib import Path

from mmdet.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner


@register_backend('whole_files')
class WholeFileBackend(LocalBackend):
    """A local file backend that writes a file completely or not at all.

    It writes to ``<path>.part``, syncs it to the disk and renames it. If the
    process is killed before that, the next write of the same file overwrites
    the ``.part`` file.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file; on failure keep the existing one.

        Raises:
            OSError: Writing failed, for example on a full disk; the error
                names the file.
        """
        part = f'{filepath}.part'
        try:
            os.makedirs(os.path.dirname(part) or '.', exist_ok=True)
            with open(part, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, filepath)
        except OSError as error:
            with suppress(OSError):
                os.remove(part)
            raise OSError(error.errno, error.strerror, filepath) from error

    def put_text(
        self, obj: str, filepath: str | Path, encoding: str = 'utf-8'
    ) -> None:
        """Write a text file; on failure keep the existing one."""
        self.put(obj.encode(encoding), filepath)


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """A CheckpointHook whose run can be killed at any moment and resumed.

    mmengine's hook removes outdated checkpoints before it writes the new one,
    and overwrites files in place. A run killed at that moment has no
    checkpoint to resume from. This hook writes the checkpoint and then
    ``last_checkpoint``, each completely or not at all, and removes outdated
    checkpoints last.

    Args:
        args, kwargs: See CheckpointHook. :class:`WholeFileBackend` writes the
            files, unless ``backend_args`` or a remote ``out_dir`` selects
            another backend.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.backend_args is None and '://' not in str(self.out_dir):
            self.backend_args = dict(backend='whole_files')

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: dict
    ) -> None:
        outdated = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            steps = [*self.keep_ckpt_ids, step]
            outdated = steps[: -self.max_keep_ckpts]
            self.keep_ckpt_ids.append(step)  # a deque that drops the oldest
            # Lists the outdated ones too: if this run is killed before it
            # removes them, mmengine removes them in the resumed run.
            runner.message_hub.update_info('keep_ckpt_ids', steps)
        self.last_ckpt = self._path_of(step)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            self.filename_tmpl.format(step),
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            WholeFileBackend().put_text(
                self.last_ckpt,
                os.path.join(runner.work_dir, 'last_checkpoint'),
            )
            for path in map(self._path_of, outdated):
                if self.file_backend.isfile(path):
                    self.file_backend.remove(path)

    def _path_of(self, step: int) -> str:
        name = self.filename_tmpl.format(step)
        return self.file_backend.join_path(self.out_dir, name)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        outdated = []
        # mmengine removes before it saves; collect and remove afterwards.
        self.file_backend.remove = outdated.append
        super()._save_best_checkpoint(runner, metrics)
        del self.file_backend.remove
        for path in outdated:
            self.file_backend.remove(path)
