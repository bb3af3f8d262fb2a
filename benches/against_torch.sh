#!/usr/bin/env bash
# Owns: comparing `coconut-lab bench` with the same steps in plain PyTorch, on this machine.
# Must not know: how either program makes a step.
# Invariant: a ratio compares two processes that ran directly after each other, with the same arguments.
set -euo pipefail

usage() {
  cat <<'END'
benches/against_torch.sh [--rounds N] [--kinds KINDS] [--steps N] [--warmup N] [--threads N]
                         [--device cpu|cuda] [--dtype f32|bf16] [--compile] [SHAPE…]

SHAPE is V,T,D,heads,layers,B,R: vocabulary, positions per row, width, heads, blocks, rows, recycled positions per row.
Default: 8192,256,256,4,6,4,32  512,128,128,4,4,16,16  50257,256,384,6,6,2,32

Each round runs, for each kind, our program and then PyTorch's script, each in its own process. So the peak memory is
that of the kind. The output is Markdown. A ratio is our number divided by PyTorch's; below 1, ours needs less. It is
the median over the rounds of the ratios of medians, with the minimum and maximum over the rounds. Lines of JSON go to
standard error as soon as they are measured.

PEER                 the PyTorch script (default: ../shared/peer/torch_steps.py next to the repository)
COCONUT_LAB_PYTHON   a Python with torch (default: python3)
COCONUT_LAB_BIN      the binary (default: builds it, with the feature cuda for --device cuda)
END
}

fail() { echo "error: $*" >&2; exit 1; }
whole() { [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1 = $2: a whole number from 1 on is expected"; }

repository=$(cd "$(dirname "$0")/.." && pwd)
peer=${PEER:-$repository/../shared/peer/torch_steps.py}
python=${COCONUT_LAB_PYTHON:-python3}
rounds=3 kinds=plain,dense,dense_through,isolated,joint,sequential device=cpu
both=() theirs=() shapes=()
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --compile) theirs+=("$1"); shift; continue ;;
    --rounds | --kinds | --steps | --warmup | --threads | --device | --dtype) [ $# -gt 1 ] || fail "$1 needs a value" ;;
    -*) fail "$1 is not an argument; --help names them" ;;
    *) shapes+=("$1"); shift; continue ;;
  esac
  case $1 in
    --rounds) whole "$1" "$2"; rounds=$2 ;;
    --kinds) kinds=$2 ;;
    --device) device=$2; both+=("$1" "$2") ;;
    *) both+=("$1" "$2") ;;
  esac
  shift 2
done
[ ${#shapes[@]} -gt 0 ] || shapes=(8192,256,256,4,6,4,32 512,128,128,4,4,16,16 50257,256,384,6,6,2,32)
for shape in "${shapes[@]}"; do
  [[ $shape =~ ^[0-9]+(,[0-9]+){6}$ ]] || fail "shape $shape: V,T,D,heads,layers,B,R is expected, seven whole numbers"
done

[ -f "$peer" ] || fail "$peer is not there; PEER names the peer's script"
"$python" -c 'import torch' 2>/dev/null || fail "$python has no torch. Make a Python that has it, and name it:
  python3 -m venv torch-env
  torch-env/bin/pip install torch --index-url https://download.pytorch.org/whl/cpu     # for CUDA: pip install torch
  COCONUT_LAB_PYTHON=torch-env/bin/python benches/against_torch.sh"

features=()
case $device in cuda*) features=(--features cuda) ;; esac
if [ -z "${COCONUT_LAB_BIN:-}" ]; then
  (cd "$repository" && cargo build --release "${features[@]}" >&2)
  COCONUT_LAB_BIN=${CARGO_TARGET_DIR:-$repository/target}/release/coconut-lab
fi

# Other load on the cores distorts the ratios: PyTorch's threads wait for each other at every operation.
load=$(cut -d' ' -f1 /proc/loadavg 2>/dev/null || echo unknown)
case $load in 0.[0-4]* | unknown) ;; *) echo "warning: the load average is $load: on a CPU others' work makes ratios meaningless" >&2 ;; esac

measured=$(mktemp)
trap 'rm -f "$measured"' EXIT
# Runs one measurement. Records shape, round, whose program, and the line of JSON, separated by tabs.
one() {
  local shape=$1 round=$2 whose=$3 line
  shift 3
  line=$("$@")
  printf '%s\t%s\t%s\t%s\n' "$shape" "$round" "$whose" "$line" | tee -a "$measured" >&2
}

for shape in "${shapes[@]}"; do
  IFS=, read -r v t d heads layers b r <<<"$shape"
  sizes=(--vocab "$v" --time "$t" --width "$d" --heads "$heads" --layers "$layers" --batch "$b" --recycled "$r")
  for ((round = 1; round <= rounds; round++)); do
    for kind in ${kinds//,/ }; do
      same=("${sizes[@]}" "${both[@]}" --kinds "$kind")
      one "$shape" "$round" ours "$COCONUT_LAB_BIN" bench "${same[@]}"
      one "$shape" "$round" theirs "$python" "$peer" "${same[@]}" "${theirs[@]}"
    done
  done
done

commit=$(git -C "$repository" describe --always --dirty 2>/dev/null || echo "no commit")
COMMIT=$commit LOAD=$load "$python" - "$measured" <<'END'
import collections, json, os, platform, statistics, sys

found = collections.defaultdict(dict)  # shape -> (kind, whose) -> round -> line
for row in open(sys.argv[1]):
    shape, round_, whose, line = row.rstrip("\n").split("\t")
    line = json.loads(line)
    found[shape].setdefault((line["kind"], whose), {})[int(round_)] = line


def ratio(ours, theirs, key="median_ms"):
    rounds = [r for r in ours if r in theirs and ours[r][key] is not None and theirs[r][key] is not None]
    each = [ours[r][key] / theirs[r][key] for r in rounds]
    return (statistics.median(each), min(each), max(each)) if each else None


def middle(lines, key):
    values = [line[key] for line in lines.values() if line[key] is not None]
    return statistics.median(values) if values else None


def number(value, form):
    return "-" if value is None else format(value, form)


def spread(value):
    return "- | -" if value is None else f"{value[0]:.2f} | {value[1]:.2f} to {value[2]:.2f}"


def processor():
    try:
        names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


first = next(iter(next(iter(found.values())).values()))[1]
print(f"{processor()}, {os.cpu_count()} processors, {platform.system()} {platform.release()}, load average {os.environ['LOAD']} before; ", end="")
print(f"device {first['device']}, {first['dtype']}; {first['peer']} ({os.environ['COMMIT']}), ", end="")
theirs = [line for kinds in found.values() for (_, whose), lines in kinds.items() if whose == "theirs" for line in lines.values()]
print(f"{theirs[0]['peer']}{', compiled' if theirs[0].get('compile') else ''}, Python {platform.python_version()}")
if theirs[0]["device"].startswith("cuda"):
    import torch
    print(f"GPU: {torch.cuda.get_device_name()}. Memory: ours is what the allocator held, the peer's what was allocated in it.")
for shape, kinds in found.items():
    v, t, d, heads, layers, b, r = shape.split(",")
    print(f"\nV {v}, T {t}, D {d}, heads {heads}, layers {layers}, B {b}, R {r}; ", end="")
    params = {line["params"] for lines in kinds.values() for line in lines.values()}
    print(f"{params.pop():,} parameters\n" if len(params) == 1 else f"PARAMETERS DIFFER: {sorted(params)}\n")
    print("| step | ours, ms | PyTorch, ms | ratio | least to greatest | ours, MiB | PyTorch, MiB | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind in dict.fromkeys(kind for kind, _ in kinds):
        ours, peers = kinds[kind, "ours"], kinds[kind, "theirs"]
        ms = [number(middle(lines, "median_ms"), ".1f") for lines in (ours, peers)]
        mib = [number(middle(lines, "peak_mib"), ".0f") for lines in (ours, peers)]
        memory = ratio(ours, peers, "peak_mib")
        print(f"| {kind} | {ms[0]} | {ms[1]} | {spread(ratio(ours, peers))} | {mib[0]} | {mib[1]} | {number(memory and memory[0], '.2f')} |")
    if ("isolated", "ours") in kinds and ("sequential", "theirs") in kinds:
        both = ratio(kinds["isolated", "ours"], kinds["sequential", "theirs"])
        print(f"\nOur isolated step by the peer's sequential one: {both[0]:.3f} ({both[1]:.3f} to {both[2]:.3f}).")
END
