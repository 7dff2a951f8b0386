#!/usr/bin/env bash
# Trains and exports the models for faces and small pictures, and draws their curves; train_recurrent_scenes.sh makes the default.
#   scripts/train_all.sh DATA VGG19.safetensors RUNS [SCALE [OPTION ...]]
# DATA holds the folders faces and cifar10 with train-*.tar shards. SCALE, a whole number, multiplies the steps of every
# run: 1 is meant for half a day on two CPU cores. The options are added to every training: --precision bf16-mixed where
# the processor computes in it (lscpu shows bf16), on a GPU --precision bf16-mixed --compile. What is done is skipped,
# and what was stopped (Ctrl-C, SIGTERM, a time limit, a crash) goes on from its last checkpoint: call it again with the
# same arguments.
# What is shipped took some of these in several runs, with other seeds: its cards, and runs/, tell the exact commands.
set -euo pipefail
data=$1 features=$2 runs=$3 scale=${4:-1}
shift $(($# < 4 ? $# : 4))
more=("$@")

model() { # NAME METHOD STEPS WHAT_IT_IS_GOOD_FOR [OPTION ...]: by the preset that says how it was made, and the options
  local name=$1 method=$2 steps=$(($3 * scale)) good_for=$4 go_on=() photos=CIFAR-10 licence=Apache-2.0
  shift 4
  if [[ $name == *-faces* ]]; then
    photos=CelebA licence="non-commercial research, as CelebA's terms ask of what is trained on it"
  fi
  [[ -f $runs/$name.json ]] && return
  [[ -d $runs/$name/checkpoint ]] && go_on=(--resume)
  retouch train "$method" --preset shipped --output "$runs/$name" --steps "$steps" --channels-last "$@" "${more[@]}" \
    "${go_on[@]}"
  retouch curves "$runs/$name" --overwrite
  retouch export "$runs/$name" --name "$name" --output "$runs" --good-for "$good_for" \
    --training-data "$photos" --licence "$licence"
}

faces=(--data "$data/faces/train-*.tar")
ends() { echo "total_steps=$(($1 * scale))"; }
last() { echo "$1_start=$(($2 * scale * 92 / 100))"; } # the discriminators take part in the last steps alone

model glcic-cifar10 glcic 9000 "pictures of 32 x 32 with a rectangle missing" --data "$data/cifar10/train-*.tar" \
  --size 32 --masks rectangle --ratio 0.05-0.4 --jitter 0 --set size=32 --set width=48 --set discriminator_width=64 \
  --set vector=1024 --set ssim=1 --set "$(ends 9000)" --set "$(last adversarial 9000)"

middle_for="faces of 64 x 64 with a hole of about a quarter, best in the middle"
model dcgan-faces dcgan_direct 21000 "$middle_for" "${faces[@]}" --set "$(ends 21000)" --set "$(last prior 21000)"
model glcic-faces glcic 11000 "$middle_for" "${faces[@]}" --set "$(ends 11000)" --set "$(last adversarial 11000)"

stages() { echo --set generator_steps=$(($1 * scale)) --set inverter_steps=$(($2 * scale)); }
# shellcheck disable=SC2046  # words
model wgan-faces wgan 7800 "faces of 64 x 64, several answers" "${faces[@]}" $(stages 3500 3700)
for loss in sigmoid_cross_entropy softmax_cross_entropy mean_squared_error; do
  case $loss in mean*) name=mse ;; *) name=${loss%_cross_entropy} ;; esac
  # shellcheck disable=SC2046
  model "search-faces-$name" dcgan_search 720 "faces of 64 x 64, several answers" "${faces[@]}" $(stages 500 220) \
    --set adversarial_loss=$loss
done

scenes=$runs/k # a run of train_recurrent_scenes.sh, to start from if it is there
start=()
[[ -d $scenes && ! -d $runs/recurrent-faces/checkpoint ]] && start=(--init "$scenes")
model recurrent-faces recurrent 8000 "faces with scratches, text and strokes" "${faces[@]}" "${start[@]}" \
  --whole --jitter 0.06 --colour 0.05 --masks strokes=0.7 --masks boxes=0.3 --ratio 0.1-0.4 --ema 0.997 \
  --set features="$features" --set perceptual=0.02 --set normalized=0.1 --set ssim=3 --set hole_l1=0.5 --set psnr=1 \
  --set mirror=True --set warmup=20 --set "$(ends 8000)"
