import numpy as np
from mmdet.registry import HOOKS
from mmengine.dist import broadcast_object_list, get_rank
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner, set_random_seed


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Make an epoch's random numbers depend on the seed and the epoch alone.

    A run that was killed and resumed then ends exactly like an unbroken one.
    mmengine alone cannot do this: a checkpoint keeps the seed but not the
    generators' states, and the sampler is built before the seed is read. The
    data loaders need :func:`keep_epoch_seed`, too.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed the sampler and this rank's generators for the epoch."""
        batches = runner.train_dataloader.batch_sampler
        shared = [runner.seed]
        broadcast_object_list(shared)  # all ranks must draw the same order
        batches.sampler.seed = shared[0]
        state = np.random.SeedSequence([runner.seed, runner.epoch, get_rank()])
        set_random_seed(int(state.generate_state(1)[0]))


@FUNCTIONS.register_module()
def keep_epoch_seed(worker_id: int) -> None:
    """A ``worker_init_fn`` that keeps the seed that torch gave the worker.

    torch draws that seed from the main process's generator, which
    :class:`EpochSeedHook` seeds each epoch. mmengine's own function would
    give the workers the same seed in every epoch. This works only with
    workers that start anew each epoch (``persistent_workers=False``).
    """
