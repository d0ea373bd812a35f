#!/usr/bin/env bash
# The scaling lab on one GPU, at full width and with all images; LOG.md has its figures.
#
#     bash benchmarks/gpu.sh PART IMAGES FOLDER EPOCHS WORKERS
#
# PART: speed, a training alone and WORKERS at once; latency, rules at equal MACs, in batches; ablation; or family.
# FOLDER gets the results. A study that was interrupted is resumed by the same line.
set -euo pipefail
part=$1 images=$2 folder=$3 epochs=$4 workers=$5
mnas() { python3 -m nas "$@"; }
mkdir -p "$folder"

# study NAME COMMAND...: runs a study, or resumes it, and writes its report.
study() {
    local out=$folder/$1
    shift
    if [ -d "$out" ]; then
        mnas "$1" --resume "$out" --workers "$workers"
    else
        mnas "$@" --data "$images" --recipe cifar --batch 512 --epochs "$epochs" --workers "$workers" --out "$out"
    fi
    mnas report "$out" | tee "$out.txt"
}

case $part in
speed)
    for count in 1 "$workers"; do
        start=$SECONDS
        for i in $(seq "$count"); do
            mnas train efficientnet_b0 --data "$images" --recipe cifar --batch 512 --resolution 24 --epochs "$epochs" \
                --seed "$i" --out "$folder/speed_${count}_$i" &>"$folder/speed_${count}_$i.txt" &
        done
        wait
        echo "$count at once, $epochs epochs: $((SECONDS - start)) s, start and evaluation included"
    done
    ;;
latency)
    mnas family efficientnet_b0 --presets b0..b4 --specs "$folder/specs"
    for rule in fast lacs-gpu; do
        mnas family efficientnet_b0 --rule "$rule" --macs 0.69G,0.99G,1.83G,4.39G --specs "$folder/specs"
    done
    for batch in 1 64; do
        mnas latency "$folder"/specs/*.yaml --device cuda --batch "$batch" | tee "$folder/latency_$batch.txt"
    done
    ;;
ablation)
    study ablation ablate efficientnet_b0 --resolution 24 --target macs=2x --seeds 5
    ;;
family)
    study family family efficientnet_b0 --presets b0..b3 --train --resolution 24 --equal macs --seeds 3 \
        --comparators torchvision:resnet50,torchvision:densenet201
    ;;
*)
    echo "PART: $part: expected speed, latency, ablation or family" >&2
    exit 2
    ;;
esac
