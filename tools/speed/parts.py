"""What can be measured, part by part."""

from collections.abc import Callable, Sequence

import torch

from . import growth
from .complexity import complexity
from .latency import latency, stages
from .memory import in_child, testing_peak, training_peak
from .options import OPTIONS, optional_subjects
from .paper import paper_speeds
from .subjects import (
    Subject,
    build,
    picture,
    prepare,
    read_config,
    test_batch,
)
from .training import training

BATCH = 4
TRAINING_BATCH = 2


class Parts:
    """The parts of a benchmark; each method gives entries of the results.

    Args:
        paths: the models' configs, by name.
        main: the names of those that every part measures.
        device: where they run.
        size: the input's short and long side at most.
        rounds: of latency.
        report: told what is under way.

    Raises:
        FileNotFoundError: A config that is not there.
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

    def subjects(self, names: Sequence[str]) -> list[Subject]:
        """Models, each built once."""
        for name in names:
            if name not in self._subjects:
                self.report(f'building {name}')
                model = build(self.configs[name], self.device)
                subject = Subject(name, model, self.device)
                prepare(subject, self.image, self.size)
                self._subjects[name] = subject
        return [self._subjects[name] for name in names]

    def latency(self) -> dict:
        """An image, in all and by stage."""
        what = (self.subjects(list(self.paths)), self.image, self.size)
        return dict(
            latency=latency(*what, self.rounds, self.report, warm_up=1),
            stages=stages(*what, max(self.rounds // 2, 1), self.report),
        )

    def batches(self) -> dict:
        """Images of larger batches."""
        subjects = self.subjects(self.main)
        found = latency(subjects, self.image, self.size, 2, self.report, BATCH)
        return dict(batches={str(BATCH): found})

    def training(self) -> dict:
        """A training step."""
        subjects = self.subjects(self.main)
        return dict(
            training=training(
                subjects, self._input_size(), 2, self.report, TRAINING_BATCH
            )
        )

    def _input_size(self) -> tuple[int, int]:
        """Height and width of the picture as a model sees it."""
        (subject,) = self.subjects(self.main[:1])
        batch = test_batch(self.image, self.size)
        inputs = subject.model.data_preprocessor(batch)['inputs']
        return tuple(inputs.shape[-2:])

    def memory(self) -> dict:
        """Peaks, in processes of their own."""
        found = {}
        size = self._input_size()
        for name in self.main:
            self.report(f'memory of {name}')
            model = (name, self.paths[name], self.device)
            found[name] = dict(
                testing=in_child(testing_peak, *model, self.image, self.size),
                training=in_child(training_peak, *model, size, TRAINING_BATCH),
            )
        return dict(memory=found)

    def growth(self) -> dict:
        """One quantity after another."""
        masked = self.subjects(['SPRNet-GFPN', 'SPRNet-box', 'Mask R-CNN'])
        every = self.subjects(['RetinaNet']) + masked
        found = {
            'image size': growth.by_image_size(every, self.report),
            'detections': growth.by_detections(
                masked, self.size, 2, self.report
            ),
            'objects': growth.by_objects(self.device, self.report),
            'classes': growth.by_classes(self.device, self.report),
            'output': growth.by_output(self.device, self.report),
        }
        return dict(growth=found)

    def options(self) -> dict:
        """Mixed precision, memory order, compilation."""
        self.report('building the models of the options')
        subjects = optional_subjects(
            list(OPTIONS), self.device, self.image, self.size
        )
        found = latency(subjects, self.image, self.size, 2, self.report)
        return dict(options=found)

    def paper(self) -> dict:
        """The paper's speed column."""
        found = paper_speeds(self.image, self.device, 2, self.report)
        return dict(paper=found)

    def complexity(self) -> dict:
        """Parameters and FLOPs."""
        found = {}
        for subject in self.subjects(list(self.paths)):
            self.report(f'counting {subject.name}')
            found[subject.name] = complexity(subject, self.image, self.size)
        return dict(complexity=found)
