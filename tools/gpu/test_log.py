"""A pytest plugin that logs each finished test at once.

    TEST_LOG=FILE python -m pytest -p tools.gpu.test_log

A run that is stopped loses nothing. Each line of the file is one JSON object.
"""

import json
import os

import pytest

LENGTH = 2000  # of a failure's message


def pytest_configure(config: pytest.Config) -> None:
    """Log in the main process, which the workers' reports reach."""
    if not hasattr(config, 'workerinput'):
        config.pluginmanager.register(Log(os.environ['TEST_LOG']))


class Log:
    """Append reports to a file."""

    def __init__(self, file: str) -> None:
        self.file = file

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Log a test's call, or the phase that ended it before."""
        if report.when == 'call' or report.outcome != 'passed':
            self.write(report, measured=dict(report.user_properties))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Log a file that cannot be collected."""
        if report.failed:
            self.write(report)

    def write(self, report: pytest.CollectReport, **fields) -> None:
        """Append one report."""
        text = '' if report.passed else str(report.longrepr)[-LENGTH:]
        line = dict(
            name=report.nodeid,
            outcome=report.outcome,
            message=text,
            **fields,
        )
        with open(self.file, 'a') as file:
            file.write(json.dumps(line) + '\n')
