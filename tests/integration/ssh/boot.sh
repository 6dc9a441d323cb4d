# The first process of a test host: it turns new, empty namespaces into a machine of its own, starts sshd, and reaps.
# boot.sh MACHINE HOME USER_HOME NAME STATE_MIB: what it knows comes in the folder MACHINE, seen as /run/exqhost.
set -eu
machine=$1 home=$2 user_home=$3 name=$4 state_mib=$5

# like a machine that has just booted: nothing of an earlier boot in /run and /tmp, the home as it was
mount -t tmpfs -o mode=0755 run /run
mkdir /run/exqhost /run/screen /run/sshd
chmod 1777 /run/screen
mount --bind "$machine" /run/exqhost
mount --bind "$home" "$user_home"
mount -t tmpfs -o mode=1777 tmp /tmp
if [ "$state_mib" != 0 ]; then # a disk of its own for states, small enough to fill
    mkdir -p "$user_home/.local/state"
    mount -t tmpfs -o "mode=0700,size=${state_mib}m" state "$user_home/.local/state"
fi
mount --bind /run/exqhost/boot_id /proc/sys/kernel/random/boot_id
echo "$name" >/proc/sys/kernel/hostname

cd /
/usr/sbin/sshd -f /run/exqhost/sshd_config -E /run/exqhost/sshd.log
sleep infinity & # `wait` takes in whatever is orphaned meanwhile
wait
