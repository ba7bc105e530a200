#!/bin/sh
# The paper's headline setting: ImageNet-1K, 100 distilled images per class, ResNet-50 and MobileNet-v2.
#
#   DATA=/data/imagenet OUT=runs/imagenet1k sh recipes/imagenet1k.sh
#
# DATA holds train/<WordNet id>/*.JPEG and val/<WordNet id>/*.JPEG (or tars of them: docs/reference/sources.md). Every
# variable below can be set from outside; every command resumes, so the script can be started again at any time.
# Published figures: ResNet-50 71.0 %, MobileNet-v2 62.6 % (arXiv 2501.06405, abstract). The paper's text does not
# name the ViT, its input, the teacher or the rates; those here are choices, and none of them has been run at
# this size yet. What it costs: docs/understand/cost.md.
set -eu

: "${DATA:?set DATA to the folder or the tars of ImageNet-1K}"
OUT=${OUT:-runs/imagenet1k}
FOCUSDD=${FOCUSDD:-focusdd}
EXTRACTOR=${EXTRACTOR:-deit_small_patch16_224.fb_in1k}
VIEW_SIZE=${VIEW_SIZE:-224}
TEACHER=${TEACHER:-resnet18.tv_in1k}
STUDENTS=${STUDENTS:-"resnet50 mobilenetv2_100"}
IPC=${IPC:-100}
SIZE=${SIZE:-224}
EPOCHS=${EPOCHS:-300}
BATCH_SIZE=${BATCH_SIZE:-100}
ENGINE=${ENGINE:-local}  # ray: several GPUs, or a cluster (docs/guides/cluster.md)

$FOCUSDD extract "$DATA" --extractor "$EXTRACTOR" --input-size "$VIEW_SIZE" --engine "$ENGINE" --out "$OUT/index"
$FOCUSDD distill "$DATA" --index "$OUT/index" --ipc "$IPC" --engine "$ENGINE" --out "$OUT/tiny"
for student in $STUDENTS; do
    $FOCUSDD train "$OUT/tiny" --val "$DATA" --teacher "$TEACHER" --student "$student" --size "$SIZE" \
        --epochs "$EPOCHS" --batch-size "$BATCH_SIZE" --out "$OUT/$student"
done
$FOCUSDD report "$OUT"
