#!/usr/bin/env bash
# Trains the shipped model recurrent-scenes again: the runs, in order, each from the averaged weights of the one before.
#   scripts/train_recurrent_scenes.sh DATA VGG19.safetensors RUNS
# DATA holds the folders scenes256, scenes150 and faces with train-*.tar shards. The card says what each run did.
set -euo pipefail
data=$1 features=$2 runs=$3

train() { # NAME MINUTES SEED [OPTION ...]
  local name=$1 minutes=$2 seed=$3
  shift 3
  retouch train recurrent --output "$runs/$name" --minutes "$minutes" --seed "$seed" \
    --data "$data/scenes256/train-*.tar=12" --data "$data/scenes150/train-*.tar=6" --data "$data/faces/train-*.tar" \
    --masks strokes=0.7 --masks boxes=0.3 --ratio 0.1 0.5 --mask-size 256 --batch 4 \
    --set smooth_start=true --set hole_l1=2 --set l1=1 --set clip=1 \
    --set adversarial=0 --set feature_matching=0 --set low_pass_perceptual=0 --set low_pass=0 --set high_pass=0 \
    --set edge_l1=0 "$@"
}

l1_only=(--set perceptual=0 --set style=0 --set learning_rate=5e-4)
look=(--set features="$features" --set composite=true --set beta1=0.9 --set beta2=0.99)

train a 4 0 --size 128 --ema 0.995 --set features="$features" --set perceptual=0.05 --set style=0 \
  --set learning_rate=5e-4 --set warmup=100
train b 18 1 --size 96 --ema 0.995 --init "$runs/a" "${l1_only[@]}" --set warmup=30
train d 39 3 --size 96 --ema 0.998 --init "$runs/b" "${look[@]}" --set perceptual=0.1 --set style=0.4 \
  --set learning_rate=6e-4 --set warmup=100 --set total_steps=3500
train e 26 4 --size 96 --ema 0.998 --init "$runs/d" "${look[@]}" --set perceptual=0.05 --set style=0.08 --set ssim=1 \
  --set learning_rate=5e-4 --set warmup=30 --set total_steps=1050
