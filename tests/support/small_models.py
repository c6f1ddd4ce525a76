"""Any config's model with few channels, for quick tests."""

from mmengine.config import ConfigDict


def shrink(model: ConfigDict) -> ConfigDict:
    """Change a model's config: no weights to load, an eighth of the channels
    of a ResNet-50 or larger, and fewer in its heads."""
    model.backbone.pop('pretrained', None)
    model.backbone.init_cfg = None
    head, mask_head = model.get('bbox_head', {}), model.get('mask_head', {})
    if model.backbone.type == 'ResNet' and model.backbone.depth > 34:
        model.backbone.base_channels = 8
        model.neck.in_channels = [32, 64, 128, 256]
        if mask_head.get('encoder', {}).get('fine_channels'):
            mask_head.encoder.fine_channels = 32
        if head:
            model.neck.out_channels = 64
            head.in_channels = head.feat_channels = 64
    if head.get('type') == 'DDODHead':
        # Its deformable convolutions need 3x3 pixels on every level.
        model.neck.num_outs = 3
        for part in (head, mask_head):
            if 'anchor_generator' in part:
                part.anchor_generator.strides = [8, 16, 32]
    if 'roi_head' in model:
        model.neck.out_channels = 64
        model.rpn_head.update(in_channels=64, feat_channels=64)
        for name, part in model.roi_head.items():
            if name.endswith('_roi_extractor'):
                part.out_channels = 64
            elif name in ('bbox_head', 'mask_head'):
                part.in_channels = 64
        model.roi_head.bbox_head.fc_out_channels = 64
    if mask_head:
        mask_head.decoder.channels = 32
    return model
