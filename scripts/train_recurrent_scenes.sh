#!/usr/bin/env bash
# Trains the shipped model recurrent-scenes again: the runs, in order, each from the averaged weights of the one before.
#   scripts/train_recurrent_scenes.sh DATA VGG19.safetensors RUNS
# DATA holds the folders scenes256, scenes150 and faces with train-*.tar shards: fourteen hours on two CPU cores. The card
# says what each run did, runs/scenes-NAME how it went.
set -euo pipefail
data=$1 features=$2 runs=$3

train() { # NAME STEPS SEED [OPTION ...]: the steps that the run did before its time was up
  local name=$1 steps=$2 seed=$3
  shift 3
  retouch train recurrent --output "$runs/$name" --steps "$steps" --seed "$seed" \
    --ratio 0.1-0.5 --mask-size 256 \
    --set smooth_start=true --set hole_l1=2 --set l1=1 --set clip=1 \
    --set adversarial=0 --set feature_matching=0 --set low_pass_perceptual=0 --set low_pass=0 --set high_pass=0 \
    --set edge_l1=0 "$@"
}

all=(--data "$data/scenes256/train-*.tar=12" --data "$data/scenes150/train-*.tar=6" --data "$data/faces/train-*.tar")
crops=("${all[@]}" --batch 4 --masks strokes=0.7 --masks boxes=0.3)
windows=(--data "$data/scenes256/train-*.tar" --size 256 --batch 1 --masks strokes=0.6 --masks boxes=0.4)
l1_only=(--set perceptual=0 --set style=0 --set learning_rate=5e-4)
look=(--set features="$features" --set composite=true --set beta1=0.9 --set beta2=0.99)

train a 195 0 "${crops[@]}" --size 128 --ema 0.995 --set features="$features" --set perceptual=0.05 --set style=0 \
  --set learning_rate=5e-4 --set warmup=100
train b 1093 1 "${crops[@]}" --size 96 --ema 0.995 --init "$runs/a" "${l1_only[@]}" --set warmup=30
train d 1449 3 "${crops[@]}" --size 96 --ema 0.998 --init "$runs/b" "${look[@]}" --set perceptual=0.1 --set style=0.4 \
  --set learning_rate=6e-4 --set warmup=100 --set total_steps=3500
train e 910 4 "${crops[@]}" --size 96 --ema 0.998 --init "$runs/d" "${look[@]}" --set perceptual=0.05 --set style=0.08 --set ssim=1 \
  --set learning_rate=5e-4 --set warmup=30 --set total_steps=1050
train f 927 5 "${all[@]}" --batch 4 --masks strokes=0.6 --masks boxes=0.4 --size 128 --ema 0.998 --init "$runs/e" \
  "${look[@]}" --set perceptual=0.1 --set style=0.2 --set ssim=1 \
  --set learning_rate=5e-4 --set warmup=30 --set total_steps=1600
train g 176 6 "${windows[@]}" --ema 0.995 --init "$runs/f" "${look[@]}" --set perceptual=0.1 --set style=0.2 --set ssim=1 \
  --set learning_rate=3e-4 --set warmup=20 --set total_steps=700
train h 294 7 "${windows[@]}" --ema 0.99 --init "$runs/g" "${look[@]}" --set perceptual=0.1 --set style=0.2 --set ssim=1 \
  --set learning_rate=2.5e-4 --set warmup=10 --set total_steps=270
train i 1195 8 "${windows[@]}" --ema 0.995 --init "$runs/h" "${look[@]}" --set perceptual=0.1 --set style=0.3 --set ssim=1 \
  --set learning_rate=3e-4 --set warmup=20 --set total_steps=1250
# from here on as it runs fastest
fast=("${look[@]}" --set activation=shifted_relu --set padding=zeros --set perceptual=0.15 --set style=0.45 --set ssim=1)
train j 262 9 "${all[@]}" --batch 4 --masks strokes=0.6 --masks boxes=0.4 --size 128 --ema 0.99 --init "$runs/i" \
  "${fast[@]}" --set learning_rate=4e-4 --set warmup=20 --set total_steps=700
train k 1119 10 "${windows[@]}" --ema 0.995 --init "$runs/j" "${fast[@]}" \
  --set learning_rate=3e-4 --set warmup=20 --set total_steps=1700
train l 800 11 "${windows[@]}" --ema 0.995 --init "$runs/k" "${fast[@]}" --set style=0.5 \
  --set learning_rate=2.5e-4 --set warmup=20 --set total_steps=800
train m 1300 12 "${windows[@]}" --ema 0.995 --init "$runs/l" "${fast[@]}" --set style=0.5 --set perceptual=0.05 \
  --set normalized=0.2 --set learning_rate=3e-4 --set warmup=20 --set total_steps=1300
train n 2050 13 "${windows[@]}" --ema 0.997 --init "$runs/m" "${fast[@]}" --set style=0.5 --set perceptual=0.05 \
  --set normalized=0.2 --set ssim=2 --set learning_rate=4e-4 --set warmup=20 --set total_steps=2050
# o began with n's weights in 8 bits, as they had been shipped
train o 3300 14 "${windows[@]}" --ema 0.998 --init "$runs/n" "${fast[@]}" --set style=0.5 --set perceptual=0.05 \
  --set normalized=1.5 --set ssim=1.5 --set learning_rate=4e-4 --set warmup=20 --set total_steps=3300
train p 2600 15 "${windows[@]}" --ema 0.998 --init "$runs/o" "${fast[@]}" --set style=0.5 --set perceptual=0.05 \
  --set normalized=2.5 --set ssim=2 --set learning_rate=4e-4 --set warmup=20 --set total_steps=2600
# q began with p's weights in 8 bits, too
train q 8800 16 "${windows[@]}" --colour 0.02 --precision bf16-mixed --ema 0.998 --init "$runs/p" "${fast[@]}" \
  --set style=0.5 --set perceptual=0.05 --set normalized=2.5 --set ssim=3 --set psnr=0.15 --set learning_rate=4e-4 --set warmup=30 --set total_steps=8800
