#!/usr/bin/env bash
# Runs the checks of docs/gpu-checks.md on a machine with an NVIDIA GPU, and prints a short table.
#
#   tests/gpu-checks.sh BINARY OUT [PART…]      parts: verify run again bf16 cpu resume profile bench torch generate
#
# Each part has its own time limit, so that a part that hangs does not take the time of the others. Logs stay in OUT.
set -u
here=$(cd "$(dirname "$0")/.." && pwd)
binary=$(realpath "$1") out=$(realpath -m "$2")
shift 2
parts=${*:-verify run bf16 resume profile bench torch generate}
mkdir -p "$out"
export CUDA_PATH=${CUDA_PATH:-/usr/local/cuda} XDG_CACHE_HOME=${XDG_CACHE_HOME:-/tmp/coconut-cache}
work=${WORK:-/tmp/coconut-gpu}
mkdir -p "$work" && cd "$work"
began=$SECONDS
rm -f "$out/failed"

# Arguments: name, seconds, command. Runs the command with a time limit, keeps its output, reports exit code and time.
check() {
  local name=$1 limit=$2 start=$SECONDS
  shift 2
  timeout "$limit" "$@" >"$out/$name.log" 2>&1
  local code=$?
  [ $code = 0 ] || echo "$name" >>"$out/failed"
  echo "$name: exit $code after $((SECONDS - start)) s (at $((SECONDS - began)) s)"
}

for part in $parts; do
  case $part in
    verify)
      check verify-gpt2 240 "$binary" verify "$here/tests/fixtures/gpt2" --device cuda &
      check verify-llama 240 "$binary" verify "$here/tests/fixtures/llama" --device cuda &
      check verify-gpt2-bf16 240 "$binary" verify "$here/tests/fixtures/gpt2" --device cuda --dtype bf16 &
      check verify-llama-bf16 240 "$binary" verify "$here/tests/fixtures/llama" --device cuda --dtype bf16 &
      wait
      tail -n 4 "$out"/verify-*.log
      ;;
    run) check run 300 "$binary" run --headless --config "$here/configs/quickstart.toml" --no-follow --steps 300 \
      --name gpu --set run.device=cuda --set checkpoint.every=100 ;;
    again) check again 120 "$binary" run --headless --config "$here/configs/quickstart.toml" --no-follow --steps 20 \
      --name again --set run.device=cuda ;;
    bf16) check bf16 200 "$binary" run --headless --config "$here/configs/quickstart.toml" --no-follow --steps 300 \
      --name bf16 --set run.device=cuda --set run.dtype=bf16 ;;
    cpu) check cpu 300 "$binary" run --headless --config "$here/configs/quickstart.toml" --no-follow --steps 300 \
      --name cpu --set run.device=cpu ;;
    resume) check resume 100 "$binary" resume gpu --from 100 --steps 200 --headless ;;
    profile) check profile 200 "$binary" profile --device cuda --kinds plain,isolated,joint ;;
    bench) check bench 240 "$binary" bench --device cuda --dtype bf16 --vocab 50304 --time 1024 --width 768 --heads 12 \
      --layers 12 --batch 16 --recycled 128 --steps 5 ;;
    torch) check torch 200 python3 "${PEER:-$here/../shared/peer/torch_steps.py}" --device cuda --dtype bf16 --compile \
      --vocab 50304 --time 1024 --width 768 --heads 12 --layers 12 --batch 16 --recycled 128 --steps 5 \
      --kinds "${KINDS:-plain,dense,isolated}" ;;
    generate) check generate 120 "$binary" generate --model gpu --device cuda --ids 1,2,3 \
      --policy entropy:start=1,stop=0.5 ;;
    *) echo "no part $part" ;;
  esac
  log=$out/$part.log
  [ -f "$log" ] && tail -n "${LINES_SHOWN:-12}" "$log"
done
for run in gpu bf16 again cpu; do
  folder=$(ls -d "$work"/checkpoints/*-"$run" 2>/dev/null | tail -n 1)
  [ -n "$folder" ] && "$binary" export metrics "$folder" --out "$out/$run.csv" >/dev/null 2>&1
done
if [ -s "$out/failed" ]; then
  echo "failed: $(tr '\n' ' ' <"$out/failed")"
  exit 1
fi
