"""Which device, which precision, whether the device is to be trusted, and a CPU set up for speed."""

import contextlib
import copy
import ctypes
import math
import platform
import sys
from pathlib import Path

import torch
from tqdm import tqdm

CPU = torch.device("cpu")
CHECKED = 64  # digits that a device is checked with
# How far a device's logits, and a step of each layer, may lie from those of the CPU in float32: the norm of the
# difference over the norm of the CPU's. Measured on a CPU, for new networks of the report's widths and two narrower
# ones, to [4, 8, 16, 32, 16], and for trained ones: logits at most 0.0008 in float32 (with products as TF32 rounds
# them; 0.0003 from float64), 0.0096 in bfloat16; steps at most 0.16 and 0.37 (the report's widths: 0.09 and 0.16):
# rounding decides which pixel a pool takes and which units are lit. So logits have five times that or more, steps twice
# or more; a layer that stands still is 1.0 off. In still narrower networks, which need no accelerator, bfloat16 moved
# steps by up to 0.91.
TOLERANCES = {torch.float32: (0.005, 0.5), torch.bfloat16: (0.05, 0.75)}


def best_device():
    """The torch.device to compute on: an accelerator when available (CUDA, as in the report; ROCm, MPS, XPU, …), else
    the CPU.
    """
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else CPU


def best_precision(device):
    """torch.bfloat16 where the device is known to compute it in hardware, else torch.float32.

    That is CUDA from Ampere on, ROCm from CDNA and RDNA 3 on, an XPU with matrix units, and a CPU with AMX or
    AVX512-BF16; elsewhere bfloat16 is emulated and slower.
    """
    supported = False
    if device.type == "cpu":
        supported = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    elif device.type == "cuda" and torch.version.hip:
        name = torch.cuda.get_device_properties(device).gcnArchName
        supported = name.startswith(("gfx908", "gfx90a", "gfx94", "gfx95", "gfx11", "gfx12"))
    elif device.type == "cuda":
        supported = torch.cuda.get_device_capability(device) >= (8, 0)
    elif device.type == "xpu":
        supported = getattr(torch.xpu.get_device_properties(device), "has_subgroup_matrix_multiply_accumulate", False)
    return torch.bfloat16 if supported else torch.float32


def precision_on(device, precision):
    """The torch.dtype that train.py's PRECISION means on a device: "auto" (its best one), "float32" or "bfloat16"."""
    return best_precision(device) if precision == "auto" else getattr(torch, precision)


def autocast(device, precision):
    """A context in which products on `device` are computed in `precision`, torch.float32 or torch.bfloat16."""
    if precision == torch.float32:  # not every device has an autocast to turn off
        return contextlib.nullcontext()
    return torch.autocast(device.type, precision)


def memory_format(device):
    """The memory format of a network on `device`: channels_last, but not on MPS, whose BatchNorm has computed wrong
    gradients in it.
    """
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def has_fused_adam(device):
    """Whether PyTorch, from 2.6 on, has torch.optim.Adam(fused=True) for the device."""
    return device.type in ("cpu", "cuda", "mps", "xpu")


def random_state(device):
    """The state of the random number generators that a training on the device draws from: a dict of uint8 tensors."""
    state = {"cpu": torch.get_rng_state()}
    return state if device.type == "cpu" else state | {device.type: torch.get_device_module(device).get_rng_state()}


def set_random_state(device, state):
    """Go on with the random numbers from what random_state gave on the same kind of device."""
    torch.set_rng_state(state["cpu"])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state[device.type])


def free_memory():
    """The bytes of memory that this process can still take; infinity where the system doesn't tell."""
    limits = [math.inf]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):  # a container's
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(Path(path).read_text()))
    with contextlib.suppress(OSError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    return min(limits)


def device_name(device):
    """The device in words, such as "CPU (AMD EPYC, 2 threads)"."""
    if device.type != "cpu":
        module = torch.get_device_module(device)
        name = f" ({module.get_device_name(device)})" if hasattr(module, "get_device_name") else ""
        return device.type.upper() + name
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = (line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        model = next((value.strip() for key, value in lines if key.strip() == "model name"), model)
    return f"CPU ({model}, {torch.get_num_threads()} threads)"


def trusted_device(model, images, batch_size, precision="auto", labels=None, loss_function=None, train_step=None):
    """The device to compute a network on, and the precision there: the best device where it is right, else the CPU.

    Right is what computes the first digits as the CPU does: their logits in eval mode or, where there are labels, in
    training mode, and then a step of Adam too. One line on standard error says where the device does not, or fails (out
    of memory, an operation that it lacks).
    model: a myCNN on the CPU, which stays as it is. images: uint8 [N, 1, 28, 28], of which `batch_size` are to be
    computed at a time; labels: int64 [N]; both on the CPU. precision: "auto" (the device's best one), "float32" or
    "bfloat16". loss_function and train_step: train.py's, the latter tried once with a whole batch.
    """
    device = best_device()
    if device == CPU:
        return CPU, precision_on(CPU, precision)
    expected = _trial(model, images[:CHECKED], CHECKED, CPU, torch.float32, labels, loss_function)
    name = device.type.upper()
    try:
        name = device_name(device)
        found = _trial(
            model, images, batch_size, device, precision_on(device, precision), labels, loss_function, train_step
        )
        logits, step = TOLERANCES[precision_on(device, precision)]
        tolerances = [logits] + [step] * (len(expected) - 1)
        if all(map(_is_close, found, expected, tolerances)):
            return device, precision_on(device, precision)
        trouble = "computes this network wrongly"
    except Exception as error:  # noqa: BLE001 (whatever a device and its driver raise)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        trouble = f"fails at this network ({reason})"
    tqdm.write(f"{name} {trouble}: the CPU is used", file=sys.stderr)
    return CPU, precision_on(CPU, precision)


def _trial(model, images, batch_size, device, precision, labels, loss_function, train_step=None):
    """What the device makes of the first digits: a list of their logits and, with labels, of what a step of Adam
    changes in each layer, and 0.
    """
    model = copy.deepcopy(model).to(device, memory_format=memory_format(device))
    images = images.to(device)  # all, as they will be
    if labels is None:
        with torch.no_grad(), autocast(device, precision):
            return [model.eval()(images[:batch_size].float() / 255)[:CHECKED]]
    labels = labels.to(device)
    # With such an epsilon Adam's first step is all but the gradient, so the two are compared in one.
    optimizer = torch.optim.Adam(model.parameters(), lr=1, eps=1, fused=has_fused_adam(device))
    before = _layers(model)
    with autocast(device, precision):
        logits = model(images[:CHECKED].float() / 255)
        loss = loss_function(logits, labels[:CHECKED])
    loss.backward()
    optimizer.step()
    steps = [after - start for after, start in zip(_layers(model), before, strict=True)]
    if train_step:
        scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1)
        loss = train_step(model, optimizer, scheduler, images[:batch_size], labels[:batch_size], precision)
    return [logits.detach(), *steps, loss.detach() - loss.detach()]  # the last is 0 where the loss is finite, else NaN


def _layers(model):
    """Each layer's parameters in one tensor: by itself, a bias before BatchNorm has a gradient of rounding errors."""
    layers = ([p.detach().flatten() for p in layer.parameters()] for layer in model.children())
    return [torch.cat(parameters) for parameters in layers]


def _is_close(found, expected, tolerance):
    """Whether the norm of the difference is within the tolerance, a share of the norm expected; NaN is not."""
    return bool((found.cpu() - expected).norm() <= tolerance * expected.norm())


def tune_cpu():
    """Remove two costs of training on a CPU. Call it before the first computation: threads inherit the first.

    Denormals: Adam's moments of a dead unit's weights decay through the denormal floats, where each operation is
    slow; flushed to zero they cost nothing. Page faults: glibc hands every large freed block back to the kernel
    and faults it in anew a step later; told to keep it, it does not (other C libraries are left as they are).
    """
    torch.set_flush_denormal(True)
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        m_trim_threshold, m_mmap_max = -1, -4  # from malloc.h
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, -1)
