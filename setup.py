"""The wheel: the files that this project adds to MMSegmentation, and nothing else.

``mmseg/__init__.py`` stays out, since MMSegmentation's own stands at that place. Install
requirements.txt first; then ``import mmseg.daformer`` registers everything.
"""

from pathlib import Path

from setuptools import find_namespace_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithoutInit(build_py):
    def find_package_modules(self, package, package_dir):
        modules = super().find_package_modules(package, package_dir)
        return [entry for entry in modules if entry[:2] != ('mmseg', '__init__')]


setup(
    name='daformer',
    version='0.1.0',
    description="DAFormer: domain-adaptive semantic segmentation, for today's PyTorch",
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.11',
    classifiers=[f'Programming Language :: Python :: 3.{minor}' for minor in range(11, 15)],
    packages=find_namespace_packages(
        include=['mmseg', 'mmseg.*', 'daformer_runs'], exclude=['*.__pycache__']
    ),
    cmdclass={'build_py': BuildWithoutInit},
)
