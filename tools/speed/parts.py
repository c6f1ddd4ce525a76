"""The parts of a benchmark."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from mmengine.config import Config

from .clock import in_turns
from .complexity import complexity
from .growth import DETECTIONS, IN_CHILDREN, SHORT_SIDES, mask_seconds
from .latency import image_seconds, stage_seconds
from .memory import in_child, testing_peak, training_peak
from .options import optional_subjects
from .paper import ROWS
from .rtmdet import SIDE, rtmdet
from .stages import STAGES
from .subjects import (
    DEFAULT,
    Subject,
    load_subject,
    picture,
    read_config,
    test_batch,
)
from .throughput import COMPILED, Setting, compiled, throughput
from .training import optimizer, step_seconds
from .wrapper import wrapper

BATCH = 4
TRAINING_BATCH = 2


class Parts:
    """The parts of a benchmark.

    Each method returns entries of the results, or yields them as it goes.

    Args:
        paths: configs of the models, by name.
        main: names of the models that every part measures.
        device: where the models run.
        size: largest short side and largest long side of the input.
        rounds: number of rounds of ``latency``.
        report: shows a line of progress.

    Raises:
        FileNotFoundError: A config does not exist.
    """

    def __init__(
        self,
        paths: dict[str, str],
        main: Sequence[str],
        device: torch.device,
        size: tuple[int, int],
        rounds: int,
        report: Callable[[str], None],
    ) -> None:
        self.paths = paths
        self.configs = {n: read_config(path) for n, path in paths.items()}
        self.main = main
        self.device = device
        self.size = size
        self.rounds = rounds
        self.report = report
        self.image = picture(427, 640)
        self._subjects: dict[str, Subject] = {}

    def subjects(self, names: Iterable[str]) -> list[Subject]:
        """The models of these names, each built once."""
        for name in names:
            if name not in self._subjects:
                config = self.configs[name]
                self._subjects[name] = self._load(name, config, self.size)
        return [self._subjects[name] for name in names]

    def latency(self) -> dict:
        """Time of an image, in total and by stage."""
        subjects = self.subjects(self.paths)
        times = self._in_turns(image_seconds, subjects, self.rounds, 1)
        fewer = max(self.rounds // 2, 1)
        stages = self._in_turns(stage_seconds, subjects, fewer)
        medians = {
            name: {stage: median(v[stage] for v in values) for stage in STAGES}
            for name, values in stages.items()
        }
        return dict(latency=times, stages=medians)

    def batches(self) -> dict:
        """Time of a larger batch."""
        measure = partial(image_seconds, batch=BATCH)
        times = self._in_turns(measure, self.subjects(self.main))
        return dict(batches={str(BATCH): times})

    def training(self) -> dict:
        """Time of a training step."""
        runs = {}
        size = self._input_size()
        for subject in self.subjects(self.main):
            wrapper = optimizer(subject.model)
            runs[subject.name] = partial(
                step_seconds, subject, wrapper, size, TRAINING_BATCH
            )
        times = self._turns(runs, self._few(), warm_up=1)
        by_phase = {
            name: {phase: [v[phase] for v in values] for phase in values[0]}
            for name, values in times.items()
        }
        return dict(training=by_phase)

    def memory(self) -> dict:
        """Peak memory in testing and training."""
        peaks = {}
        size = self._input_size()
        for name in self.main:
            self.report(f'memory of {name}')
            model = (name, self.paths[name], self.device)
            peaks[name] = dict(
                testing=in_child(testing_peak, *model, self.image, self.size),
                training=in_child(training_peak, *model, size, TRAINING_BATCH),
            )
        return dict(memory=peaks)

    def growth(self) -> dict:
        """Growth of time and memory with one quantity at a time."""
        masked = self.subjects(['SPRNet-GFPN', 'SPRNet-box', 'Mask R-CNN'])
        every = self.subjects(['RetinaNet']) + masked

        def by_side(subject: Subject, side: int) -> float:
            return image_seconds(subject, self.image, (side, 2 * side))

        def by_detections(subject: Subject, count: int) -> float:
            return mask_seconds(subject, self.image, self.size, count)

        grown = {
            'image size': self._series(by_side, every, SHORT_SIDES, rounds=1),
            'detections': self._series(by_detections, masked, DETECTIONS, 2),
        }
        for quantity, (measure, arguments) in IN_CHILDREN.items():
            grown[quantity] = {
                name: [self._in_child(measure, *a) for a in series]
                for name, series in arguments.items()
            }
        return dict(growth=grown)

    def options(self) -> dict:
        """Time of an image with mixed precision, memory order, compiling."""
        self.report('building the models of the options')
        subjects = optional_subjects(self.device, self.image, self.size)
        times = self._in_turns(image_seconds, subjects)
        return dict(options=times)

    def paper(self) -> dict:
        """Time of an image for the rows of the paper's Table 2."""
        runs = {}
        for name, row in ROWS.items():
            subject = self._load(name, row.config, row.size)
            runs[name] = partial(image_seconds, subject, self.image, row.size)
        return dict(paper=self._turns(runs, self._few()))

    def rtmdet(self) -> Iterator[dict]:
        """SPR-RTMDet beside RTMDet-Ins by numbers of objects."""
        return rtmdet(SIDE, self.device, self._few(), self.report)

    def wrapper(self) -> dict:
        """What masks add to detectors of other sizes."""
        return wrapper(
            self.device, self.image, self.size, self._few(), self.report
        )

    def throughput(self) -> Iterator[dict]:
        """Images per second of each model, with and without --amp."""
        return throughput(self.configs, self._setting())

    def compiled(self) -> Iterator[dict]:
        """Images per second of SPRNet with and without compile=True."""
        return compiled(DEFAULT[COMPILED], self._setting())

    def runtimes(self) -> dict:
        """Images per second of the exported SPRNet in ONNX Runtime."""
        from .runtimes import runtimes  # onnxruntime may be missing

        return runtimes(
            COMPILED, read_config(DEFAULT[COMPILED]), self._setting()
        )

    def complexity(self) -> dict:
        """Parameters and FLOPs."""
        counts = {}
        for subject in self.subjects(self.paths):
            self.report(f'counting {subject.name}')
            counts[subject.name] = complexity(subject, self.image, self.size)
        return dict(complexity=counts)

    def _load(
        self, name: str, config: str | Config, size: tuple[int, int]
    ) -> Subject:
        self.report(f'building {name}')
        return load_subject(name, config, self.device, self.image, size)

    def _setting(self) -> Setting:
        return Setting(
            self.device, self.image, self.size, self.rounds, self.report
        )

    def _few(self) -> int:
        """Number of rounds where a CPU takes too long for more than two."""
        return 2 if self.device.type == 'cpu' else self.rounds

    def _input_size(self) -> tuple[int, int]:
        """Height and width of the picture when it enters a model."""
        (subject,) = self.subjects(self.main[:1])
        batch = test_batch(self.image, self.size)
        inputs = subject.model.data_preprocessor(batch)['inputs']
        return tuple(inputs.shape[-2:])

    def _in_turns(
        self,
        measure: Callable,
        subjects: Iterable[Subject],
        rounds: int | None = None,
        warm_up: int = 0,
    ) -> dict[str, list]:
        """Values of ``measure(subject, image, size)`` by model and round."""
        runs = {
            subject.name: partial(measure, subject, self.image, self.size)
            for subject in subjects
        }
        return self._turns(runs, rounds or self._few(), warm_up)

    def _turns(
        self, runs: dict, rounds: int, warm_up: int = 0
    ) -> dict[Hashable, list]:
        # A GPU's first call of a kind loads kernels and reserves memory.
        warm_up = max(warm_up, int(self.device.type == 'cuda'))
        return in_turns(runs, rounds, self.report, warm_up)

    def _series(
        self,
        measure: Callable[[Subject, int], float],
        subjects: Sequence[Subject],
        quantities: Sequence[int],
        rounds: int,
    ) -> dict[str, list[float]]:
        """Medians of ``measure(subject, quantity)`` by model."""
        runs = {
            (subject.name, quantity): partial(measure, subject, quantity)
            for quantity in quantities
            for subject in subjects
        }
        values = self._turns(runs, rounds)
        return {
            s.name: [median(values[s.name, q]) for q in quantities]
            for s in subjects
        }

    def _in_child(self, measure: Callable, *args: Any) -> dict[str, float]:
        """Value of ``measure(*args, device)``, called in a new process."""
        self.report(f'{measure.__name__}: {", ".join(map(str, args))}')
        return in_child(measure, *args, self.device)
