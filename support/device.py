"""Which device, which precision, and a CPU set up for speed."""

import ctypes
import platform
from pathlib import Path

import torch


def best_device():
    """The torch.device to compute on: CUDA when available, as in the report, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def best_precision(device):
    """torch.bfloat16 where the device computes it in hardware, else torch.float32.

    That is CUDA from Ampere on, and a CPU with AMX or AVX512-BF16; elsewhere bfloat16 is emulated and slower.
    """
    if device.type == "cuda":
        supported = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        supported = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if supported else torch.float32


def device_name(device):
    """The device in words, such as "CPU (AMD EPYC, 2 threads)"."""
    if device.type == "cuda":
        return f"CUDA ({torch.cuda.get_device_name(device)})"
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = (line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        model = next((value.strip() for key, value in lines if key.strip() == "model name"), model)
    return f"CPU ({model}, {torch.get_num_threads()} threads)"


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
