import torch
from support.helpers import ROOT

from projects.sprnet.moving import moved

PACKAGE = ROOT / 'projects' / 'sprnet'


class Recorder(torch.Tensor):
    """A tensor that keeps how it was copied."""

    def to(self, device, non_blocking):
        self.copied = device, non_blocking
        return self


def test_a_copy_does_not_wait():
    tensor = torch.ones(2).as_subclass(Recorder)
    moved(tensor, torch.device('cpu'))
    assert tensor.copied == (torch.device('cpu'), True)


def test_a_compiled_copy_waits():
    copies = []

    def backend(graph, inputs):
        copies.extend(n.kwargs for n in graph.graph.nodes if n.target == 'to')
        return graph.forward

    tensor = torch.ones(2)
    compiled = torch.compile(moved, backend=backend)
    assert torch.equal(compiled(tensor, torch.device('cpu')), tensor)
    assert copies == [{'non_blocking': False}]


def test_no_other_module_copies_without_waiting():
    files = [
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob('*.py')
        if 'non_blocking' in file.read_text()
    ]
    assert files == ['moving.py']
