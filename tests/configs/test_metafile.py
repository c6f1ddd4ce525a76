"""metafile.yml: OpenMMLab's model index of the configs."""

import pytest
import yaml
from support.helpers import CONFIGS, ROOT

INDEX = yaml.safe_load((CONFIGS / 'metafile.yml').read_text())
# By a word of the name; test_configs.py checks that the config agrees
EPOCHS = {'paper': 25, '1x': 12, '300e': 300, 'shapes': None}


def test_collections():
    assert set(INDEX) == {'Collections', 'Models'}
    (collection,) = INDEX['Collections']
    assert set(collection) == {'Name', 'Metadata', 'Paper', 'README', 'Code'}
    assert collection['Name'] == 'SPRNet'
    assert set(collection['Paper']) == {'Title', 'URL'}
    assert (ROOT / collection['Code']['URL']).is_file()


def test_names_are_unique():
    names = [model['Name'] for model in INDEX['Models']]
    assert len(names) == len(set(names))


def test_every_config_of_the_folder_is_listed():
    listed = {model['Config'] for model in INDEX['Models']}
    for config in CONFIGS.glob('*.py'):
        assert str(config.relative_to(ROOT)) in listed


@pytest.mark.parametrize('model', INDEX['Models'], ids=lambda m: m['Name'])
def test_models(model):
    assert {'Name', 'In Collection', 'Config', 'Metadata'} <= set(model)
    assert set(model) <= {
        *('Name', 'In Collection', 'Config', 'Metadata', 'Results', 'Weights'),
    }
    assert model['In Collection'] == INDEX['Collections'][0]['Name']
    config = ROOT / model['Config']
    assert config.is_file() and config.stem == model['Name']
    data = 'COCO' if config.stem.endswith('_coco') else 'shapes'
    assert model['Metadata']['Training Data'] == data
    (epochs,) = (EPOCHS[key] for key in EPOCHS if key in model['Name'])
    assert model['Metadata'].get('Epochs') == epochs
    for result in model.get('Results', []):
        assert set(result) == {'Task', 'Dataset', 'Metrics'}
        assert result['Task'] in ('Object Detection', 'Instance Segmentation')
        assert result['Metrics']
