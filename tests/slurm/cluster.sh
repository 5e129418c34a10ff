#!/usr/bin/env bash
# A real Slurm on this one machine, for tests: no systemd, no accounting, two pretended GPUs.
#
#   cluster.sh start    install Slurm if missing, start it, wait until the node takes jobs
#   cluster.sh status   say what runs; exit 0 only if the node takes jobs
#   cluster.sh tasks    print a line per task that ran: its job, its step, its CUDA_VISIBLE_DEVICES
#   cluster.sh stop     end all jobs and daemons, remove the devices and the configuration
#
# Needs root on a Debian or Ubuntu machine or container. It never touches a Slurm that it did not
# set up itself.
set -euo pipefail

readonly MARKER="# Written by TATR's tests/slurm/cluster.sh: a throw-away cluster, safe to delete."
readonly CONF_DIR=/etc/slurm  # the default place: job steps start without SLURM_CONF
readonly STATE_DIR=${TATR_SLURM_STATE:-/tmp/tatr-slurm}
readonly GPU_COUNT=2
readonly START_TIMEOUT=60  # seconds until the node has to be idle
readonly STOP_TIMEOUT=15   # seconds until jobs and daemons have to be gone

# The tests need a few jobs at a time and jobs that ask for a few GB, also on a small machine.
# Slurm only counts these here, it enforces nothing.
readonly MIN_CPUS=4
readonly MIN_MEMORY_MB=32000

say() { printf 'cluster.sh: %s\n' "$*"; }

die() {
  printf 'cluster.sh: error: %s\n' "$*" >&2
  exit 1
}

# --- guards -------------------------------------------------------------------------------------

is_ours() { # FILE: does not exist, or was written by this script
  [[ ! -e $1 || $(head -n 1 "$1") == "$MARKER" ]]
}

refuse_foreign_slurm() {
  [[ -z ${SLURM_CONF:-} ]] ||
    die "SLURM_CONF is set ($SLURM_CONF): this machine belongs to a cluster, not to tests"
  [[ -z ${SLURM_JOB_ID:-} ]] || die "running inside Slurm job ${SLURM_JOB_ID}, so on a real cluster"
  local file
  for file in slurm.conf gres.conf; do
    is_ours "$CONF_DIR/$file" ||
      die "$CONF_DIR/$file was not written by this script; refusing to touch an existing cluster"
  done
  refuse_foreign_daemons
}

refuse_foreign_daemons() { # a node can also get its configuration over the network, without a file
  local entry daemon pid parent ours
  for entry in /proc/[0-9]*; do
    daemon=$(cat "$entry/comm" 2>/dev/null) || continue
    daemon=${daemon%-wlm} # Debian's name for its build of slurmctld and slurmd
    [[ $daemon == slurmd || $daemon == slurmctld ]] || continue
    pid=${entry#/proc/}
    parent=$(sed -n 's/^PPid:[[:space:]]*//p' "$entry/status" 2>/dev/null) || continue
    if has_ended "$pid"; then continue; fi
    ours=$(pid_of "$daemon") || ours=none
    [[ $pid == "$ours" || $parent == "$ours" ]] || # a child on its way to become something else
      die "$daemon runs already (process $pid) and was not started by this script"
  done
}

require_root() {
  [[ $EUID -eq 0 ]] || die "needs root (daemons, /dev and $CONF_DIR); try a container"
}

# --- processes ----------------------------------------------------------------------------------

has_ended() { # PROCESS: gone, or a zombie that nobody reaps, as in a container without an init
  local state
  state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || return 0
  [[ -z $state || $state == Z ]]
}

pid_of() { # DAEMON: print its process id if the one that we started still runs
  local pid_file=$STATE_DIR/$1.pid pid
  [[ -s $pid_file ]] || return 1
  pid=$(<"$pid_file")
  # A process id can be reused after a crash, so the name has to fit too (it may end in "-wlm").
  if has_ended "$pid" || [[ $(<"/proc/$pid/comm") != "$1"* ]]; then return 1; fi
  printf '%s\n' "$pid"
}

wait_until() { # SECONDS COMMAND...: poll, fail when the time is over
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.2
  done
}

launch() { # DAEMON ARGUMENTS...: into a log, lest a caller waits for the end of our output for ever
  local daemon=$1
  shift
  pid_of "$daemon" >/dev/null && return
  "$daemon" "$@" </dev/null >>"$STATE_DIR/$daemon.out" 2>&1 ||
    fail_with_logs "$daemon did not start"
}

terminate() { # DAEMON
  local pid
  pid=$(pid_of "$1") || return 0 # does not run
  kill -TERM "$pid"
  # Not until its pid file is gone: a daemon removes that first and then still saves its state.
  wait_until "$STOP_TIMEOUT" has_ended "$pid" || kill -KILL "$pid"
}

fail_with_logs() {
  local log
  for log in "$STATE_DIR"/*.out "$STATE_DIR"/*.log; do
    [[ -s $log ]] || continue
    printf -- '--- the end of %s\n' "$log" >&2
    tail -n 15 "$log" >&2
  done
  die "$*"
}

# --- start --------------------------------------------------------------------------------------

install_packages() {
  if type -P slurmctld slurmd sbatch munged >/dev/null; then return; fi # all of them are there
  command -v apt-get >/dev/null || die "Slurm is missing and there is no apt-get to install it"
  say "installing slurm-wlm and munge"
  export DEBIAN_FRONTEND=noninteractive
  local log
  log=$(mktemp)
  if ! (apt-get update && apt-get install -y --no-install-recommends slurm-wlm munge) &>"$log"; then
    tail -n 20 "$log" >&2
    die "apt-get could not install slurm-wlm and munge"
  fi
  rm -f "$log"
}

make_state_dir() {
  if [[ -L $STATE_DIR || (-e $STATE_DIR && ! -O $STATE_DIR) ]]; then
    die "$STATE_DIR exists and is not ours"
  fi
  mkdir -p "$STATE_DIR/controller" "$STATE_DIR/node"
  chmod 755 "$STATE_DIR" # munge refuses a socket in a directory that others can write to
}

make_gpus() { # character devices: with regular files Slurm would leave CUDA_VISIBLE_DEVICES empty
  local index
  for ((index = 0; index < GPU_COUNT; index++)); do
    [[ -c /dev/fakegpu$index ]] && continue
    mknod -m 666 "/dev/fakegpu$index" c 1 3 ||
      die "may not create devices (mknod); give the container the MKNOD capability"
  done
}

at_least() { echo $(($1 > $2 ? $1 : $2)); }

write_config() {
  local hardware node cpus memory
  hardware=$(slurmd -C | head -n 1)
  node=$(sed -E 's/.*NodeName=([^ ]+).*/\1/' <<<"$hardware")
  cpus=$(at_least "$(sed -E 's/.* CPUs=([0-9]+).*/\1/' <<<"$hardware")" "$MIN_CPUS")
  memory=$(at_least "$(sed -E 's/.*RealMemory=([0-9]+).*/\1/' <<<"$hardware")" "$MIN_MEMORY_MB")
  mkdir -p "$CONF_DIR"
  cat >"$CONF_DIR/slurm.conf" <<CONF
$MARKER
ClusterName=tatr
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$STATE_DIR/munge.socket
StateSaveLocation=$STATE_DIR/controller
SlurmdSpoolDir=$STATE_DIR/node
SlurmctldPidFile=$STATE_DIR/slurmctld.pid
SlurmdPidFile=$STATE_DIR/slurmd.pid
SlurmctldLogFile=$STATE_DIR/slurmctld.log
SlurmdLogFile=$STATE_DIR/slurmd.log
MailProg=/bin/true
# No control groups: a container seldom may use them.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
PropagateResourceLimits=NONE
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
# No database: squeue is the only way to ask how a job ended, so it has to remember it for a while.
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
MinJobAge=600
TaskProlog=$STATE_DIR/task_prolog.sh
# Start jobs at once.
SchedulerParameters=batch_sched_delay=0,sched_interval=1
ReturnToService=2
# Believe the next line, also where it claims more than the machine has.
SlurmdParameters=config_overrides
NodeName=$node NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory Gres=gpu:$GPU_COUNT State=UNKNOWN
PartitionName=test Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF
  cat >"$CONF_DIR/gres.conf" <<CONF
$MARKER
Name=gpu File=/dev/fakegpu[0-$((GPU_COUNT - 1))]
CONF
}

write_task_prolog() { # the only place that sees the environment in which a job's own commands run
  cat >"$STATE_DIR/task_prolog.sh" <<PROLOG
#!/bin/sh
exec >>"$STATE_DIR/tasks.tsv"
printf '%s\t%s\t%s\n' "\$SLURM_JOB_ID" "\$SLURM_STEP_ID" "\$CUDA_VISIBLE_DEVICES"
PROLOG
  chmod +x "$STATE_DIR/task_prolog.sh"
}

start_munge() { # our own key and socket, so that a munge of the machine's own is left alone
  if [[ ! -s $STATE_DIR/munge.key ]]; then
    (umask 077 && head -c 128 /dev/urandom >"$STATE_DIR/munge.key")
  fi
  launch munged --key-file="$STATE_DIR/munge.key" --socket="$STATE_DIR/munge.socket" \
    --pid-file="$STATE_DIR/munged.pid" --log-file="$STATE_DIR/munged.log" \
    --seed-file="$STATE_DIR/munge.seed"
}

takes_jobs() { [[ $(sinfo --noheader --format=%t 2>/dev/null) =~ ^(idle|mix|alloc)$ ]]; }

all_run() {
  local daemon
  for daemon in munged slurmctld slurmd; do
    pid_of "$daemon" >/dev/null || return 1
  done
}

start() {
  require_root
  refuse_foreign_slurm
  install_packages
  if all_run && takes_jobs; then
    say "already running"
    return
  fi
  stop_quietly # what a crash may have left
  make_state_dir
  make_gpus
  : >"$STATE_DIR/tasks.tsv"
  write_config
  write_task_prolog
  start_munge
  launch slurmctld
  launch slurmd
  wait_until "$START_TIMEOUT" takes_jobs ||
    fail_with_logs "the node takes no jobs after $START_TIMEOUT s"
  say "running: $(sinfo --noheader --format='node %n, %c CPUs, %m MB, %G')"
}

# --- stop and status ----------------------------------------------------------------------------

no_jobs() { [[ -z $(squeue --noheader --states=RUNNING,COMPLETING 2>/dev/null) ]]; }

cancel_jobs() { # before the daemons go: a job's own processes would outlive them
  if ! all_run || ! takes_jobs; then return 0; fi
  scancel --partition=test || true
  wait_until "$STOP_TIMEOUT" no_jobs || say "some jobs did not end"
}

stop_quietly() { # after refuse_foreign_slurm: what is in these places is ours
  cancel_jobs
  terminate slurmd
  terminate slurmctld
  terminate munged
  local index
  for ((index = 0; index < GPU_COUNT; index++)); do rm -f "/dev/fakegpu$index"; done
  rm -f "$CONF_DIR/slurm.conf" "$CONF_DIR/gres.conf"
  if [[ -O $STATE_DIR && ! -L $STATE_DIR ]]; then rm -rf "$STATE_DIR"; fi
}

stop() {
  require_root
  refuse_foreign_slurm
  stop_quietly
  say "stopped"
}

status() {
  local daemon pid
  for daemon in munged slurmctld slurmd; do
    if pid=$(pid_of "$daemon"); then say "$daemon runs ($pid)"; else say "$daemon does not run"; fi
  done
  if ! all_run || ! takes_jobs; then die "the node takes no jobs"; fi
  sinfo --Node --long
}

case ${1:-} in
  start) start ;;
  stop) stop ;;
  status) status ;;
  tasks) cat "$STATE_DIR/tasks.tsv" ;;
  *) die "usage: $0 start|status|tasks|stop" ;;
esac
