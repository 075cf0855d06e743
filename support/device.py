"""Computing on a device: which one, in which precision, one check of it, and the CPU's memory and speed."""

import contextlib
import copy
import ctypes
import platform
import re
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from support.errors import OUT_OF_MEMORY, UserError

CPU = torch.device("cpu")
MEMINFO = Path("/proc/meminfo")
CHECKED = 64  # how many digits a device is checked with
# The largest errors of a device's logits and gradient, as norms relative to the CPU's results in float32. Networks of
# three sizes, new and trained, were off by at most 0.0015 and 0.08 in TF32, which an accelerator may use for float32,
# and by 0.012 and 0.12 in bfloat16. A gradient of zeros is off by 1.
TOLERANCES = {torch.float32: (0.01, 0.3), torch.bfloat16: (0.05, 0.5)}


def best_device():
    """The accelerator (CUDA, ROCm, MPS, XPU, …) if there is one, else the CPU: a torch.device."""
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else CPU


def best_precision(device):
    """torch.bfloat16 if the device is known to compute it in hardware, else torch.float32, which is then faster."""
    if device.type == "cpu":
        is_known = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    else:
        is_known = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if is_known else torch.float32


def autocast(device, precision):
    """A context in which matrix products on `device` are computed in `precision`, torch.float32 or torch.bfloat16."""
    if precision == torch.float32:  # not every device supports autocast
        return contextlib.nullcontext()
    return torch.autocast(device.type, precision)


def memory_format(device):
    """The memory format of a network on `device`: channels_last, but not on MPS, where it gave wrong gradients."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def device_name(device):
    """The device in words, such as "CPU (AVX512, 2 threads)" or "CUDA (NVIDIA H200)"."""
    if device.type == "cpu":
        return f"CPU ({torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads)"
    module = torch.get_device_module(device)
    return device.type.upper() + (f" ({module.get_device_name(device)})" if hasattr(module, "get_device_name") else "")


@torch.inference_mode()
def predict(model, images):
    """Logits, float32 [N, 10], of images, uint8 [N, 1, 28, 28], computed on their device, in eval mode."""
    model.eval()
    # In float32 everywhere, so that the answers are the same on every machine; more than 500 at once need more memory.
    return torch.cat([model(batch.float() / 255) for batch in images.split(500)])


def trusted_device(model, images, labels, precision):
    """The device and the torch.dtype to compute with: the best device if it computes correctly, else the CPU.

    The device's logits and gradient for a batch are compared with the CPU's. If they differ, or the device fails, a
    line on standard error says so. If it has too little memory, that error is raised: the CPU would take hours.
    model: a myCNN on the CPU, which is not changed. images: uint8 [N, 1, 28, 28], labels: int64 [N], both on the CPU.
    precision: a value of train.py's PRECISION: "auto" (the device's best one), "float32" or "bfloat16".
    """

    def with_precision(device):
        return device, best_precision(device) if precision == "auto" else getattr(torch, precision)

    device, dtype = with_precision(best_device())
    if device == CPU:
        return device, dtype
    batch = images[:CHECKED], labels[:CHECKED]
    expected = _logits_and_gradient(model, *batch, CPU, torch.float32)
    try:
        found = _logits_and_gradient(model, *batch, device, dtype)
        differences = [(f - e).norm() / e.norm() for f, e in zip(found, expected, strict=True)]
        if all(difference <= most for difference, most in zip(differences, TOLERANCES[dtype], strict=True)):
            return device, dtype
        trouble = "gives wrong results for this network"
    except Exception as error:  # noqa: BLE001 (whatever a device and its driver raise)
        reason = str(error).split("\n")[0] or type(error).__name__
        if re.search(OUT_OF_MEMORY, reason):
            raise
        trouble = f"fails ({reason})"
    tqdm.write(f"{device.type.upper()} {trouble}: the CPU is used instead", file=sys.stderr)
    return with_precision(CPU)


def _logits_and_gradient(model, images, labels, device, precision):
    """A device's results for a batch: the logits, and the gradient of all parameters as one vector, on the CPU."""
    model = copy.deepcopy(model).to(device, memory_format=memory_format(device))
    with autocast(device, precision):
        logits = model(images.to(device).float() / 255)
        loss = F.cross_entropy(logits, labels.to(device))
    loss.backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    return logits.detach().float().cpu(), gradient.cpu()


def check_memory(model, batch_size):
    """Raise UserError if the CPU has too little memory to train a myCNN, which may be on the meta device."""
    if best_device() != CPU or not MEMINFO.exists():  # only Linux kills a process without saying why
        return
    parameters = sum(p.numel() for p in model.parameters())
    outputs = 28 * 28 * len(model.conv1.bias) + 14 * 14 * len(model.conv2.bias) + 7 * 7 * len(model.conv3.bias)
    need = 5 * 4 * (parameters + outputs * batch_size)  # bytes: with gradients, Adam's moments and copies
    free = 1024 * int(re.search(r"MemAvailable: *(\d+)", MEMINFO.read_text())[1])
    if need > free:
        sizes = f"training needs about {need / 1e9:.1f} GB of memory, but only {free / 1e9:.1f} GB are free"
        raise UserError(f"{sizes}: lower BATCH_SIZE or DIM_HIDDEN in train.py")


def tune_cpu():
    """Remove two costs of training on a CPU. Call it before the first computation, which starts PyTorch's threads."""
    torch.set_flush_denormal(True)  # Adam's moments of dead units decay to denormal floats, which are slow
    # glibc gives each large freed block of memory back to the kernel, and gets it again a step later, page by page.
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # malloc.h's M_MMAP_MAX
        libc.mallopt(-1, -1)  # M_TRIM_THRESHOLD
