/* The neuron scan of engine/kernels/plain_scan.py and torch_scan.py, natively; those are its twins and its fallback.
 *
 * Built by engine/kernels/build.py without contraction of products and sums, so that elementwise results are the
 * twins' to the bit on every processor. Every column (or sample, with recurrent weights) is computed by itself, so that
 * results depend neither on the number of threads nor on the size of blocks. */

#include "mode.h"
#include "scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REAL float
#define NAME(x) x##_float
#define FLOOR floorf
#define RINT rintf
#if defined(__FMA__) || defined(__aarch64__)
#define MULTIPLY_ADD(a, b, c) __builtin_fmaf(a, b, c) /* a matrix product: its rounding is nobody's promise */
#else
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#endif
#include "operations.inc"
#include "forward.inc"
#include "backward.inc"
#undef REAL
#undef NAME
#undef FLOOR
#undef RINT
#undef MULTIPLY_ADD

#define REAL double
#define NAME(x) x##_double
#define FLOOR floor
#define RINT rint
#if defined(__FMA__) || defined(__aarch64__)
#define MULTIPLY_ADD(a, b, c) __builtin_fma(a, b, c)
#else
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#endif
#include "operations.inc"
#include "forward.inc"
#include "backward.inc"

uint32_t spikebit_float_mode(void) { return get_mode(); }

/* Lets ctypes check that both sides mean the same structures. */
void spikebit_sizes(int64_t *sizes)
{
    sizes[0] = sizeof(Rule);
    sizes[1] = sizeof(Forward);
    sizes[2] = sizeof(Backward);
}

/* Blocks of columns first..last−1 that read one stretch of the neurons' values each; 1 where memory lacks. */
#define WALK(type, block, io, buffers)                                                                               \
    do {                                                                                                             \
        size_t bytes = ((buffers) * rule->width * sizeof(type) + 63) / 64 * 64;                                      \
        type *buffer = aligned_alloc(64, bytes ? bytes : 64);                                                        \
        if (!buffer) return 1;                                                                                       \
        uint32_t before = set_mode(rule->mode);                                                                      \
        for (int64_t at = first; at < last;) {                                                                       \
            int64_t w = rule->period - at % rule->period;                                                            \
            w = w < rule->width ? w : rule->width;                                                                   \
            w = w < last - at ? w : last - at;                                                                       \
            block(rule, io, at, w, buffer);                                                                          \
            at += w;                                                                                                 \
        }                                                                                                            \
        set_mode(before);                                                                                            \
        free(buffer);                                                                                                \
        return 0;                                                                                                    \
    } while (0)

int spikebit_forward_float(const Rule *rule, const Forward *io, int64_t first, int64_t last)
{
    WALK(float, forward_block_float, io, 5);
}

int spikebit_forward_double(const Rule *rule, const Forward *io, int64_t first, int64_t last)
{
    WALK(double, forward_block_double, io, 5);
}

int spikebit_backward_float(const Rule *rule, const Backward *io, int64_t first, int64_t last)
{
    WALK(float, backward_block_float, io, BLOCK_BUFFERS_float);
}

int spikebit_backward_double(const Rule *rule, const Backward *io, int64_t first, int64_t last)
{
    WALK(double, backward_block_double, io, BLOCK_BUFFERS_double);
}
