/* Convolutions by the event, every sample with kernels of its own: a direction's sums, and squared gradients.
 *
 * Channels are innermost throughout (engine/kernels/event_conv.py mirrors it). */

#include <stdlib.h>
#include <string.h>

#include "fill.h"
#include "mode.h"

#define REAL float
#define NAME(x) x##_float
#include "event_conv.inc"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "event_conv.inc"

/* sums [sample, step, place of the output, out] */
#define CONVOLVE(real, name)                                                                                         \
    for (int64_t s = first; s < last; s++) {                                                                         \
        real *to = (real *)sums + (s - first) * f->steps * frame;                                                    \
        memset(to, 0, (size_t)(f->steps * frame) * sizeof(real));                                                    \
        meet_##name(f, s, (real *)f->kernels + s * size, to, frame, 0);                                              \
    }

int spikebit_fill_kernels(const void *context, int64_t first, int64_t last, void *sums)
{
    const KernelFill *f = context;
    const int64_t frame = f->taps->places * f->out, size = f->elements * f->channels * (f->out / f->groups);
    const uint32_t before = set_mode(f->mode);
    if (f->kind == 1) {
        CONVOLVE(float, float)
    } else {
        CONVOLVE(double, double)
    }
    set_mode(before);
    return 0;
}

/* squares [sample, out] of every sample's kernel gradient, added to; adjoints [step, sample, place of the output, out] */
#define SQUARE(real, name)                                                                                           \
    do {                                                                                                             \
        real *kernel = malloc((size_t)(size + 1) * sizeof(real));                                                    \
        failed = !kernel;                                                                                            \
        for (int64_t s = first; s < last && kernel; s++) {                                                           \
            memset(kernel, 0, (size_t)size * sizeof(real));                                                          \
            meet_##name(f, s, kernel, (real *)adjoints + s * frame, f->batch * frame, 1);                            \
            add_squares_##name(f, kernel, squares + s * f->out);                                                     \
        }                                                                                                            \
        free(kernel);                                                                                                \
    } while (0)

int spikebit_square_gradients(const KernelFill *f, void *adjoints, double *squares, int64_t first, int64_t last)
{
    const int64_t frame = f->taps->places * f->out, size = f->elements * f->channels * (f->out / f->groups);
    int failed;
    const uint32_t before = set_mode(f->mode);
    if (f->kind == 1) SQUARE(float, float);
    else SQUARE(double, double);
    set_mode(before);
    return failed;
}
