_base_ = 'mmdet::_base_/default_runtime.py'
custom_imports = dict(imports=['projects.sprnet'])
custom_hooks = [dict(type='NumClassCheckHook'), dict(type='EpochSeedHook')]
