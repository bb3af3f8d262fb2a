#!/usr/bin/env bash
# Tries `experiment plan --slurm` with a real Slurm of one node on this machine: an array of six runs, which are preempted and
# queued again, ends with the same tables as an undisturbed experiment.
#
#   sudo tests/slurm.sh [path of coconut-lab]
#
# It installs Debian's slurm-wlm and munge, and writes /etc/slurm/slurm.conf if there is none of another hand. Needs root. Takes about
# five minutes: Slurm waits two minutes before it starts a task again.
set -euo pipefail
lab=$(realpath "${1:-target/release/coconut-lab}")
[ "$(id -u)" -eq 0 ] || { echo "tests/slurm.sh needs root: it starts munged, slurmctld and slurmd" >&2; exit 2; }
here=$(mktemp -d /tmp/coconut-slurm.XXXXXX)
mark="# written by coconut-lab tests/slurm.sh"

command -v slurmctld >/dev/null || { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq slurm-wlm munge >/dev/null; }
if [ -e /etc/slurm/slurm.conf ] && ! grep -qF "$mark" /etc/slurm/slurm.conf; then
  echo "/etc/slurm/slurm.conf is another's: not touched" >&2
  exit 2
fi

host=$(hostname -s)
mkdir -p /etc/slurm /var/spool/slurm-ctld /var/spool/slurmd /run/munge
cat > /etc/slurm/slurm.conf <<CONF
$mark
ClusterName=lab
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
StateSaveLocation=/var/spool/slurm-ctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldLogFile=$here/slurmctld.log
SlurmdLogFile=$here/slurmd.log
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
ReturnToService=2
SchedulerParameters=sched_interval=1,sched_min_interval=100000
JobRequeue=1
KillWait=30
MpiDefault=none
$(slurmd -C | head -1) NodeAddr=127.0.0.1 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=20 PreemptMode=REQUEUE MaxTime=INFINITE State=UP
PartitionName=high Nodes=ALL PriorityTier=10 MaxTime=INFINITE State=UP
CONF
# Older versions cannot do without control groups.
version=$(slurmd -V | grep -oE '[0-9]+\.[0-9]+' | head -1)
if [ "$(printf '%s\n23.11\n' "$version" | sort -V | head -1)" = 23.11 ]; then plugin=disabled
elif [ -d /sys/fs/cgroup/cpu ]; then plugin=cgroup/v1
else plugin=cgroup/v2
fi
echo "CgroupPlugin=$plugin" > /etc/slurm/cgroup.conf

stop() {
  scancel --user=root >/dev/null 2>&1 || true
  pkill slurmctld || true; pkill slurmd || true
}
trap stop EXIT
stop
rm -rf /var/spool/slurm-ctld/* /var/spool/slurmd/*
[ -e /etc/munge/munge.key ] || mungekey >/dev/null 2>&1 || { dd if=/dev/urandom of=/etc/munge/munge.key bs=1k count=1 status=none; }
chown -R munge: /etc/munge /run/munge /var/lib/munge /var/log/munge 2>/dev/null || true
chmod 700 /etc/munge; chmod 400 /etc/munge/munge.key; chmod 755 /run/munge
pgrep munged >/dev/null || runuser -u munge -- munged
slurmctld; slurmd
for _ in $(seq 50); do sinfo -h -o %T 2>/dev/null | grep -q idle && break; sleep 0.2; done
sinfo

cat > "$here/base.toml" <<'RECIPE'
[data]
make = "prosqa"
make_train = 200
make_held_out = 20
batch = 4
seq_len = 128
[model]
width = 64
layers = 2
heads = 4
[eval]
every = 200
batches = 1
[checkpoint]
every = 100
RECIPE
cat > "$here/exp.toml" <<'EXPERIMENT'
base = "base.toml"
seeds = [0, 1, 2]
hold = "steps"
budget = 600
primary = "valid_loss_plain_nats"
[[arms]]
name = "never"
set.recycle.every = 0
[[arms]]
name = "every-2"
set.recycle.every = 2
[[comparisons]]
a = "every-2"
b = "never"
EXPERIMENT
cd "$here"
sed 's|^base|dir = "checkpoints/slurm"\nbase|' exp.toml > slurm.toml
sed 's|^base|dir = "checkpoints/whole"\nbase|' exp.toml > whole.toml
"$lab" data make prosqa datasets/prosqa --train 200 --held-out 20 >/dev/null 2>&1 || true

"$lab" experiment plan slurm.toml --slurm --at-once 2 --option=--time=10 --option=--cpus-per-task=1 > job.sh
array=$(sbatch --parsable job.sh)
echo "job array $array"
# Others with a higher priority take the whole node, again and again.
for _ in 1 2 3 4; do
  sleep 6
  sbatch --parsable --partition=high --exclusive --time=1 --output=/dev/null --wrap "sleep 3" >/dev/null
done
for _ in $(seq 900); do
  [ -z "$(squeue -h -j "$array" 2>/dev/null)" ] && break
  sleep 1
done
squeue
grep -h "continuing\|starting" checkpoints/slurm/slurm/*.log | sort | uniq -c
again=$(grep -hc "^continuing" checkpoints/slurm/slurm/*.log | paste -sd+ | bc)
"$lab" experiment status slurm.toml
"$lab" experiment run whole.toml --headless >/dev/null
"$lab" experiment report slurm.toml --out slurm-report >/dev/null
"$lab" experiment report whole.toml --out whole-report >/dev/null
# Equal values to the last bit: what is left out are times.
python3 - slurm-report/report.md whole-report/report.md <<'PYTHON'
import re, sys
def cells(path):
    keep = [line for line in open(path, encoding="utf-8") if re.match(r"\| (never|every-2)", line)]
    return [re.sub(r"\| [0-9.]+ \|$", "|", line.strip()) if line.count("|") == 6 else line.strip() for line in keep]
a, b = map(cells, sys.argv[1:])
assert a and a == b, f"{a}\n{b}"
print("equal:", len(a), "rows of the reports")
PYTHON
[ "$again" -ge 2 ] || { echo "only $again tasks were continued: nothing was tried" >&2; exit 1; }
echo "ok: six runs, $again continued after a preemption"
