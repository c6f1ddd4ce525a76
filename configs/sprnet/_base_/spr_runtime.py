custom_imports = dict(imports=['projects.sprnet'])
custom_hooks = [
    dict(type='NumClassCheckHook'),
    dict(type='EpochSeedHook'),
    dict(type='FiniteLossHook'),
]
