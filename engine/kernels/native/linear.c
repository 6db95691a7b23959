/* Tangents and adjoints of a linearised neuron layer; engine/kernels/tangent_scan.py holds the twin in torch.
 *
 * Built without contraction of products and sums, as scan.c is: u and n are the twin's to the bit. */

#include "linear.h"

#include <stdlib.h>
#include <string.h>

#include "mode.h"

enum { WIDTH = 512 }; /* columns walked together: their buffers stay in the first cache */

#define REAL float
#define NAME(x) x##_float
#include "linear.inc"
#undef REAL
#undef NAME
#undef NO_ALIAS
#define REAL double
#define NAME(x) x##_double
#include "linear.inc"

/* Blocks of at most WIDTH columns: some neurons of one sample, or all neurons of some; 1 where memory lacks. */
#define WALK(real, name, block, io)                                                                                  \
    do {                                                                                                             \
        const int64_t neurons = layer->neurons, room = neurons < WIDTH ? WIDTH / neurons : 1;                        \
        real *buffer = aligned_alloc(64, 5 * WIDTH * sizeof(real));                                                  \
        if (!buffer) return 1;                                                                                       \
        const uint32_t mode = set_mode(layer->mode);                                                                 \
        for (int64_t sample = first; sample < last; sample += room)                                                  \
            for (int64_t left = 0; left < neurons; left += WIDTH) {                                                  \
                const int64_t w = neurons - left < WIDTH ? neurons - left : WIDTH;                                   \
                const Columns_##name columns = {                                                                     \
                    layer->carry && !layer->varies ? (const real *)layer->carry + left : layer->carry,               \
                    layer->slope ? (const real *)layer->slope + left : NULL,                                         \
                    layer->leak ? (const real *)layer->leak + left : NULL, buffer, buffer + WIDTH,                   \
                    buffer + 2 * WIDTH, buffer + 3 * WIDTH, buffer + 4 * WIDTH}; \
                block(layer, io, &columns, sample, last - sample < room ? last - sample : room, left, w);            \
            }                                                                                                        \
        set_mode(mode);                                                                                              \
        free(buffer);                                                                                                \
        return 0;                                                                                                    \
    } while (0)

static int push_float(const Layer *layer, const Push *push, int64_t first, int64_t last)
{
    WALK(float, float, push_block_float, push);
}

static int push_double(const Layer *layer, const Push *push, int64_t first, int64_t last)
{
    WALK(double, double, push_block_double, push);
}

/* As they are given, or a few samples at a time as they are made */
static int push_samples(int (*walk)(const Layer *, const Push *, int64_t, int64_t), size_t size, const Layer *layer,
                        const Push *push, int64_t first, int64_t last)
{
    const Fill *fill = push->fill;
    if (!fill) return walk(layer, push, first, last);
    const size_t bytes = (size_t)(fill->group * layer->steps * layer->neurons) * size;
    void *sums = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!sums) return 1;
    Push part = *push;
    part.input = sums;
    part.input_time = layer->neurons;
    part.input_sample = layer->steps * layer->neurons;
    int failed = 0;
    for (int64_t sample = first; sample < last && !failed; sample += fill->group) {
        const int64_t end = last - sample < fill->group ? last : sample + fill->group;
        part.input_first = sample;
        failed = fill->into(fill->context, sample, end, sums) || walk(layer, &part, sample, end);
    }
    free(sums);
    return failed;
}

int spikebit_push_float(const Layer *layer, const Push *push, int64_t first, int64_t last)
{
    return push_samples(push_float, sizeof(float), layer, push, first, last);
}

int spikebit_push_double(const Layer *layer, const Push *push, int64_t first, int64_t last)
{
    return push_samples(push_double, sizeof(double), layer, push, first, last);
}

int spikebit_pull_float(const Layer *layer, const Pull *pull, int64_t first, int64_t last)
{
    WALK(float, float, pull_block_float, pull);
}

int spikebit_pull_double(const Layer *layer, const Pull *pull, int64_t first, int64_t last)
{
    WALK(double, double, pull_block_double, pull);
}

void spikebit_linear_sizes(int64_t *sizes)
{
    sizes[0] = sizeof(Layer);
    sizes[1] = sizeof(Push);
    sizes[2] = sizeof(Pull);
    sizes[3] = sizeof(Fill);
    sizes[4] = sizeof(SignFill);
    sizes[5] = sizeof(KernelFill);
    sizes[6] = sizeof(ProductFill);
}
