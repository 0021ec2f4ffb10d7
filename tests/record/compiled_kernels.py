"""Compiles the kernels for two generations of GPUs, which needs none; ``test_device_kernel`` runs this.

What the interpreter lets pass the compiler may refuse. Full tiles are to be read in vectors of 16 bytes.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tb_nnhealth.record import device_kernel as kernel

ALIGNED = [["tt.divisibility", 16]]


def compiled(function: Any, constants: dict[str, Any], capability: int, **types: str) -> str:
    signature = {**types, **dict.fromkeys(constants, "constexpr")}
    attributes = {(i,): ALIGNED for i, kind in enumerate(types.values()) if kind.startswith("*")}
    source = ASTSource(function, signature, constants, attributes)
    found = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=kernel.OPTIONS)
    text: str = found.asm["ptx"]
    return text


def main() -> None:
    for capability in (80, 90):
        for dtype, counted in ((tl.float32, False), (tl.bfloat16, True), (tl.float16, False)):
            text = compiled(
                kernel.read_table,
                {"DTYPE": dtype, "ALIGNED": True, "COUNTED": counted, "SIZE": kernel.TILE},
                capability,
                jobs="*i64", job_of="*i32", copies="*u8", partials="*fp32", counts="*i64",
            )  # fmt: skip
            read = 16 * text.count("ld.global.v4.b32") * 32 * kernel.OPTIONS["num_warps"]
            expected = 2 * kernel.TILE * dtype.primitive_bitwidth // 8  # a tensor, and one that is subtracted
            assert read == expected, f"{dtype}, sm_{capability}: expected {expected} bytes in vectors, found {read}"
        types = {"tensor": "*bf16", "numel": "i64", "partials": "*fp32", "counts": "*fp32"}
        compiled(kernel.read_tensor, {"COUNTED": False, "SIZE": kernel.TILE}, capability, **types)
        constants = {"SIZE": kernel.TILE, "AT_ONCE": kernel.POOLED}
        compiled(kernel.pool_tiles, constants, capability, jobs="*i64", results="*fp32")


if __name__ == "__main__":
    main()
