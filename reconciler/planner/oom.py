"""Out of memory, as programs really print it: which line of a log means it, and of which memory.

Two kinds, because the cure differs: GPU memory (wait, or go to another GPU) and the host's. The patterns are tried in
the order of `_KINDS`: a text that names a GPU allocator wins over a general one in the same line.
Not here on purpose: Triton's `OutOfResources` (a kernel that fits no block of this GPU fails the same way every time).
"""

from __future__ import annotations

import re

from reconciler.model.enums import Reason

_GPU = (
    # "HIP out of memory", "CUDA error: out of memory", "cudaMalloc failed: out of memory", "Cuda failure 2 'out of ..."
    r"\b(?:cuda|hip|xpu|mps|npu|musa)\w*\b[^\n]{0,60}\bout of memory",
    r"\b(?:CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|hipErrorOutOfMemory)\b",
    r"\b(?:cublas|cudnn|cusolver|cusparse|cufft|curand|rocblas|hipblas|miopen)\w*?_?alloc(?:ation)?_?failed\b",
    r"\bout of memory (?:error )?on (?:gpu|device)\b",
    # XLA and TensorFlow; a quota of a web service is RESOURCE_EXHAUSTED too, without these words
    r"\bRESOURCE_EXHAUSTED: (?:Out of memory while|Failed to allocate request|Error allocating device buffer)",
    r"\bResourceExhaustedError\b[^\n]{0,300}\b(?:allocator gpu|device:gpu)",
    r"\bOOM when allocating tensor\b[^\n]{0,300}\b(?:allocator gpu|device:gpu)",
    r"\bDst tensor is not initialized\b",
    # inference engines size their cache from what is free
    r"\bNo available memory for the cache blocks\b",
    r"\bFree memory on device \S{0,20} ?\([^)\n]*\) on startup is less than desired",
    r"\bNot enough memory\. Please try to increase --mem-fraction-static",
    r"\b(?:larger than the available KV cache memory|tokens that can be stored in KV cache)\b",
)
_HOST = (
    r"(?:^|[\s._(:])(?:Array|Arrow)?MemoryError\b",
    r"\bstd::bad_alloc\b",
    r"\bDefaultCPUAllocator\b[^\n]{0,40}\b(?:can't allocate|not enough) memory",
    r"\[Errno 12\]|\bCannot allocate memory\b|\bcannot allocate vector of size\b",
    r"\bDataLoader worker \([^)\n]*\) is killed by signal: (?:Killed|Bus error)",
    r"\bRESOURCE_EXHAUSTED: Out of memory allocating\b",
    r"\bOOM when allocating tensor\b[^\n]{0,300}\ballocator (?:mkl)?cpu\b",
    r"\bjava\.lang\.OutOfMemoryError\b|\bJavaScript heap out of memory\b",
    r"\bray\.exceptions\.OutOfMemoryError\b|\bnode running low on memory\b",
    # said by the kernel, by Slurm, by a shell whose command got SIGKILL, by a launcher whose worker did
    r"\boom[-_]kill(?:er)?\b[^\n]{0,40}\bevent|\bcgroup out-of-memory handler\b|\bExceeded (?:job|step) memory limit\b",
    r"\b[Oo]ut of memory: Kill(?:ed)? process\b",
    r"^\S{1,200}: line \d+:\s+\d+ Killed\b|^(?:zsh: )?[Kk]illed\s*$",
    r"\bSignal 9 \(SIGKILL\) received by PID\b|\bdied with <Signals\.SIGKILL: 9>",
)
_EITHER = (
    # no word on where: those who say no more than this run on accelerators
    r"\bOutOfMemoryError\b",
    r"\b(?:ResourceExhaustedError|RESOURCE_EXHAUSTED)\b[^\n]{0,200}\b(?:OOM|[Oo]ut of memory)\b",
    r"\bOOM when allocating tensor\b",
)


def _any(patterns: tuple[str, ...], inline_flags: str = "") -> re.Pattern[str]:
    return re.compile(inline_flags + "|".join(f"(?:{pattern})" for pattern in patterns))


_KINDS = (
    (Reason.GPU_OUT_OF_MEMORY, _any(_GPU, "(?i)")),
    (Reason.HOST_OUT_OF_MEMORY, _any(_HOST)),
    (Reason.GPU_OUT_OF_MEMORY, _any(_EITHER)),
)
_MAY_SAY_SO = re.compile(
    r"of[ _-]?memory|memory ?(?:error|alloc|limit)|(?:enough|free|available|cache|allocate|on) memory"
    r"|alloc\w*failed|bad_alloc|oom|kill|exhausted|errno 12|vector of size|dst tensor|kv cache",
    re.IGNORECASE,
)
"""Every line that one of the patterns fits has one of these: a quick look that spares most lines the long one."""
_ONLY_WARNS = re.compile(r"^.{0,80}?(?<!NCCL )\bwarn(?:ing)?\b|\bif\b", re.IGNORECASE)
"""Before the words that mean out of memory: the level of a log line, or the start of an advice."""
_WENT_ON = re.compile(
    r"not a failure|\b(?:skipping|skipped|ignoring|retrying|recovering|recovered|falling back)\b"
    r"|(?<!try )(?<!by )(?<!consider )\b(?:reducing|halving|lowering)\b.{0,20}\bbatch",
    re.IGNORECASE,
)


def may_tell_of_memory(text: str) -> bool:
    """Whether it is worth looking closer at `text`, which may have many lines."""
    return _MAY_SAY_SO.search(text) is not None


def memory_exhausted(line: str) -> Reason | None:
    """GPU_OUT_OF_MEMORY or HOST_OUT_OF_MEMORY when `line` reports it as what stopped the program; else None.

    A warning, an advice, or a note that the program goes on is none of these.
    """
    if not may_tell_of_memory(line):
        return None
    for reason, pattern in _KINDS:
        said = pattern.search(line)
        if said is not None:
            went_on = _ONLY_WARNS.search(line[: said.start()]) or _WENT_ON.search(line)
            return None if went_on else reason
    return None
