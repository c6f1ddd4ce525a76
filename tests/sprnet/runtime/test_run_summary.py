from types import SimpleNamespace

import pytest
from support.toy_run import toy_runner

from projects.sprnet.runtime import RunSummaryHook, run_summary
from projects.sprnet.runtime.run_summary import SLOW, TIMED, duration


@pytest.mark.parametrize(
    'seconds,text',
    [
        (0.4, '0 s'),
        (59.6, '1 min 0 s'),
        (3599, '59 min 59 s'),
        (8000, '2 h 13 min'),
    ],
)
def test_a_duration_has_two_units(seconds, text):
    assert duration(seconds) == text


def test_says_what_is_trained_and_how_long_an_epoch_takes(
    tmp_path, monkeypatch
):
    lines, seconds = [], iter([100.0, 100.0 + 3 * TIMED])
    runner = toy_runner(tmp_path)
    runner.train_loop._max_epochs = SLOW + TIMED  # of two iterations each
    clock = SimpleNamespace(monotonic=lambda: next(seconds))
    monkeypatch.setattr(run_summary, 'time', clock)
    monkeypatch.setattr(
        run_summary, '_log', lambda runner, *texts: lines.extend(texts)
    )
    runner.register_hook(RunSummaryHook())
    runner.train()
    model, data, folder, epoch = lines
    assert 'Toy with 0.0 million parameters' in model and 'CPU' in model
    assert '4 pictures, batches of 2, 2 iterations an epoch' in data
    assert str(tmp_path) in folder
    assert epoch == 'an epoch will take about 6 s'
