#!/usr/bin/env bash
# `just gpu-software` runs this. It checks the GPU code on Mesa's software driver for Vulkan (lavapipe): our own kernels
# against Burn's operations, the golden numbers, and some training steps against the CPU. If the driver is missing, root
# installs it on Debian or Ubuntu.
set -euo pipefail
cd "$(dirname "$0")/.."

icd() { find /usr/share/vulkan/icd.d /usr/local/share/vulkan/icd.d /etc/vulkan/icd.d -name 'lvp_icd*.json' 2>/dev/null | head -n 1 || true; }
step() { printf '\n== %s\n' "$*"; }

step "the driver"
if [ -z "$(icd)" ]; then
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && apt-get install -y -qq mesa-vulkan-drivers >/dev/null
  else
    echo "Mesa's software driver for Vulkan is missing; on Debian and Ubuntu: sudo apt-get install mesa-vulkan-drivers" >&2
    exit 1
  fi
fi
# Allow only this driver. Older loaders know only the second variable.
VK_DRIVER_FILES=$(icd)
export VK_DRIVER_FILES VK_ICD_FILENAMES=$VK_DRIVER_FILES
echo "$VK_DRIVER_FILES"

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
# Use separate caches, also for Mesa, so that the first run starts with empty ones.
export XDG_CACHE_HOME=$place/cache
if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
  export XDG_RUNTIME_DIR=$place/runtime
  mkdir -m 700 "$XDG_RUNTIME_DIR"
fi

step "the kernels against Burn's operations"
cargo test --features wgpu --lib ops::cube

step "the build"
cargo build --release --features wgpu
lab=$(realpath "${CARGO_TARGET_DIR:-target}/release/coconut-lab")

for arch in gpt2 llama; do
  step "golden numbers of $arch"
  "$lab" verify "tests/fixtures/$arch" --device wgpu
done

cp tests/fixtures/tiny.toml "$place"
cd "$place"
train() {
  step "training on $2, as $1"
  local began=$SECONDS
  "$lab" run --headless --config tiny.toml --steps 5 --name "$1" --set eval.every=5 --set "run.device=$2"
  "$lab" export metrics "$1" --out "$1.csv"
  echo "$1: $((SECONDS - began)) s"
}
train cpu cpu
train first wgpu
train second wgpu

step "the cache"
ls -l "$XDG_CACHE_HOME/coconut-lab/default.db"

step "losses against the CPU's"
for run in first second; do
  # Compare every loss of every step, and report those that differ by more than the allowed difference.
  awk -F, -v run="$run" -v allowed=1e-4 '
    FNR == 1 { for (at = 1; at <= NF; at++) if (FNR == NR) name[at] = $at; next }
    FNR == NR { for (at = 1; at <= NF; at++) cpu[FNR, at] = $at; rows++; next }
    { seen++
      for (at = 1; at <= NF; at++) if (name[at] ~ /^(valid_)?loss_/) {
        if (($at == "") != (cpu[FNR, at] == "")) { printf "%s: %s is there once only, in row %d\n", run, name[at], FNR - 1; bad++ }
        if ($at == "") continue
        compared++
        off = $at - cpu[FNR, at]; if (off < 0) off = -off
        if (off > most) most = off
        if (!(off <= allowed)) { printf "%s: %s is %s, on the CPU %s, in row %d\n", run, name[at], $at, cpu[FNR, at], FNR - 1; bad++ }
      } }
    END {
      printf "%s: %d losses of %d steps, largest difference %.1e, allowed %.0e\n", run, compared, seen, most, allowed
      if (bad || seen != rows || compared < 20) exit 1
    }' cpu.csv "$run.csv"
done
