_base_ = ['mmdet::_base_/default_runtime.py', './spr_runtime.py']
custom_imports = _base_.spr_imports
default_hooks = _base_.spr_hooks
env_cfg = _base_.spr_env
tta_model = _base_.spr_tta
