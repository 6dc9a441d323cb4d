"""The closed vocabularies. Adding a word here is adding it to the product."""

from __future__ import annotations

from enum import Enum


class _Word(str, Enum):
    """An enum whose members print, compare and serialise as their text."""

    __str__ = str.__str__


class JobStatus(_Word):
    """Where a job stands; anything finer is a `Reason`."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED_OOM = "failed_oom"
    FAILED_OTHER = "failed_other"
    STUCK = "stuck"


class ActionKind(_Word):
    """What the loop can do to a job."""

    LAUNCH = "launch"
    ADOPT = "adopt"
    COMPLETE = "complete"
    REQUEUE = "requeue"
    FAIL = "fail"
    KILL = "kill"


class Waves(_Word):
    """When a freed slot is filled: at once, or only when the whole wave is gone."""

    ROLLING = "rolling"
    BARRIER = "barrier"


class LauncherKind(_Word):
    """What an attempt runs inside of. AUTO is screen where it is installed, else process."""

    AUTO = "auto"
    SCREEN = "screen"
    PROCESS = "process"


class SuccessRule(_Word):
    """What makes an attempt completed: exit code 0 and its outputs, or the outputs alone."""

    EXIT_AND_OUTPUT = "exit_and_output"
    OUTPUT = "output"


class PreconditionKind(_Word):
    """What has to hold on the host before a job may start."""

    CHECKPOINT_EXISTS = "checkpoint_exists"
    FILE_EXISTS = "file_exists"
    DIR_EXISTS = "dir_exists"
    COMMAND = "command"


class RequestKind(_Word):
    """What a user can ask the loop to do."""

    RETRY = "retry"
    STOP = "stop"
    PAUSE = "pause"
    RESUME = "resume"
    FORGET_HOST = "forget_host"
    ACCEPT_SOURCE = "accept_source"


class Reason(_Word):
    """Why a job is where it is, or why an action is taken. One word for machines; a message goes with it."""

    # why a pending job is launched
    NEW_IN_SPEC = "NewInSpec"
    COMMAND_CHANGED = "CommandChanged"
    REQUEUED = "Requeued"
    RETRY_REQUESTED = "RetryRequested"

    # why a job waits
    PHASE_NOT_READY = "PhaseNotReady"
    NEEDS_STUCK = "NeedsStuck"
    PRECONDITION_NOT_MET = "PreconditionNotMet"
    NO_FREE_GPU = "NoFreeGpu"
    NO_SUCH_GPU = "NoSuchGpu"
    NO_FREE_SLOT = "NoFreeSlot"
    WAVE_NOT_SETTLED = "WaveNotSettled"
    DISK_FULL = "DiskFull"
    INPUTS_ELSEWHERE = "InputsElsewhere"
    UNCOMMITTED_CODE = "UncommittedCode"
    SNAPSHOT_NOT_READY = "SnapshotNotReady"
    PAUSED = "Paused"
    STOPPED_BY_USER = "StoppedByUser"
    NO_COMMAND = "NoCommand"

    # a probe gave no answer: nothing that depends on it is done
    HOST_UNKNOWN = "HostUnknown"
    GPU_UNKNOWN = "GpuUnknown"
    SCREEN_UNKNOWN = "ScreenUnknown"
    ATTEMPT_UNKNOWN = "AttemptUnknown"
    OUTPUT_UNKNOWN = "OutputUnknown"
    PRECONDITION_UNKNOWN = "PreconditionUnknown"

    # a live attempt
    STARTING = "Starting"
    RUNNING = "Running"
    SCREEN_GONE = "ScreenGone"
    STOPPING = "Stopping"
    ORPHAN = "Orphan"
    ADOPTED = "Adopted"

    # why an attempt is killed or cleaned up after
    STALE_SCREEN = "StaleScreen"
    HUNG_TAIL = "HungTail"
    STRAGGLERS = "Stragglers"

    # how an attempt ended well
    SUCCEEDED = "Succeeded"
    OUTPUT_EXISTS = "OutputExists"
    OUTPUT_FOUND = "OutputFound"

    # how an attempt failed
    GPU_OUT_OF_MEMORY = "GpuOutOfMemory"
    HOST_OUT_OF_MEMORY = "HostOutOfMemory"
    CODE_ERROR = "CodeError"
    OUTPUT_MISSING = "OutputMissing"
    KILLED_BY_SIGNAL = "KilledBySignal"
    COMMAND_NOT_FOUND = "CommandNotFound"
    ENVIRONMENT_BROKEN = "EnvironmentBroken"
    PAYLOAD_VANISHED = "PayloadVanished"

    # an attempt that ended through no fault of the job
    HOST_REBOOTED = "HostRebooted"
    LAUNCH_LOST = "LaunchLost"
    LOCK_HELD = "LockHeld"
    HOST_FORGOTTEN = "HostForgotten"
