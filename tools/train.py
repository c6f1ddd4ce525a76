"""Train a detector: MMDetection's tools/train.py, see mmdet_tool.py."""

from mmdet_tool import main

if __name__ == '__main__':
    main('train.py')
