#!/usr/bin/env bash
# Trains and exports the models for faces and small pictures, and draws their curves; train_recurrent_scenes.sh makes the default.
#   scripts/train_all.sh DATA VGG19.safetensors RUNS [SCALE [OPTION ...]]
# DATA holds the folders faces and cifar10 with train-*.tar shards. SCALE, a whole number, multiplies the steps of every
# run: 1 is meant for some hours on two CPU cores. The options are added to every training, on a GPU for instance
# --precision bf16-mixed --compile. What is done is skipped, and what was stopped (Ctrl-C, SIGTERM, a time limit, a crash)
# goes on from its last checkpoint: call it again with the same arguments.
# What is shipped took some of these in several runs, with other seeds: its cards, and runs/, tell the exact commands.
set -euo pipefail
data=$1 features=$2 runs=$3 scale=${4:-1}
shift $(($# < 4 ? $# : 4))
more=("$@")

model() { # NAME METHOD STEPS WHAT_IT_IS_GOOD_FOR [OPTION ...]
  local name=$1 method=$2 steps=$(($3 * scale)) good_for=$4 go_on=()
  shift 4
  [[ -f $runs/$name.json ]] && return
  [[ -d $runs/$name/checkpoint ]] && go_on=(--resume)
  retouch train "$method" --output "$runs/$name" --steps "$steps" --whole --channels-last "$@" "${more[@]}" "${go_on[@]}"
  retouch curves "$runs/$name" --overwrite
  retouch export "$runs/$name" --name "$name" --output "$runs" --good-for "$good_for"
}

direct() { # the same, for networks that are trained on the completion itself
  local name=$1 method=$2 steps=$3 good_for=$4
  shift 4
  model "$name" "$method" "$steps" "$good_for" --batch 16 \
    --set mirror=true --set psnr=1 --set learning_rate=1e-3 --set beta1=0.9 --set warmup=200 \
    --set total_steps=$((steps * scale)) "$@"
}

faces=(--data "$data/faces/train-*.tar")
last() { echo $(($1 * scale * 92 / 100)); } # the discriminators take part in the last steps alone

direct glcic-cifar10 glcic 9000 "pictures of 32 x 32 with a rectangle missing" --data "$data/cifar10/train-*.tar" \
  --size 32 --masks rectangle --ratio 0.05 0.4 --colour 0.05 --ema 0.999 --set ssim=1 \
  --set size=32 --set width=48 --set residual=true --set adversarial=0.002 --set adversarial_start="$(last 9000)"

# mostly in the middle, as they are measured: with that hole alone, one a pixel aside would cost 2 to 3 dB
middle=("${faces[@]}" --size 64 --ratio 0.25 0.25 --masks center=0.75 --masks rectangle=0.15 --masks boxes=0.1
  --jitter 0.06 --colour 0.05 --ema 0.999 --set ssim=1)
middle_for="faces of 64 x 64 with a hole of about a quarter, best in the middle"
direct dcgan-faces dcgan_direct 21000 "$middle_for" "${middle[@]}" \
  --set width=48 --set blocks=1 --set skip=true --set hole_channel=true --set prior=0.002 --set prior_start="$(last 21000)"
direct glcic-faces glcic 11000 "$middle_for" "${middle[@]}" \
  --set size=64 --set width=32 --set discriminator_width=32 --set vector=256 --set residual=true \
  --set adversarial=0.002 --set adversarial_start="$(last 11000)"

# Those that search: the generator also gives back the photos through the inverter.
searched=("${faces[@]}" --size 64 --batch 32 --ratio 0.05 0.4
  --masks center=0.5 --masks strokes=0.2 --masks boxes=0.15 --masks rectangle=0.15)
model wgan-faces wgan 7800 "faces of 64 x 64, several answers" "${searched[@]}" --ema 0.995 \
  --set width=32 --set latent=96 --set critic_steps=1 --set learning_rate=1e-3 --set beta1=0.5 --set reconstruction=1000 \
  --set generator_steps=$((3500 * scale)) --set inverter_steps=$((3700 * scale)) --set inverter_latent=0.02 \
  --set enhancement_depth=6 --set enhancement_width=24 --set pair_steps=5 --set refine_steps=5 --set spread=0.8
for loss in sigmoid_cross_entropy softmax_cross_entropy mean_squared_error; do
  case $loss in mean*) name=mse ;; *) name=${loss%_cross_entropy} ;; esac
  model "search-faces-$name" dcgan_search 720 "faces of 64 x 64, several answers" "${searched[@]}" --ema 0.99 \
    --set adversarial_loss=$loss --set width=32 --set discriminator_width=16 --set inverter_width=32 \
    --set learning_rate=5e-4 --set generator_steps=$((500 * scale)) --set inverter_steps=$((220 * scale)) \
    --set reconstruction=10 --set inverter_latent=0.02 --set refine_steps=10 --set restarts=2
done

scenes=$runs/k # a run of train_recurrent_scenes.sh, to start from if it is there
start=()
[[ -d $scenes && ! -d $runs/recurrent-faces/checkpoint ]] && start=(--init "$scenes")
model recurrent-faces recurrent 1310 "faces with scratches, text and strokes" "${faces[@]}" "${start[@]}" \
  --size 128 --batch 4 --ema 0.99 --masks strokes=0.7 --masks boxes=0.3 --ratio 0.1 0.4 \
  --jitter 0.06 --colour 0.05 --set activation=shifted_relu --set padding=zeros --set smooth_start=true --set composite=true \
  --set hole_l1=2 --set l1=1 --set clip=1 --set ssim=1 --set adversarial=0 --set feature_matching=0 \
  --set low_pass_perceptual=0 --set low_pass=0 --set high_pass=0 --set edge_l1=0 \
  --set features="$features" --set perceptual=0.02 --set style=0 \
  --set learning_rate=4e-4 --set warmup=20 --set total_steps=$((1310 * scale)) --set beta1=0.9 --set beta2=0.99
