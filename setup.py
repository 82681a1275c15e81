"""The two parts that are compiled; all else is in pyproject.toml.

Optional: where there is no C compiler they are left out, and everything works and gives the same
results, but that JPEGs take three times as long to decode.
"""

from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("batchscan/image/native")

setup(
    ext_modules=[
        Extension(
            "batchscan.image.reduced_jpeg",
            [str(SOURCES / "reduced_jpeg.c")],
            depends=sorted(map(str, SOURCES.glob("*.h"))),
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,
        ),
        Extension(
            "batchscan.image.bilinear",
            [str(SOURCES / "bilinear.c")],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,
        ),
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},  # One wheel for each Python from 3.11 on.
)
