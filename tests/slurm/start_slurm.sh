#!/usr/bin/env bash
# Start a Slurm of one node that lives in one folder: its own munge key and socket, its own ports, fake GPUs.
#
#   start_slurm.sh FOLDER [GPUS] [CONTROLLER_PORT] [NODE_PORT]
#
# Needs root and Debian's slurm-wlm and munge; needs neither systemd nor cgroups. FOLDER must not exist yet, and its path
# must be short enough for a Unix socket. Prints nothing; afterwards SLURM_CONF=FOLDER/slurm.conf reaches the scheduler.
# stop_slurm.sh FOLDER undoes everything, also after a start that failed half-way.
set -euo pipefail

folder=$(realpath -m "${1:?usage: start_slurm.sh FOLDER [GPUS] [CONTROLLER_PORT] [NODE_PORT]}")
gpus=${2:-4}
controller_port=${3:-26817}
node_port=${4:-26818}
node=$(hostname -s)
scripts=$(dirname "$(realpath "$0")")
system_folder=/etc/slurm

if [ "$(id -u)" -ne 0 ]; then
    echo "start_slurm.sh: root is needed, to make device nodes and to link into $system_folder" >&2
    exit 2
fi
for program in munged slurmctld slurmd sinfo; do
    if ! PATH=$PATH:/usr/sbin command -v "$program" >/dev/null; then
        echo "start_slurm.sh: $program is not installed (apt-get install slurm-wlm munge)" >&2
        exit 2
    fi
done
PATH=$PATH:/usr/sbin

mkdir "$folder"
chmod 0755 "$folder"
mkdir "$folder/munge" "$folder/state" "$folder/spool" "$folder/log" "$folder/replaced"

give_up() {
    echo "start_slurm.sh: Slurm did not start; the ends of its logs:" >&2
    tail -n 15 "$folder"/log/* >&2 || true
    "$scripts/stop_slurm.sh" "$folder" || true
    exit 1
}
trap give_up ERR

# A private munge, so that the machine's own (if any) is left alone.
head -c 1024 /dev/urandom >"$folder/munge/key"
chmod 0400 "$folder/munge/key"
munged --force --num-threads=2 \
    --key-file="$folder/munge/key" --seed-file="$folder/munge/seed" \
    --socket="$folder/munge/socket" --pid-file="$folder/munge/munged.pid" --log-file="$folder/log/munged.log"

# A fake GPU is a character device with the numbers of /dev/null. Slurm schedules plain files as GPUs too, but does not
# set CUDA_VISIBLE_DEVICES for them.
for ((index = 0; index < gpus; index++)); do
    mknod "$folder/gpu$index" c 1 3
done
shards=$((4 * gpus))

cat >"$folder/gres.conf" <<GRES
AutoDetect=off
NodeName=$node Name=gpu Type=fake Flags=nvidia_gpu_env File=$folder/gpu[0-$((gpus - 1))]
NodeName=$node Name=shard Count=$shards
GRES

cat >"$folder/slurm.conf" <<SLURM
ClusterName=test
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$controller_port
SlurmdPort=$node_port
SlurmUser=root
SlurmdUser=root

AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge

StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log

# Works in a container: no cgroup tree is needed. The price: memory limits are not enforced.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none

# No accounting database: squeue must remember finished jobs instead of sacct.
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MinJobAge=3600

SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
GresTypes=gpu,shard
KillWait=2
CompleteWait=0
ReturnToService=2

# The node claims more cores than the machine may have, so that jobs queue for GPUs and not for cores.
SlurmdParameters=config_overrides
NodeName=$node NodeAddr=127.0.0.1 CPUs=16 RealMemory=16000 Gres=gpu:fake:$gpus,shard:$shards State=UNKNOWN
PartitionName=cpu Nodes=ALL MaxTime=INFINITE State=UP Default=YES
PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP
SLURM

# SLURM_CONF is not enough: Snakemake's job-step plugin drops every SLURM_ variable before it calls srun inside a job,
# and srun then reads the default path. What stood there is kept for stop_slurm.sh.
mkdir -p "$system_folder"
for file in slurm.conf gres.conf; do
    if [ -L "$system_folder/$file" ] && [ ! -e "$system_folder/$file" ]; then
        rm "$system_folder/$file" # left by an instance whose folder is gone
    elif [ -e "$system_folder/$file" ]; then
        mv "$system_folder/$file" "$folder/replaced/$file"
    fi
    ln -s "$folder/$file" "$system_folder/$file"
done

export SLURM_CONF=$folder/slurm.conf
slurmctld -c
slurmd -N "$node" -c

# A client whose controller does not answer retries for minutes, so every call has a limit.
for ((deadline = SECONDS + 30; SECONDS < deadline; )); do
    if [ "$(timeout 5 sinfo --noheader --format=%t 2>/dev/null | head -n 1)" = idle ]; then
        exit 0
    fi
    if ! kill -0 "$(cat "$folder/slurmctld.pid")" 2>/dev/null; then
        give_up
    fi
    sleep 0.25
done
give_up
