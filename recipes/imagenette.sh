#!/bin/sh
# The papers' small benchmark from nothing: ImageNette at 224 px, a teacher and an extractor of its own, every
# method under the same labels and recipe, three seeds.
#
#   DATA=/data/imagenette OUT=runs/imagenette sh recipes/imagenette.sh
#
# DATA holds train/<WordNet id>/*.JPEG and val/<WordNet id>/*.JPEG (or tars of them: docs/reference/sources.md). Every
# variable below can be set from outside; every command resumes, so the script can be started again at any time.
# Published ResNet-18 figures: 39.2, 69.0 and 88.2 % at ipc 1, 10 and 50, with teachers of 90 % and more. It is
# made for a GPU; all of it has not been run at once yet (docs/understand/measured.md has what has been).
set -eu

: "${DATA:?set DATA to the folder or the tars of ImageNette}"
OUT=${OUT:-runs/imagenette}
FOCUSDD=${FOCUSDD:-focusdd}
TEACHER=${TEACHER:-resnet18}
EXTRACTOR=${EXTRACTOR:-vit_tiny_patch16_224}
STUDENTS=${STUDENTS:-resnet18}
METHODS=${METHODS:-"focus random rded view"}
IPC=${IPC:-"1 10 50"}
SEEDS=${SEEDS:-3}
SIZE=${SIZE:-224}
EPOCHS=${EPOCHS:-300}
FIT_EPOCHS=${FIT_EPOCHS:-100}

$FOCUSDD fit "$DATA" --model "$TEACHER" --size "$SIZE" --epochs "$FIT_EPOCHS" --batch-size 128 --lr 2e-3 \
    --mix-prob 0.5 --val "$DATA" --out "$OUT/teacher"
$FOCUSDD fit "$DATA" --model "$EXTRACTOR" --size "$SIZE" --epochs "$FIT_EPOCHS" --teacher "$OUT/teacher" \
    --val "$DATA" --out "$OUT/extractor"
# shellcheck disable=SC2086  # lists
$FOCUSDD compare "$DATA" --teacher "$OUT/teacher" --extractor "$OUT/extractor" --methods $METHODS --ipc $IPC \
    --students $STUDENTS --seeds "$SEEDS" --train.size "$SIZE" --train.epochs "$EPOCHS" --out "$OUT/compare"
