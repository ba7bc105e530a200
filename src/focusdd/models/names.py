"""What a user calls a model: a checkpoint folder, a timm name, or a name on the Hugging Face Hub."""

from __future__ import annotations

import contextlib
import difflib
import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import timm

import focusdd.models.convnet  # noqa: F401  registers "convnet5" with timm
from focusdd.core.errors import FocusError
from focusdd.core.manifest import require_finished
from focusdd.settings.extract import DEFAULT_EXTRACTOR

_HUB = ("hf-hub:", "hf_hub:", "hf:")
_TIMEOUT = 5.0  # seconds for the first answer of the hub: huggingface_hub itself goes on asking for a minute


@dataclass(frozen=True)
class Origin:
    """Where a model comes from."""

    name: str
    """As it was given."""
    target: str
    """What `timm.create_model` takes."""
    architecture: str
    """timm's name of it, with the tag of its weights where one was given."""
    input_size: int
    """Side in pixels that its weights were fitted at."""
    folder: Path | None = None
    """Holds config.json and model.safetensors; None for weights that timm knows."""
    model_args: dict[str, Any] = field(default_factory=dict)
    """Arguments of the architecture that config.json holds."""
    hub: tuple[str, str] | None = None
    """Repository on the hub and file of weights that timm knows."""

    @property
    def has_weights(self) -> bool:
        """Whether there are pretrained weights of it anywhere."""
        return self.folder is not None or timm.is_model_pretrained(self.architecture)


def origin(name: str, weights: bool = True) -> Origin:
    """Finds a model by its name, and the weights of one on the hub.

    Args:
        name: a folder with config.json and model.safetensors (with or without `local-dir:`), a folder of a
            huggingface_hub cache, a timm name (with or without `timm/`), or `hf-hub:owner/name`.
        weights: the weights are wanted.

    Raises:
        FocusError: there is no such model, it is damaged, or it cannot be reached.
    """
    if not name:
        raise FocusError("a model has no name: give a checkpoint folder or a timm model name")
    prefix = next((prefix for prefix in _HUB if name.startswith(prefix)), None)
    path = Path(name.removeprefix("local-dir:"))
    # the folder that a model is trained in may be called like it: until then it means timm's
    local = prefix is None and ((path / "config.json").is_file() or not timm.is_model(name.partition(".")[0]))
    if local and (path / "stage.json").is_file():
        require_finished(path, ("fit", "train"), "a checkpoint", "focusdd fit SOURCE --model ... --out ...")
    plain = name.removeprefix(prefix or "").removeprefix("timm/")
    if local and (path / "config.json").is_file():
        return _of_folder(name, path, weights)
    if local and (path / "refs" / "main").is_file():  # models--owner--name of a hub's cache
        return _of_folder(name, path / "snapshots" / (path / "refs" / "main").read_text().strip(), weights)
    if local and (name.startswith("local-dir:") or path.exists()):
        raise FocusError(f"{path} is not a checkpoint folder: it needs config.json and model.safetensors")
    if "/" not in plain and (prefix is None or name.removeprefix(prefix) != plain):
        _require_known(plain)
        config = timm.get_pretrained_cfg(plain)
        if config is None:
            return Origin(name, plain, plain, 224)
        hub = (config.hf_hub_id, config.hf_hub_filename or "model.safetensors") if config.hf_hub_id else None
        if weights and hub is not None:
            _from_hub(name, hub[0], [hub[1]])
        return Origin(name, plain, plain, config.input_size[-1], hub=hub)
    if prefix is None:
        raise FocusError(
            f"{name} is not a checkpoint folder: there is no such folder (a name on the Hugging Face Hub is "
            f"hf-hub:{name})"
        )
    files = ["config.json", *(["model.safetensors"] if weights else [])]
    return _of_folder(name, _from_hub(name, name.removeprefix(prefix), files), weights)


def _of_folder(name: str, folder: Path, weights: bool) -> Origin:
    if weights and not (folder / "model.safetensors").is_file():
        raise FocusError(f"{folder} has config.json but no model.safetensors")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FocusError(f"{folder / 'config.json'} is not JSON ({error})") from error
    if not isinstance(config, dict) or "architecture" not in config:
        raise FocusError(f"{folder / 'config.json'} names no architecture of timm")
    architecture = str(config["architecture"])
    _require_known(architecture)
    declared: dict[str, Any] = config.get("pretrained_cfg", config)
    usual = timm.get_pretrained_cfg(architecture)
    size = declared.get("input_size") or (usual.input_size if usual is not None else (3, 224, 224))
    arguments = config.get("model_args") or {}
    return Origin(name, f"local-dir:{folder}", architecture, int(size[-1]), folder, arguments)


def _from_hub(name: str, repository: str, files: list[str]) -> Path:
    """A folder of huggingface_hub's cache, filled where it is not yet.

    Raises:
        FocusError: the files are not in the cache and cannot be had.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE
    from huggingface_hub.errors import RepositoryNotFoundError

    model, _, revision = repository.partition("@")
    fetch = partial(snapshot_download, model, revision=revision or None, allow_patterns=files)
    try:
        with contextlib.suppress(FileNotFoundError):
            cached = Path(fetch(local_files_only=True))
            if all((cached / file).is_file() for file in files):
                return cached
        return Path(fetch(etag_timeout=_TIMEOUT))
    except RepositoryNotFoundError as error:
        raise FocusError(f"there is no model {model!r} on the Hugging Face Hub, or it is private") from error
    except (OSError, RuntimeError, ValueError) as error:
        why = "HF_HUB_OFFLINE is set" if HF_HUB_OFFLINE else "the hub does not answer"
        raise unreachable(name, f"not in {HF_HUB_CACHE}, and {why}") from error


def needs_download(name: str) -> bool:
    """Whether the weights of a model are on the hub and not yet on this machine."""
    from huggingface_hub import try_to_load_from_cache

    found = origin(name, weights=False)
    if found.folder is not None:
        return not (found.folder / "model.safetensors").is_file()
    if found.hub is None:
        return False
    repository, file = found.hub
    return not isinstance(try_to_load_from_cache(repository.partition("@")[0], file), str)


def require_reachable(name: str) -> None:
    """Raises FocusError when the weights of a model are not on this machine and the hub does not answer."""
    hub = origin(name, weights=False).hub
    if hub is not None and needs_download(name):
        _from_hub(name, hub[0], ["config.json"])  # a small file that lies beside the weights


def unreachable(name: str, reason: str) -> FocusError:
    """The sentence for weights that cannot be had."""
    folder = " as --extractor FOLDER" if name == DEFAULT_EXTRACTOR else ""
    return FocusError(
        f"the weights of {name!r} cannot be loaded ({reason}): give a checkpoint folder{folder}, set HF_HOME "
        "to a cache of huggingface_hub that holds them, or make a model with `focusdd fit`"
    )


def _require_known(name: str) -> None:
    """Raises FocusError, with the nearest names, when timm knows no such model."""
    stem = name.partition(".")[0]
    if not timm.is_model(stem):
        known = timm.list_models()
        near = difflib.get_close_matches(stem.lower(), known, 4) or timm.list_models(f"*{stem}*")[:4]
    else:
        try:
            timm.get_pretrained_cfg(name)
            return
        except RuntimeError:  # no such tag
            near = difflib.get_close_matches(name, timm.list_pretrained(f"{stem}.*"), 4, 0)
    raise FocusError(f"timm knows no model {name!r}" + (f": did you mean {', '.join(near)}?" if near else ""))
