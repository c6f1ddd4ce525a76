"""A pytest plugin that logs each finished test at once.

    TEST_LOG=FILE python -m pytest -p tools.gpu.test_log

A run that is stopped loses nothing. Each line of the file is one JSON object.
"""

import json
import os

import pytest

LENGTH = 2000  # of a failure's message


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Log a test's call, or the phase that ended it before."""
    if 'PYTEST_XDIST_WORKER' in os.environ:  # its reports reach the main one
        return
    if report.when == 'call' or report.outcome != 'passed':
        write(report, measured=dict(report.user_properties))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Log a file that cannot be collected."""
    if 'PYTEST_XDIST_WORKER' not in os.environ and report.failed:
        write(report)


def write(report: pytest.CollectReport, **fields) -> None:
    """Append a report to the file."""
    text = '' if report.passed else str(report.longrepr)[-LENGTH:]
    line = dict(
        name=report.nodeid, outcome=report.outcome, message=text, **fields
    )
    with open(os.environ['TEST_LOG'], 'a') as file:
        file.write(json.dumps(line) + '\n')
