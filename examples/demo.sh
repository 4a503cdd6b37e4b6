#!/bin/sh
# The demo: distill Sign Language Digits with three seeds, and measure what the images are worth.
# Settings were chosen on a validation part of the training split (docs/experiments.md), never on the test split.
set -eu
limbeck="$1/limbeck"
data=examples/data/sign_digits

run=1
while [ -e "demo/run-$run" ]; do run=$((run + 1)); done
out="demo/run-$run"

for seed in 0 1 2; do
    echo "distilling with seed $seed …"
    "$limbeck" distill --data "$data/train" --ipc 5 --seed "$seed" --out "$out/seed-$seed" \
        --set sampler=ddpm --set num_steps=50 --set strength=0.5 --set guidance_scale=3
done
echo "measuring what the images are worth …"
"$limbeck" evaluate "$out/seed-0" "$out/seed-1" "$out/seed-2" --train "$data/train" --test "$data/test"
echo "the distilled images, to look at: $out/seed-0/preview.png"
