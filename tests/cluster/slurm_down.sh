#!/usr/bin/env bash
# Stops what slurm_up.sh has started, jobs first, and removes its links.
set -uo pipefail
folder=$1

if timeout 10 squeue -h >/dev/null 2>&1; then
    timeout 10 squeue -h -o %A | xargs -r timeout 10 scancel
    for _ in $(seq 100); do
        [ -z "$(timeout 5 squeue -h -o %A)" ] && break
        sleep 0.2
    done
fi
for file in "$folder"/run/{slurmd.n1,slurmd.n2,slurmctld,munged}.pid; do
    [ -s "$file" ] || continue
    pid=$(cat "$file")
    kill -TERM "$pid" 2>/dev/null
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null
    rm -f "$file"
done
for file in slurm.conf gres.conf cgroup.conf; do
    [ "$(readlink "/etc/slurm/$file")" = "$folder/etc/$file" ] && rm -f "/etc/slurm/$file"
done
exit 0
