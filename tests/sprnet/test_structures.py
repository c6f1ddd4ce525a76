import pytest
import torch
from support.helpers import ROOT

from projects.sprnet.structures import joined, moved, parts

PACKAGE = ROOT / 'projects' / 'sprnet'


def test_a_single_tensor_is_not_copied():
    first, second = torch.ones(2, 3), torch.zeros(1, 3)
    assert joined([first]) is first
    assert torch.equal(joined([first, second]), torch.cat([first, second]))


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
    assert files == ['structures.py']


@pytest.mark.parametrize(
    'count,lengths', [(0, [0]), (2, [2]), (3, [3]), (7, [3, 3, 1])]
)
def test_parts_are_the_whole_in_order(count, lengths):
    x = torch.rand(count, 2)
    pieces = parts(x, 3)
    assert [len(piece) for piece in pieces] == lengths
    assert torch.equal(torch.cat(pieces), x)


def test_an_exported_graph_has_one_part_of_any_length():
    class Parts(torch.nn.Module):
        def forward(self, x):
            return [piece * 2 for piece in parts(x, 3)]

    count = torch.export.Dim('count')
    graph = torch.export.export(
        Parts(), (torch.ones(7, 2),), dynamic_shapes=[{0: count}]
    ).module()
    for length in (2, 20):
        (piece,) = graph(torch.ones(length, 2))
        assert torch.equal(piece, torch.full((length, 2), 2.0))
