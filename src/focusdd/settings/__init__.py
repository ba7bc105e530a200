"""One frozen settings tree: the command line, the TOML file, the Python API and the key of every stage.

Field names are flag names; the text under a field is its help.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(gt=0, le=1)]
Exponent = Annotated[float, Field(ge=0, le=8)]
Count = Annotated[int, Field(ge=1)]
Device = Literal["auto", "cpu", "cuda", "mps"]
Method = Literal["focus", "random", "view", "rded", "herding", "k-center"]
Detector = Literal["yolo11n", "yolo11s", "yolo11m", "yolo11l", "yolo11x"]
DetectMethod = Literal["focus", "random", "selection", "paste", "full"]


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class EngineSettings(Settings):
    """Where the work is done. The results are the same bytes, so this is part of no key."""

    engine: Literal["local", "ray"] = "local"
    """local: this process; ray: workers of a Ray cluster, or one for each GPU of this machine."""
    address: str | None = None
    """Ray cluster, as "auto" or host:port; default: $RAY_ADDRESS, else a Ray of this machine alone."""
    workers: Count | None = None
    """Workers of engine ray, which on a machine alone may share a GPU; default: one for each GPU, or for each
    node where there are no GPUs."""


class ViewSettings(Settings):
    """How a ViT reads attention and confidence."""

    extractor: str = ""
    """ViT: a checkpoint folder (config.json + model.safetensors) or a timm model name."""
    input_size: Annotated[int, Field(ge=16, le=2048)] | None = None
    """Side in pixels of the view the ViT sees; default: the model's own."""
    fit: Literal["squash", "letterbox"] = "squash"
    """How an image becomes a square view: squashed, or scaled and padded."""
    attention: Literal["last", "mean", "ema", "rollout"] = "mean"
    """Layers that make up the class attention: the last, the mean of the last --layers, an exponential
    average over the last --layers as in LF-ViT, or attention rollout over all."""
    layers: Count = 2
    """Layers, counted from the last, that 'mean' and 'ema' use."""
    heads: Literal["mean", "max"] = "max"
    """How the heads of a layer are combined."""
    confidence: Literal["auto", "head", "probe"] = "auto"
    """Where the confidence comes from: the model's head, a probe fitted on its class-token features, or the
    head when its classes match the source's and the probe otherwise."""
    batch_size: Count = 64
    """Images per forward pass."""
    device: Device = "auto"
    """Where the models run."""


class PatchSettings(Settings):
    """Which windows of an image are its key patches."""

    window: Literal["object", "tile"] = "object"
    """Key patch: as large as the smallest window that holds --share of the attention, or of the tile's size;
    either way with the attention in its middle."""
    share: Share = 0.75
    """Share of the class attention that sets the size of an object-sized key patch."""
    max_upsample: Annotated[float, Field(ge=1, le=8)] = 1.5
    """A key patch is never so small that its tile enlarges it by more than this factor."""
    patches: Annotated[int, Field(ge=1, le=16)] = 1
    """Key patches per image."""
    max_iou: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Most overlap (intersection over union) between key patches of one image."""


class ExtractSettings(ViewSettings, PatchSettings):
    """How one ViT pass over the data fills the index."""

    tile: Annotated[int, Field(ge=8, le=4096)] = 112
    """Side in pixels of the tiles that the key patches are meant for; other sizes are found later from the
    stored attention, without another pass."""


class SelectSettings(PatchSettings):
    """Which images and windows make up the distilled dataset; no image is opened to decide it."""

    ipc: Count = 10
    """Distilled images per class."""
    method: Method = "focus"
    """focus: key patches, and views of whole images; random: whole images; view: downsampled views
    only; rded: the best of random crops by the teacher's loss; herding, k-center: whole images that stand
    for their class among the extractor's features."""
    grid: Annotated[int, Field(ge=1, le=8)] = 2
    """Tiles per side of a distilled image."""
    views: Annotated[int, Field(ge=0, le=64)] | None = None
    """Tiles of a distilled image that show a whole image, downsampled; the others show key patches; default:
    three quarters of the tiles."""
    view_source: Literal["other", "same"] = "other"
    """Views show other images than the patches, or the same."""
    keep: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of each class, most realistic first, among which images are drawn at random; 0 takes the most
    realistic in order, 1 draws from all; default: 0 below five distilled images per class, else 1."""
    skip: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each class, most realistic first, that is passed over as too easy."""
    clusters: bool = False
    """Spread the draw, where there is one: as many clusters of the extractor's features as images are needed,
    of each the image nearest to its middle."""
    max_similarity: Annotated[float, Field(ge=-1, le=1)] = 1.0
    """Images whose features in the extractor are more alike (cosine) than this to those of an image before
    them come last, as near-duplicates; 1 takes them as they come."""
    confidence_power: Exponent = 1.0
    """Exponent of the confidence in realism = confidence^a * mass^b * (1 - area)^c."""
    mass_power: Exponent = 1.0
    """Exponent of the attention mass inside the key patch."""
    area_power: Exponent = 0.0
    """Exponent of one minus the attention area."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every random choice."""


class ComposeSettings(Settings):
    """How tiles become pixels."""

    size: Annotated[int, Field(ge=16, le=4096)] = 224
    """Side of a distilled image in pixels."""
    format: Literal["jpg", "png"] = "jpg"
    """File format of the distilled images."""
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    """JPEG quality."""


class DistillSettings(SelectSettings, ComposeSettings):
    """All of selecting and composing."""

    teacher: str = ""
    """Model that judges the crops of method rded: a checkpoint folder or a timm name."""
    rded_images: Count = 300
    """Images per class that method rded crops."""
    rded_crops: Count = 5
    """Random crops per image, of which method rded keeps the one with the lowest loss."""


class ObjectSettings(Settings):
    """Which objects a distilled image shows, and what becomes of their boxes."""

    ipc: Count | None = None
    """Distilled images per class, counting the class that an image's patches were chosen for; default: 10."""
    budget: Annotated[int, Field(ge=1)] | None = None
    """Distilled images in all, shared out among the classes; instead of --ipc."""
    ratio: Share | None = None
    """The same as a share of the source's images, e.g. 0.01; instead of --ipc."""
    method: DetectMethod = "focus"
    """focus: windows around objects at full resolution, and views of whole images; random: whole images;
    selection: the most realistic whole images; paste: random objects cut out tightly; full: all images."""
    layout: Literal["grid", "pack"] = "pack"
    """grid: tiles of one size; pack: windows as large as their object and its surroundings need, side by
    side, as many as there is room for."""
    grid: Annotated[int, Field(ge=1, le=8)] = 2
    """Tiles per side of layout grid; a view is as large as one of them in either layout."""
    views: Annotated[int, Field(ge=0, le=64)] = 1
    """Whole images, downsampled, in every distilled image."""
    context: Annotated[float, Field(ge=0, le=4)] = 0.5
    """Surroundings that a window shows on each side of its object, as a share of the object's longer side."""
    grow: Annotated[float, Field(ge=1, le=4)] = 1.5
    """A window may grow by this factor so as not to cut another object."""
    max_upsample: Annotated[float, Field(ge=1, le=8)] = 1.0
    """A window is never enlarged by more than this factor."""
    visible: Share = 0.6
    """An object keeps its label where at least this share of its box is visible; else it is masked."""
    min_size: Annotated[float, Field(gt=0)] = 4.0
    """An object keeps its label where both sides of its box have at least this many pixels."""
    keep: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of each class's objects, most realistic first, among which they are drawn at random; 0 takes the
    most realistic in order, 1 draws from all."""
    confidence_power: Exponent = 1.0
    """Exponent of the confidence in realism = confidence^a * mass^b * size^c * whole^d."""
    mass_power: Exponent = 1.0
    """Exponent of the class attention inside the object's box."""
    size_power: Exponent = 0.0
    """Exponent of the object's size, the square root of its share of the image."""
    whole_power: Exponent = 1.0
    """Exponent of how whole an object is: halved for every border of the image that its box touches."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every random choice."""


class DetectDistillSettings(ObjectSettings, ComposeSettings):
    """All of selecting and composing for detection."""

    size: Annotated[int, Field(ge=32, le=4096)] = 640
    """Side of a distilled image in pixels: what the detector will be trained at."""


class FitSettings(Settings):
    """How a teacher or an extractor is trained on a source."""

    model: str
    """Any timm model name."""
    model_args: dict[str, Annotated[int | float | bool | str, Field(union_mode="left_to_right")]] = {}
    """Arguments of the architecture, e.g. --model-args.depth 6 --model-args.patch-size 8."""
    size: Annotated[int, Field(ge=16, le=1024)] = 128
    """Side in pixels of the training views."""
    epochs: Annotated[int, Field(ge=1)] = 30
    """Passes over the source."""
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Images per step."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate (AdamW, warm-up and cosine to zero)."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """Weight decay."""
    crop: Share = 0.35
    """Smallest share of the image that a random resized crop shows."""
    flip: bool = True
    """Mirror half of the images; not for digits, letters or anything else with a left and a right."""
    mixup: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the batches that are mixed by CutMix."""
    init: str = ""
    """exp: checkpoint folder to start from."""
    pretrained: bool = False
    """Start from timm's pretrained weights."""
    teacher: str = ""
    """Checkpoint or model to distil from (temperature 2), beside the labels."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of an exponential average of the weights, which is then kept; 0 keeps the last weights."""
    device: Device = "auto"
    """Where the model runs."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every random choice."""


class AugmentSettings(Settings):
    """How a student is shown distilled images. The defaults are the recipe every table here uses."""

    crop: Share = 0.5
    """Smallest share of a distilled image, or of a tile, that a random resized crop shows."""
    tile_crops: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the crops that are taken within one tile, which then fills the student's view; default: 1, and
    0.5 where labels are by region, which tell tiles apart."""
    scale_crops: bool = False
    """A crop that a tile is drawn for shows it at the scale of its whole photograph: with its neighbours where
    it is a key patch."""
    flip: bool = True
    """Mirror half of the images; not for digits, letters or anything else with a left and a right."""
    shuffle_tiles: bool = True
    """Put the tiles of a distilled image in random order in every epoch."""
    mixup: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the batches in which images are mixed, by CutMix if nothing else is said."""


class LabelSettings(AugmentSettings):
    """Which soft labels are stored beside the images, and in how many bytes."""

    teacher: str
    """Checkpoint folder or timm name of the teacher."""
    labels: Literal["tiles", "views", "both"] = "tiles"
    """tiles: a label for every tile and the whole image, from which that of any crop is composed; views: a
    label for each of --views crops of every image, reused over the epochs."""
    size: Annotated[int, Field(ge=16, le=1024)] = 224
    """Side in pixels of the teacher's and the student's input."""
    views: Count = 100
    """Views of every image that are labelled."""
    places: Annotated[int, Field(ge=0, le=64)] = 0
    """Places per side of every view that have labels of their own beside that of the whole view, so that
    students are taught by region; 0: the whole view alone."""
    top: Annotated[int, Field(ge=1, le=65535)] = 32
    """Most probable classes that a label keeps apart; all others share one value."""
    bits: Literal[4, 8, 16] = 8
    """Bits per kept class."""
    temperature: Annotated[float, Field(gt=0)] = 20.0
    """Temperature of the later training, at which the classes beyond --top keep their joint probability."""
    device: Device = "auto"
    """Where the teacher runs."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the views."""


class TrainSettings(AugmentSettings):
    """How a student learns from a distilled dataset. The defaults are the recipe every table here uses."""

    student: str = "resnet18"
    """Any timm model name."""
    teacher: str = ""
    """Checkpoint folder or timm name of the teacher; needed with --labels soft alone."""
    labels: Literal["soft", "hard", "stored", "tiles", "views"] = "soft"
    """soft: the teacher's distribution for every crop, asked for as it is made; hard: the class index;
    stored: what `focusdd label` has written, views where there are such, else tiles, or the one named."""
    epochs: Count = 300
    """Passes over the distilled dataset."""
    size: Annotated[int, Field(ge=16, le=1024)] = 224
    """Side in pixels of the student's input, in training and validation."""
    batch_size: Annotated[int, Field(ge=2)] = 20
    """Images per step."""
    lr: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate (AdamW); default: by the student's family, 0.001 for a ResNet."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """Weight decay; default: by the student's family, 0.01 for a ResNet."""
    loss: Literal["kl", "mse"] = "kl"
    """Distance from the teacher: divergence of the softened distributions, or squared error of the logits."""
    temperature: Annotated[float, Field(gt=0)] = 20.0
    """Temperature of the teacher's and the student's distribution."""
    hard_weight: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Weight of the cross-entropy with the class index beside the distance from the teacher."""
    regions: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Weight of the distance at every place of the last feature maps against that of the whole view; networks
    without such maps, hard labels and stored ones without places know the whole alone."""
    mix: Literal["cutmix", "mixup"] = "cutmix"
    """How batches are mixed: a box of another image, or a blend of two; stored labels know CutMix alone."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of an exponential average of the weights, which is then scored and kept; 0 keeps the last."""
    schedule: Literal["cosine", "half-cosine"] = "cosine"
    """Learning rate over the epochs: down to zero, or to half of the peak as RDED's code does."""
    augment: bool = True
    """Crop, mirror, shuffle and mix; without it the student sees every distilled image as it is."""
    device: Device = "auto"
    """Where student and teacher run."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every random choice."""


class CompareSettings(Settings):
    """Every combination of methods, ipc, students, labels and seeds; all else is the same for all of them."""

    methods: tuple[Method | Literal["full"], ...] = ("focus", "random")
    """As `distill --method`, and full: all images of the source. Random is always among them."""
    ipc: tuple[Count, ...] = (10,)
    """Distilled images per class."""
    students: tuple[str, ...] = ("resnet18",)
    """timm model names."""
    labels: tuple[Literal["soft", "hard"], ...] = ("soft",)
    """Learn the teacher's distribution for every crop, the class index, or each in turn."""
    seeds: Count = 3
    """Runs of every combination, with the seeds 0, 1, ... for selecting and training."""
    teacher: str = ""
    """Checkpoint folder or timm name: gives the soft labels, and judges the crops of method rded."""
    extractor: str = ""
    """ViT of the methods focus, herding and k-center: a checkpoint folder or a timm model name."""
    full_epochs: Count | None = None
    """Passes over the source for method full; default: as many steps as the largest ipc takes."""
    plain: bool = False
    """Train every student also without augmentation, for the augmentation-robust score."""
    corruptions: bool = False
    """Score every student also on corrupted validation images: 5 corruptions at 5 strengths."""
    device: Device = "auto"
    """Where the models run."""
    views: ViewSettings = ViewSettings()
    """How the extractor reads the images."""
    distill: DistillSettings = DistillSettings()
    """All that `distill` takes beside what is compared."""
    train: TrainSettings = TrainSettings()
    """All that `train` takes beside what is compared."""


class DetectTrainSettings(Settings):
    """How a detector learns from a distilled detection dataset, always from scratch."""

    detector: Detector = "yolo11n"
    """Architecture, from Ultralytics; n is the smallest."""
    size: Annotated[int, Field(ge=32, le=1280, multiple_of=32)] = 320
    """Side in pixels of the square the detector sees, in training and validation: a multiple of 32."""
    steps: Count = 2000
    """Optimizer steps, the same for every size of dataset; above 20 rounded to a multiple of 20."""
    batch_size: Annotated[int, Field(ge=2)] = 16
    """Images per step; with --mosaic each of them is put together from four."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate (AdamW, 5 % warm-up, then cosine to zero)."""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    """Weight decay."""
    mosaic: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the training images that are put together from four; none in the last tenth of the steps."""
    flip: bool = True
    """Mirror half of the images; not for digits, letters or anything else with a left and a right."""
    device: Device = "auto"
    """Where the detector runs."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every random choice."""


class DetectCompareSettings(Settings):
    """Every combination of methods, budgets, detectors and seeds; all else is the same for all of them."""

    methods: tuple[DetectMethod, ...] = ("focus", "random")
    """As `detect distill --method`. Random is always among them."""
    ipc: tuple[Count, ...] = ()
    """Distilled images per class; default: 10, where no --ratio is given."""
    ratio: tuple[Share, ...] = ()
    """Distilled images as shares of the source's, beside or instead of --ipc."""
    detectors: tuple[Detector, ...] = ("yolo11n",)
    """Architectures, as `detect train --detector`."""
    seeds: Count = 3
    """Runs of every combination, with the seeds 0, 1, ... for selecting and training."""
    extractor: str = ""
    """ViT of the methods focus and selection: a checkpoint folder or a timm model name."""
    device: Device = "auto"
    """Where the models run."""
    views: ViewSettings = ViewSettings()
    """How the extractor reads the images."""
    distill: DetectDistillSettings = DetectDistillSettings()
    """All that `detect distill` takes beside what is compared."""
    train: DetectTrainSettings = DetectTrainSettings()
    """All that `detect train` takes beside what is compared."""
