_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', './paper.py']
model = _base_.paper_parts
