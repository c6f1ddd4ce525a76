import numpy as np
from mmdet.registry import HOOKS
from mmengine.dist import broadcast_object_list, get_rank
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner, set_random_seed


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Make an epoch's random numbers depend on nothing but seed and epoch.

    Then a run that was killed and resumed goes on exactly as one that was not.
    mmengine keeps the seed in the checkpoint, but not how far the generators
    had got, and builds the sampler before it reads the seed. The data loader's
    workers must take part; see :func:`keep_epoch_seed`.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed the sampler and this rank's generators for the epoch."""
        batches = runner.train_dataloader.batch_sampler
        shared = [runner.seed]
        broadcast_object_list(shared)  # ranks must draw the same order
        batches.sampler.seed = shared[0]
        state = np.random.SeedSequence([runner.seed, runner.epoch, get_rank()])
        set_random_seed(int(state.generate_state(1)[0]))


@FUNCTIONS.register_module()
def keep_epoch_seed(worker_id: int) -> None:
    """A ``worker_init_fn`` that leaves a worker the seed torch gave it.

    torch draws it from the main process's generator, which
    :class:`EpochSeedHook` has seeded. mmengine's own function would give every
    epoch the same seed. Takes workers that are started anew each epoch
    (``persistent_workers=False``).
    """
