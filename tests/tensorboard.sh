#!/usr/bin/env bash
# Trains a short run with `record.tensorboard`, kills it, resumes it from its checkpoint, and reads the event files with
# TensorBoard's own EventAccumulator: each metric must have the values of `export metrics`, once for each step.
#
#   tests/tensorboard.sh BINARY [VENV]      VENV is created if it has no TensorBoard (needs a package index)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath "$1") venv=$(realpath -m "${2:-/tmp/coconut-tensorboard/venv}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import tensorboard' 2>/dev/null || "$venv/bin/pip" install --quiet 'tensorboard>=2.18'
cd "$work"

train() { "$binary" "$@" >>log.txt 2>&1; }
set_keys=(--set run.dir=runs --set run.name=events --set record.tensorboard=true --set checkpoint.every=40
  --set record.sync_seconds=0.1)
# Killed between two checkpoints: the event file then has steps that the resume makes again.
"$binary" run --config "$here/fixtures/tiny.toml" --headless --steps 100000 "${set_keys[@]}" >>log.txt 2>&1 &
pid=$!
for _ in $(seq 600); do
  sleep 0.2
  run=$(ls -d runs/*-events 2>/dev/null | tail -1 || true)
  [ -n "$run" ] && ls -d "$run"/step-* >/dev/null 2>&1 && sleep 1 && break
done
kill -9 $pid && wait $pid 2>/dev/null || true
checkpoint=$(ls -d "$run"/step-* | tail -1 | sed 's/.*step-0*//')
train resume "$run" --headless --steps $((checkpoint + 50)) || { tail -5 log.txt; exit 1; }
train export metrics "$run" --out metrics.csv
[ "$(ls "$run/tensorboard" | wc -l)" = 2 ] || { echo "expected two event files in $run/tensorboard"; exit 1; }

"$venv/bin/python" - "$run/tensorboard" metrics.csv <<'PYTHON'
import csv, sys
import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0}).Reload()
tags = set(events.Tags()["scalars"])
rows = list(csv.DictReader(open(sys.argv[2])))
metrics = [name for name in rows[0] if name not in ("run", "step") and any(row[name] for row in rows)]
assert set(metrics) == tags, set(metrics) ^ tags
values = 0
for name in metrics:
    expected = [(int(row["step"]), numpy.float32(row[name])) for row in rows if row[name]]
    found = [(event.step, numpy.float32(event.value)) for event in events.Scalars(name)]
    assert [step for step, _ in found] == [step for step, _ in expected], name
    numpy.testing.assert_array_equal([value for _, value in found], [value for _, value in expected], name)
    values += len(found)
print(f"{len(metrics)} metrics, {len(rows)} steps, {values} values: TensorBoard reads what `export metrics` writes")
PYTHON
