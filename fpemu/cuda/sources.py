"""The CUDA source of every kernel: load words, chain one instruction along K, store words.

The instructions are written in PTX, so that no header of CUDA is needed to compile them. All kernels
have the arguments

    a (rows, steps, A words)   b (columns, steps, B words)   c, d (rows, columns, D words)
    steps, columns

and one block for each tile of the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fpemu.cuda.fragments import Layout
    from fpemu.cuda.kernels import Kernel

SIGNATURE = """extern "C" __global__ void __launch_bounds__({threads})
{name}(const {word}* a, const {word}* b, const {word}* c, {word}* d, unsigned steps, unsigned columns)
{{
    const unsigned tile = blockIdx.x, thread = threadIdx.x;
    a += (size_t)(tile / columns) * steps * {a_words};
    b += (size_t)(tile % columns) * steps * {b_words};
    c += (size_t)tile * {d_words};
    d += (size_t)tile * {d_words};
"""

MMA = """    {word} {declared};
#pragma unroll 1
    for (unsigned step = 0; step < steps; ++step, a += {a_words}, b += {b_words}) {{
        asm volatile(
            "{ptx} "
            "{{{sums}}}, {{{left}}}, {{{right}}}, {{{sums}}};"
            : {outputs}
            : {inputs});
    }}
{stores}
}}
"""

WMMA = """    unsigned {named};
    asm volatile("wmma.load.c.sync.aligned.row.{shape}.global.{d_type} {{{sums}}}, [%{d_registers}], {n};"
        : {loaded} : "l"(__cvta_generic_to_global(c)) : "memory");
#pragma unroll 1
    for (unsigned step = 0; step < steps; ++step, a += {a_words}, b += {b_words}) {{
        asm volatile(
            "{{\\n\\t"
            ".reg .b32 x<{a_registers}>, y<{b_registers}>;\\n\\t"
            "wmma.load.a.sync.aligned.row.{shape}.global.{a_type} {{{left}}}, [%{d_registers}], {k};\\n\\t"
            "wmma.load.b.sync.aligned.col.{shape}.global.{b_type} {{{right}}}, [%{after}], {k};\\n\\t"
            "{ptx} {{{sums}}}, {{{left}}}, {{{right}}}, {{{sums}}};\\n\\t"
            "}}"
            : {outputs}
            : "l"(__cvta_generic_to_global(a)), "l"(__cvta_generic_to_global(b))
            : "memory");
    }}
    asm volatile("wmma.store.d.sync.aligned.row.{shape}.global.{d_type} [%0], {{{stored}}}, {n};"
        :: "l"(__cvta_generic_to_global(d)), {inputs} : "memory");
    (void)thread;
}}
"""

# Operands lie in shared memory in blocks of 8 rows x 16 bytes; a descriptor says in units of 16 bytes
# where, how far the next block along K is, and how far the next 8 rows.
WGMMA = """    __shared__ __align__(128) unsigned left[{a_words}];
    __shared__ __align__(128) unsigned right[{b_words}];
    const unsigned long long apart =
        (unsigned long long)({along_k} >> 4) << 16 | (unsigned long long)({along_rows} >> 4) << 32;
    const unsigned long long a_at = apart | (__cvta_generic_to_shared(left) & 0x3ffff) >> 4;
    const unsigned long long b_at = apart | (__cvta_generic_to_shared(right) & 0x3ffff) >> 4;
    {word} {declared};
#pragma unroll 1
    for (unsigned step = 0; step < steps; ++step, a += {a_words}, b += {b_words}) {{
#pragma unroll
        for (unsigned i = 0; i < {a_words}; i += {threads}) left[i + thread] = a[i + thread];
#pragma unroll
        for (unsigned i = 0; i < {b_words}; i += {threads}) right[i + thread] = b[i + thread];
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        __syncthreads();
        asm volatile(
            "{{\\n\\t"
            ".reg .pred add;\\n\\t"
            "setp.eq.u32 add, 0, 0;\\n\\t"
            "wgmma.fence.sync.aligned;\\n\\t"
            "{ptx} {{{sums}}}, %{a_at}, %{b_at}, add, {signs};\\n\\t"
            "wgmma.commit_group.sync.aligned;\\n\\t"
            "wgmma.wait_group.sync.aligned 0;\\n\\t"
            "}}"
            : {outputs}
            : "l"(a_at), "l"(b_at)
            : "memory");
        __syncthreads();
    }}
{stores}
}}
"""


# Sums lie in tensor memory, row by row in its lanes, of which each warp reaches its own 32; one thread
# issues, and a barrier tells when the sums are there. If it never does, the kernel traps.
TCGEN05 = """    __shared__ __align__(128) unsigned left[{a_words}];
    __shared__ __align__(128) unsigned right[{b_words}];
    __shared__ __align__(8) unsigned long long barrier;
    __shared__ unsigned allocated;
    const unsigned done = (unsigned)__cvta_generic_to_shared(&barrier);
    if (thread < 32) {{
        asm volatile("tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%0], {n};"
            :: "r"((unsigned)__cvta_generic_to_shared(&allocated)) : "memory");
        asm volatile("tcgen05.relinquish_alloc_permit.cta_group::1.sync.aligned;");
    }}
    if (thread == 0) {{
        asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" :: "r"(done) : "memory");
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }}
    asm volatile("tcgen05.fence::before_thread_sync;" ::: "memory");
    __syncthreads();
    asm volatile("tcgen05.fence::after_thread_sync;" ::: "memory");
    const unsigned sums = allocated, own = sums + ((thread / 32 * 32) << 16);
    const unsigned long long apart = (unsigned long long)({along_k} >> 4) << 16
        | (unsigned long long)({along_rows} >> 4) << 32 | 1ull << 46;
    const unsigned long long a_at = apart | (__cvta_generic_to_shared(left) & 0x3ffff) >> 4;
    const unsigned long long b_at = apart | (__cvta_generic_to_shared(right) & 0x3ffff) >> 4;
    {word} {declared};
    asm volatile("tcgen05.st.sync.aligned.32x32b.x{n}.b32 [%0], {{{after_one}}};"
        :: "r"(own), {inputs} : "memory");
    asm volatile("tcgen05.wait::st.sync.aligned;" ::: "memory");
#pragma unroll 1
    for (unsigned step = 0; step < steps; ++step, a += {a_words}, b += {b_words}) {{
#pragma unroll
        for (unsigned i = 0; i < {a_words}; i += {threads}) left[i + thread] = a[i + thread];
#pragma unroll
        for (unsigned i = 0; i < {b_words}; i += {threads}) right[i + thread] = b[i + thread];
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        asm volatile("tcgen05.fence::before_thread_sync;" ::: "memory");
        __syncthreads();
        asm volatile("tcgen05.fence::after_thread_sync;" ::: "memory");
        if (thread == 0) {{
            asm volatile(
                "{{\\n\\t"
                ".reg .pred add;\\n\\t"
                "setp.eq.u32 add, 0, 0;\\n\\t"
                "{ptx} [%0], %1, %2, %3, add;\\n\\t"
                "}}"
                :: "r"(sums), "l"(a_at), "l"(b_at), "r"({described}u) : "memory");
            asm volatile("tcgen05.commit.cta_group::1.mbarrier::arrive::one.shared::cluster.b64 [%0];"
                :: "r"(done) : "memory");
        }}
        unsigned there = 0;
        for (unsigned patience = 1u << 18; !there; --patience) {{
            if (patience == 0) __trap();
            asm volatile(
                "{{\\n\\t"
                ".reg .pred there;\\n\\t"
                "mbarrier.try_wait.parity.shared::cta.b64 there, [%1], %2;\\n\\t"
                "selp.u32 %0, 1, 0, there;\\n\\t"
                "}}"
                : "=r"(there) : "r"(done), "r"(step & 1) : "memory");
        }}
        __syncwarp();
        asm volatile("tcgen05.fence::after_thread_sync;" ::: "memory");
    }}
    asm volatile("tcgen05.ld.sync.aligned.32x32b.x{n}.b32 {{{sums}}}, [%{n}];"
        : {loaded} : "r"(own) : "memory");
    asm volatile("tcgen05.wait::ld.sync.aligned;" ::: "memory");
{stores}
    asm volatile("tcgen05.fence::before_thread_sync;" ::: "memory");
    __syncthreads();
    if (thread < 32)
        asm volatile("tcgen05.dealloc.cta_group::1.sync.aligned.b32 %0, {n};" :: "r"(sums));
}}
"""

# What an instruction descriptor of tcgen05 says of the operands, by its kinds' numbers.
_KINDS = {"f16": 0, "bf16": 1, "tf32": 2, "e4m3": 0, "e5m2": 1}


def source(kernel: Kernel) -> str:
    """The source of a kernel."""
    _, columns, depth = kernel.tile
    d, a, b = kernel.types
    count = _per_thread(kernel, kernel.d)
    known = {
        "name": kernel.name,
        "ptx": kernel.ptx,
        "shape": kernel.shape,
        "threads": kernel.threads,
        "word": "unsigned long long" if kernel.d.bits == 64 else "unsigned",
        **{"a_words": kernel.a.words, "b_words": kernel.b.words, "d_words": kernel.d.words},
        **{"a_type": a, "b_type": b, "d_type": d, "n": columns, "k": depth},
        **_sums(count, kernel.threads, _constraint(kernel)),
    }
    body, more = _BODIES[kernel.api](kernel, count)
    return (SIGNATURE + body).format(**known, **more)


def _mma(kernel: Kernel, count: int) -> tuple[str, dict[str, object]]:
    left, right = _per_thread(kernel, kernel.a), _per_thread(kernel, kernel.b)
    constraint = _constraint(kernel)
    given = [f"a[{32 * i} + thread]" for i in range(left)]
    given += [f"b[{32 * i} + thread]" for i in range(right)]
    return MMA, {
        "left": registers(count, left),
        "right": registers(count + left, right),
        "inputs": ", ".join(f'"{constraint}"({word})' for word in given),
    }


def _wmma(kernel: Kernel, count: int) -> tuple[str, dict[str, object]]:
    # FP16 operands take eight registers: each element is held twice.
    each = 8 if kernel.types[1] == "f16" else 4
    return WMMA, {
        **{"a_registers": each, "b_registers": each, "d_registers": count, "after": count + 1},
        "left": registers(0, each, "x"),
        "right": registers(0, each, "y"),
        "stored": registers(1, count),
        "named": registers(0, count, "d"),
        "loaded": ", ".join(f'"=r"(d{i})' for i in range(count)),
        "inputs": ", ".join(f'"r"(d{i})' for i in range(count)),
    }


def _wgmma(kernel: Kernel, count: int) -> tuple[str, dict[str, object]]:
    return WGMMA, {
        **_apart(kernel),
        **{"a_at": count, "b_at": count + 1},
        "signs": "1, 1, 0, 0" if kernel.width == 16 else "1, 1",
    }


def _tcgen05(kernel: Kernel, count: int) -> tuple[str, dict[str, object]]:
    rows, columns, _ = kernel.tile
    _, a, b = kernel.types
    described = 1 << 4 | _KINDS[a] << 7 | _KINDS[b] << 10 | columns >> 3 << 17 | rows >> 4 << 24
    return TCGEN05, {
        **_apart(kernel),
        "described": described,
        "after_one": registers(1, count),
        "loaded": ", ".join(f'"=r"(d{i})' for i in range(count)),
        "inputs": ", ".join(f'"r"(d{i})' for i in range(count)),
    }


def _apart(kernel: Kernel) -> dict[str, object]:
    """How far the next 16 bytes along K and the next 8 rows are; the other way if `swapped`."""
    along_k, along_rows = (256, 128) if kernel.swapped else (128, 256)
    return {"along_k": along_k, "along_rows": along_rows}


_BODIES = {"mma": _mma, "wmma": _wmma, "wgmma": _wgmma, "tcgen05": _tcgen05}


def _per_thread(kernel: Kernel, layout: Layout) -> int:
    return layout.words // kernel.threads


def _constraint(kernel: Kernel) -> str:
    """How inline PTX calls registers of the words' size."""
    return "l" if kernel.d.bits == 64 else "r"


def registers(first: int, count: int, prefix: str = "%") -> str:
    """A list of registers as inline PTX writes it.

    >>> registers(4, 3)
    '%4, %5, %6'
    """
    return ", ".join(f"{prefix}{i}" for i in range(first, first + count))


def _sums(count: int, threads: int, constraint: str) -> dict[str, str]:
    """What a kernel says about `count` registers of sums: their names, how they are declared and loaded,
    handed to the instruction, and stored."""
    return {
        "sums": registers(0, count),
        "declared": ", ".join(f"d{i} = c[{i * threads} + thread]" for i in range(count)),
        "outputs": ", ".join(f'"+{constraint}"(d{i})' for i in range(count)),
        "stores": "\n".join(f"    d[{i * threads} + thread] = d{i};" for i in range(count)),
    }
