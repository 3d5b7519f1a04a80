#!/usr/bin/env bash
# Brings up a SLURM of two nodes on this machine, for tests: Debian, root, loopback only, no accounting.
# Its files lie in the folder given; what runs already is left as it is. Exits with 77 where there is a SLURM already, or
# where its packages are not to be had.
set -euo pipefail
folder=$1
cpus=4 memory=32000 gpus=2 # of each node; nothing enforces them
controller_port=16817 node_port=16820

for file in slurm.conf gres.conf cgroup.conf; do
    if [ -e "/etc/slurm/$file" ] && [ ! -L "/etc/slurm/$file" ]; then
        echo "/etc/slurm/$file belongs to another SLURM" >&2
        exit 77
    fi
done

# Packages, without starting the services that they bring along.
missing=()
for package in slurmctld slurmd slurm-client munge; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || exit 77
fi

mkdir -p "$folder"/{etc,log,run,state,munge,spool/n1,spool/n2} /etc/slurm
chmod 755 "$folder"
chmod 700 "$folder/munge"
alive() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

# A daemon binds to the address of its host's name, so the daemons run where that name is localhost.
if unshare --uts true 2>/dev/null; then
    host=localhost
    there=(unshare --uts sh -c 'hostname localhost && exec "$@"' sh)
else
    host=$(hostname -s)
    there=()
fi

# Node daemons want a device file for each GPU, and a cgroup plugin that can do without systemd.
for ((gpu = 0; gpu < gpus; gpu++)); do
    [ -e "$folder/run/gpu$gpu" ] || mknod "$folder/run/gpu$gpu" c 1 3
done
printf 'AutoDetect=off\nNodeName=n[1-2] Name=gpu File=%s\n' "$folder/run/gpu[0-$((gpus - 1))]" >"$folder/etc/gres.conf"
echo "CgroupPlugin=cgroup/v1" >"$folder/etc/cgroup.conf"
cat >"$folder/etc/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller_port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.%n.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=5,sched_min_interval=0
AccountingStorageType=accounting_storage/none
ReturnToService=1
KillWait=10
MinJobAge=600
SlurmdTimeout=30
JobRequeue=1
GresTypes=gpu
NodeName=n[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$node_port-$((node_port + 1))] CPUs=$cpus RealMemory=$memory Gres=gpu:$gpus
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE
PartitionName=gpu Nodes=n[1-2] MaxTime=INFINITE
END

# Where everybody looks for it: what Snakemake starts within a job has lost its SLURM_CONF.
for file in slurm.conf gres.conf cgroup.conf; do
    ln -sfn "$folder/etc/$file" "/etc/slurm/$file"
done

if ! munge -n >/dev/null 2>&1; then
    mkdir -p /run/munge
    chmod 755 /run/munge
    [ -s "$folder/munge/key" ] || (umask 077 && head -c 128 /dev/urandom >"$folder/munge/key")
    munged --force --key-file="$folder/munge/key" --seed-file="$folder/munge/seed" \
        --socket=/run/munge/munge.socket.2 --pid-file="$folder/run/munged.pid" --log-file="$folder/log/munged.log"
fi
alive "$folder/run/slurmctld.pid" || "${there[@]}" slurmctld
for node in n1 n2; do
    alive "$folder/run/slurmd.$node.pid" || "${there[@]}" slurmd -N "$node"
done

for _ in $(seq 150); do
    [ "$(timeout 5 sinfo -h -N -p main -t idle,alloc,mix -o %N 2>/dev/null | wc -l)" = 2 ] && exit 0
    sleep 0.2
done
tail -n 15 "$folder"/log/*.log >&2
exit 1
