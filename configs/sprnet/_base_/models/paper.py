# The paper's box loss; no part of the network is frozen (sections 3.1, 3.3)
paper_parts = dict(
    backbone=dict(frozen_stages=-1),
    bbox_head=dict(
        loss_bbox=dict(
            _delete_=True, type='SmoothL1Loss', beta=1 / 9, loss_weight=1.0
        )
    ),
)
