#!/usr/bin/env bash
# Stop the Slurm that start_slurm.sh started in FOLDER, and put back what stood in /etc/slurm before.
#
#   stop_slurm.sh FOLDER
#
# Ends the daemons named by the pid files in FOLDER and no other process. Can be repeated. FOLDER itself is kept.
set -uo pipefail

folder=$(realpath -m "${1:?usage: stop_slurm.sh FOLDER}")
system_folder=/etc/slurm
failed=0

# True while process $1 exists, is not a zombie, and still is program $2 (a number may have been given to another).
is_running() {
    [ -r "/proc/$1/stat" ] && [ "$(cat "/proc/$1/comm" 2>/dev/null)" = "$2" ] &&
        ! grep -q "^State:[[:space:]]*Z" "/proc/$1/status" 2>/dev/null
}

end() {
    local program=$1 pid_file=$2 pid
    [ -s "$pid_file" ] || return 0
    pid=$(tr -dc 0-9 <"$pid_file")
    for signal in TERM KILL; do
        is_running "$pid" "$program" || return 0
        kill -s "$signal" "$pid" 2>/dev/null
        for ((attempt = 0; attempt < 50; attempt++)); do
            is_running "$pid" "$program" || return 0
            sleep 0.1
        done
    done
    echo "stop_slurm.sh: $program (process $pid) does not end" >&2
    failed=1
}

# Jobs first: without the daemons nobody would end them.
if [ -s "$folder/slurmctld.pid" ] && is_running "$(tr -dc 0-9 <"$folder/slurmctld.pid")" slurmctld; then
    export SLURM_CONF=$folder/slurm.conf
    timeout 10 scancel --state=PENDING --user=root
    timeout 10 scancel --user=root
    for ((attempt = 0; attempt < 40; attempt++)); do
        [ -n "$(timeout 5 squeue --noheader --states=RUNNING,COMPLETING,PENDING 2>/dev/null)" ] || break
        sleep 0.25
    done
fi

end slurmd "$folder/slurmd.pid"
end slurmctld "$folder/slurmctld.pid"
end munged "$folder/munge/munged.pid"

for file in slurm.conf gres.conf; do
    # Only the link of this instance is removed: another one may have been started since.
    if [ "$(readlink "$system_folder/$file")" = "$folder/$file" ]; then
        rm "$system_folder/$file"
        if [ -e "$folder/replaced/$file" ] || [ -L "$folder/replaced/$file" ]; then
            mv "$folder/replaced/$file" "$system_folder/$file"
        fi
    fi
done
exit "$failed"
