"""Times and bounds that the rules share, in seconds unless named otherwise."""

LAUNCH_GRACE_S = 10.0
"""How long a session may take until its shim claims the attempt (a loaded host is slow; a socket appears late)."""

LAUNCH_STUCK_S = 120.0
"""How long a screen may stand there without its shim having started, before the launch is given up."""

SESSION_GRACE_S = 2.0
"""How long a screen may stay listed after its payload ended before it counts as stale."""

CLOCK_DOUBT_S = 2.0
"""The clock of another machine is known to a second or two only: so much in the future counts as now."""

KILL_GRACE_S = 10.0
"""From SIGTERM to SIGKILL, and between further tries."""

RELEASE_POLL_S = 0.25
"""How soon to look again while a GPU, a session or a process tree is being let go; less often as time passes."""

RELEASE_POLL_MAX_S = 15.0
"""How soon to look again at what has not been let go for long, or at GPUs that others use."""

GPU_RELEASE_MAX_S = 30.0
"""How long memory on the GPUs of an ended attempt is taken for its own, still being released."""

FINISH_POLL_S = 0.05
"""How soon to look again when nothing is left but to see that all is over."""

REVOKE_RETRY_S = 1.0
"""How soon to look again at an attempt that is being revoked."""

GPU_UNKNOWN_POLL_S = 5.0
"""How soon to look again while nvidia-smi gives no answer and jobs wait for it."""

OUTPUT_GRACE_S = 2.0
"""How long an exit code 0 may wait for its output to become visible (network filesystems lag)."""

DISK_FREE_MIN_MIB = 8
"""Below this nothing is launched: an attempt needs room for its intent, its log and its exit record."""

DISK_POLL_S = 5.0
"""How soon to look again while the disk is full."""

INFRA_RETRY_MAX = 10
"""How often in a row an attempt may end through no fault of its job before a person has to look."""

INFRA_DELAY_MAX_S = 300.0
"""The longest wait between two such attempts."""

ENVIRONMENT_RETRY_S = 30.0
"""How long after an environment could not be set up one job is started to see; twice as long each further time."""

ENVIRONMENT_RETRY_MAX_S = 900.0
"""The longest wait between two such tries."""

SETUP_MAX_S = 30.0
"""What has been running for so long is taken to be past its setup."""

LOCK_RETRY_S = 15.0
"""How long to wait for a lock that another process holds."""

RETRY_JITTER = 0.1
"""Retries are spread over this share of their delay, so that a failed wave does not come back as one."""
