_base_ = ['mmdet::_base_/default_runtime.py', './spr_runtime.py']
default_hooks = dict(checkpoint=dict(type='WholeCheckpointHook'))
