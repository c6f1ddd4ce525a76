"""Test a detector with MMDetection's tools/test.py; see mmdet_tool.py."""

from common.mmdet_scripts import run_script

if __name__ == '__main__':
    run_script('test.py')
